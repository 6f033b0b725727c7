import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { expiryWarningMs, identityMachine } from "../../actors/identity.ts";
import type { LoadError } from "../../actors/load_error.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import { type Host, host } from "../support/child_host.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";

const test = suite("identityMachine");
const pki = await makeTestPki();
const folder = await mkdtemp(join(tmpdir(), "hypha-identity-"));
const node = await pki.node("worker-01", { role: "worker" });
const other = await pki.node("worker-02");
const hosts: Host[] = [];
let files = 0;

interface Written {
  readonly cert?: string;
  readonly key?: string;
  readonly mode?: number;
  readonly now?: () => number;
}

async function start({ cert = node.chainPem, key = node.keyPem, mode = 0o600, now }: Written = {}) {
  const dir = join(folder, String(files++));
  await mkdir(dir);
  const [certPem, keyPem] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  if (cert !== "missing") await writeFile(certPem, cert);
  if (key !== "missing") {
    await writeFile(keyPem, key, { mode: 0o600 });
    await chmod(keyPem, mode);
  }
  const identity = host(identityMachine, { certPem, keyPem }, now);
  hosts.push(identity);
  return { identity, certPem, keyPem };
}

test.after.each(async () => {
  await Promise.all(hosts.splice(0).map((each) => each.stop()));
});
test.after(() => rm(folder, { recursive: true, force: true }));

test("loads the pair: the chain leaf first, the key as TLS takes it, who it is", async () => {
  const { identity } = await start({ cert: node.chainPem + pki.root.certPem });
  const loaded = (await identity.hear("identity.loaded"))["identity"] as NodeIdentity;
  assert.equal([loaded.name, loaded.generation, loaded.chain.length], ["worker-01", 1, 2]);
  assert.match(loaded.peer, /^12D3KooW/);
  assert.equal(loaded.chain.map((der) => der.length), node.chain.map((der) => der.length));
  assert.is(loaded.certPem.split("BEGIN CERTIFICATE").length, 3);
  assert.match(loaded.keyPem, "BEGIN PRIVATE KEY");
});

const expired = await pki.node("old", { notBefore: new Date(1e12), notAfter: new Date(1.1e12) });
const future = await pki.node("new", { notBefore: new Date(4e12), notAfter: new Date(4.1e12) });
const self = await pki.selfSigned("self");
const pair = ({ chainPem, keyPem }: TestNode) => ({ cert: chainPem, key: keyPem });

const bad: [name: string, written: Written, problem: string, file: "cert" | "key", mend: RegExp][] = [
  ["a key that the group can read", { mode: 0o640 }, "open-to-others", "key", /chmod 600 .*key\.pem/],
  ["a key that everybody can read", { mode: 0o604 }, "open-to-others", "key", /chmod 600 .*key\.pem/],
  ["a key that others can write", { mode: 0o602 }, "open-to-others", "key", /chmod 600/],
  ["a key of another certificate", { key: other.keyPem }, "mismatch", "cert", /openssl pkey/],
  [
    "the intermediate in front of the leaf",
    { cert: pki.intermediate.certPem + node.certPem },
    "mismatch",
    "cert",
    /cat/,
  ],
  ["an expired certificate", pair(expired), "expired", "cert", /gen-cert/],
  ["a certificate of the future", pair(future), "not-yet-valid", "cert", /timedatectl/],
  ["a self-signed certificate", pair(self), "rejected", "cert", /sign/],
  ["no certificate file", { cert: "missing" }, "missing", "cert", /cert_pem/],
  ["no key file", { key: "missing" }, "missing", "key", /key_pem/],
  ["an empty certificate file", { cert: "" }, "empty", "cert", /certificate/],
  ["an empty key file", { key: "" }, "empty", "key", /hypha-certutil/],
  [
    "rubbish for a certificate",
    { cert: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" },
    "malformed",
    "cert",
    /inspect/,
  ],
  [
    "rubbish for a key",
    { key: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" },
    "malformed",
    "key",
    /pkcs8|gen-cert/,
  ],
  [
    "a key in the traditional format",
    { key: "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n" },
    "malformed",
    "key",
    /openssl pkcs8/,
  ],
  ["a key in the certificate file", { cert: node.chainPem + node.keyPem }, "malformed", "cert", /key_pem/],
];
for (const [name, written, problem, file, mend] of bad) {
  test(`refuses ${name}: one message with file, problem and what mends it`, async () => {
    const { identity, certPem, keyPem } = await start(written);
    const error = (await identity.hear("identity.failed"))["error"] as LoadError;
    assert.equal([error.problem, error.file], [problem, file === "cert" ? certPem : keyPem], error.message);
    assert.match(error.mend, mend);
    assert.not(error.message.includes("PRIVATE KEY-----\n"));
    assert.not(identity.said.some(({ type }) => type === "identity.loaded"));
  });
}

test("takes a key that only its owner can read, even read-only", async () => {
  const { identity } = await start({ mode: 0o400 });
  await identity.hear("identity.loaded");
});

test("says when its end comes, and nothing before", async () => {
  const endMs = (await (await start()).identity.hear("identity.loaded") as unknown as { identity: NodeIdentity })
    .identity.notAfter.getTime();
  const early = await start({ now: () => endMs - expiryWarningMs - 1 });
  await early.identity.hear("identity.loaded");
  assert.equal(early.identity.reports, []);
  const late = await start({ now: () => endMs - expiryWarningMs });
  assert.is((await late.identity.see("identity.expiring")).level, "warn");
});

test("says when its own trust does not verify it, and nothing where it does", async () => {
  const trust = (pem: string) =>
    Result.getOrThrow(makeTrustSnapshot({ trustPem: pem, policy: defaultPolicy, generation: 1, at: new Date() }));
  const { identity } = await start();
  await identity.hear("identity.loaded");
  identity.send({ type: "trust.changed", snapshot: trust(pki.trustPem).snapshot });
  assert.equal(identity.reports, []);
  const stranger = await makeTestPki({ organization: "Stranger" });
  identity.send({ type: "trust.changed", snapshot: trust(stranger.trustPem).snapshot });
  assert.is((await identity.see("identity.unverified")).fields?.["code"], "unknown-issuer");
});

test.run();
