import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { identityMachine, type IdentityTiming, reviewEveryMs } from "../../actors/trust/identity.ts";
import { expiryAlarmPart, expiryWarningPart } from "../../actors/trust/identity_reports.ts";
import type { LoadError } from "../../actors/files/load_error.ts";
import type { OwnCertificateRefused, OwnCertificateRevoked } from "../../actors/trust/own_certificate.ts";
import type { Role } from "../../pki/certificate.ts";
import { issueIntermediate } from "../../pki/issue/mod.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustInput, type TrustSnapshot } from "../../pki/trust.ts";
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
  readonly role?: Role;
  readonly now?: () => number;
  readonly timing?: Partial<IdentityTiming>;
  readonly missing?: "fail" | "wait";
  readonly whenRevoked?: "report" | "end";
}

async function start(
  { cert = node.chainPem, key = node.keyPem, mode = 0o600, role, now, timing, missing, whenRevoked }: Written = {},
) {
  const dir = join(folder, String(files++));
  await mkdir(dir);
  const [certPem, keyPem] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  if (cert !== "missing") await writeFile(certPem, cert);
  if (key !== "missing") {
    await writeFile(keyPem, key, { mode: 0o600 });
    await chmod(keyPem, mode);
  }
  const input = { certPem, keyPem, role, missing, whenRevoked, ...(timing === undefined ? {} : { timing }) };
  const identity = host(identityMachine, input, now);
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
  [
    "a certificate of another role",
    { role: "gateway" },
    "role-not-allowed",
    "cert",
    /gen-cert --san URI:spiffe:\/\/test\.hypha\/gateway\/worker-01;/,
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

test("where it is told to wait, it waits for no pair that enrolment cannot mend", async () => {
  for (
    const [written, problem] of [[{ mode: 0o644 }, "open-to-others"], [
      { role: "gateway" },
      "role-not-allowed",
    ]] as const
  ) {
    const { identity } = await start({ ...written, missing: "wait" });
    assert.is(((await identity.hear("identity.failed"))["error"] as LoadError).problem, problem);
  }
});

/** As an operator's tool does it: written aside, then moved into place. */
async function put(path: string, text: string, mode = 0o600): Promise<void> {
  await writeFile(`${path}.new`, text);
  await chmod(`${path}.new`, mode);
  await rename(`${path}.new`, path);
}

const quick: Partial<IdentityTiming> = { settleMs: 10, patienceMs: 150 };
const identityIn = (said: object) => (said as { identity: NodeIdentity }).identity;

test("takes a new certificate of the same key when its file changes: the next generation, the same PeerID", async () => {
  const { identity, certPem } = await start({ timing: quick });
  const first = identityIn(await identity.hear("identity.loaded"));
  const again = await pki.node("worker-01b", { role: "worker", keyPem: node.keyPem });
  await put(certPem, again.chainPem, 0o644);
  const second = identityIn(await identity.hear("identity.loaded", 2));
  assert.equal([second.peer, second.name, second.generation], [first.peer, "worker-01b", 2]);
  const line = await identity.see("identity.renewed");
  assert.equal([line.level, line.fields?.["key"]], ["info", "same"]);
});

test("takes another key with its certificate, whichever file comes first, and is not alarmed in between", async () => {
  const { identity, certPem, keyPem } = await start({ timing: { settleMs: 10, patienceMs: 10_000 } });
  const first = identityIn(await identity.hear("identity.loaded"));
  await put(certPem, other.chainPem, 0o644);
  await new Promise((resolve) => setTimeout(resolve, 120)); // longer than it takes to settle and to read
  await put(keyPem, other.keyPem);
  const second = identityIn(await identity.hear("identity.loaded", 2));
  assert.ok(second.peer !== first.peer && second.name === "worker-02");
  assert.is((await identity.see("identity.renewed")).fields?.["key"], "new");
  await put(keyPem, node.keyPem);
  await new Promise((resolve) => setTimeout(resolve, 120));
  await put(certPem, node.chainPem, 0o644);
  assert.is(identityIn(await identity.hear("identity.loaded", 3)).peer, first.peer);
  assert.equal(identity.reports.filter(({ event }) => event === "identity.broken"), []);
});

const future2 = await pki.node("worker-01", {
  keyPem: node.keyPem,
  notBefore: new Date(4e12),
  notAfter: new Date(4.1e12),
});
const old2 = await pki.node("worker-01", {
  keyPem: node.keyPem,
  notBefore: new Date(1e12),
  notAfter: new Date(1.1e12),
});
const gateway2 = await pki.node("worker-01", { role: "gateway", keyPem: node.keyPem });
/** What is put in place of a good pair, and what is said of it. */
const noGood: [
  name: string,
  change: (paths: { readonly certPem: string; readonly keyPem: string }) => Promise<void>,
  problem: string,
  file: "cert" | "key",
  command: RegExp,
][] = [
  ["a certificate of another key", ({ certPem }) => put(certPem, other.chainPem), "mismatch", "cert", /openssl pkey/],
  ["an expired certificate", ({ certPem }) => put(certPem, old2.chainPem), "expired", "cert", /gen-cert/],
  [
    "a certificate of the future",
    ({ certPem }) => put(certPem, future2.chainPem),
    "not-yet-valid",
    "cert",
    /timedatectl/,
  ],
  [
    "a certificate of another role",
    ({ certPem }) => put(certPem, gateway2.chainPem),
    "role-not-allowed",
    "cert",
    /gen-cert/,
  ],
  ["half a certificate", ({ certPem }) => put(certPem, node.chainPem.slice(0, 300)), "malformed", "cert", /inspect/],
  ["half a key", ({ keyPem }) => put(keyPem, node.keyPem.slice(0, 60)), "malformed", "key", /openssl pkey/],
  ["an empty key", ({ keyPem }) => put(keyPem, ""), "empty", "key", /hypha-certutil/],
  ["no key", ({ keyPem }) => rm(keyPem), "missing", "key", /key_pem/],
  ["a key that others can read", ({ keyPem }) => chmod(keyPem, 0o644), "open-to-others", "key", /chmod 600/],
];
for (const [name, change, problem, file, command] of noGood) {
  test(`keeps its pair when there is ${name}, says so once, and tries again at the next change`, async () => {
    const { identity, certPem, keyPem } = await start({ role: "worker", timing: { ...quick, pollMs: 30 } });
    await identity.hear("identity.loaded");
    await change({ certPem, keyPem });
    const line = await identity.see("identity.broken");
    assert.equal([line.level, line.fields?.["problem"]], ["warn", problem]);
    assert.is(line.fields?.["file"], file === "cert" ? certPem : keyPem);
    assert.match(line.message, command);
    assert.not(line.message.includes("PRIVATE KEY-----\n"));
    // Several polls and readings later nothing more was said, and nothing was taken.
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.is(identity.reports.filter(({ event }) => event === "identity.broken").length, 1);
    assert.is(identity.said.filter(({ type }) => type === "identity.loaded").length, 1);
    const again = await pki.node("mended", { keyPem: node.keyPem });
    await put(keyPem, node.keyPem);
    await put(certPem, again.chainPem);
    assert.is(identityIn(await identity.hear("identity.loaded", 2)).name, "mended");
  });
}

test("the same pair in new files is no new pair; SIGHUP reads files that nobody touched", async () => {
  const { identity, certPem, keyPem } = await start({ timing: { ...quick, pollMs: 20 } });
  await identity.hear("identity.loaded");
  await put(certPem, node.chainPem);
  await put(keyPem, node.keyPem);
  identity.send({ type: "identity.reload" });
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.is(identity.said.filter(({ type }) => type === "identity.loaded").length, 1);
  assert.equal(identity.reports, []);
});

test("a certificate of the future is taken when its time comes, without a change", async () => {
  const startsAt = Date.now() + 3_600_000;
  let aheadMs = 0;
  const { identity, certPem } = await start({ now: () => Date.now() + aheadMs, timing: { ...quick, pollMs: 20 } });
  await identity.hear("identity.loaded");
  const soon = await pki.node("soon", { keyPem: node.keyPem, notBefore: new Date(startsAt) });
  await put(certPem, soon.chainPem);
  await identity.see("identity.broken");
  aheadMs = 3_700_000;
  assert.is(identityIn(await identity.hear("identity.loaded", 2)).name, "soon");
});

test("its end is that of the leaf, or of an intermediate that it needs", async () => {
  const end = async (written: Written) =>
    identityIn(await (await start(written)).identity.hear("identity.loaded")).notAfter;
  const soon = new Date(Math.floor(Date.now() / 1_000) * 1_000 + 3_600_000);
  const brief = await issueIntermediate({
    issuer: pki.root,
    commonName: "Brief CA",
    notBefore: new Date(Date.now() - 60_000),
    notAfter: soon,
  });
  const below = await pki.node("below", { issuer: brief });
  assert.equal(await end({ cert: below.certPem + brief.certPem, key: below.keyPem }), soon);
  const longer = await issueIntermediate({
    issuer: pki.root,
    commonName: "Brief CA",
    keyPem: brief.keyPem,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(soon.getTime() + 86_400_000),
  });
  const both = below.certPem + brief.certPem + longer.certPem;
  assert.ok(await end({ cert: both, key: below.keyPem }) > soon);
  assert.ok(await end({ cert: below.certPem, key: below.keyPem }) > soon);
});

test("takes a key that only its owner can read, even read-only", async () => {
  const { identity } = await start({ mode: 0o400 });
  await identity.hear("identity.loaded");
});

test("warns in the last tenth of its life, alarms in the last three hundredths, and says nothing before", async () => {
  const notBefore = new Date(Date.UTC(2026, 0, 1));
  const notAfter = new Date(Date.UTC(2026, 0, 2));
  const short = await pki.node("short", { role: "worker", notBefore, notAfter });
  const lifeMs = +notAfter - +notBefore;
  const at = (part: number, more = 0) => start({ ...pair(short), now: () => +notAfter - lifeMs * part + more });
  const early = await at(expiryWarningPart, -1);
  await early.identity.hear("identity.loaded");
  assert.equal(early.identity.reports, []);
  assert.is((await (await at(expiryWarningPart)).identity.see("identity.expiring")).level, "warn");
  assert.is((await (await at(expiryAlarmPart, -1)).identity.see("identity.expiring")).level, "warn");
  assert.is((await (await at(expiryAlarmPart)).identity.see("identity.expiring")).level, "error");
});

test("each look that finds the files as they were is reported, also the one that reviews the dates", async () => {
  let now = Date.now();
  const { identity } = await start({ timing: { ...quick, pollMs: 20 }, now: () => now });
  await identity.hear("identity.unchanged", 2);
  now += 2 * reviewEveryMs;
  const { length } = identity.said.filter(({ type }) => type === "identity.unchanged");
  await identity.hear("identity.unchanged", length + 2);
  assert.is(identity.said.filter(({ type }) => type === "identity.loaded").length, 1);
});

test("bug: after a clock that was ahead was set right, nothing was said of the pair's end until that time", async () => {
  const notAfter = new Date(Date.UTC(2026, 0, 2));
  const short = await pki.node("short", { role: "worker", notBefore: new Date(Date.UTC(2026, 0, 1)), notAfter });
  const at = (part: number) => +notAfter - 86_400_000 * part;
  let now = at(expiryAlarmPart);
  const { identity } = await start({ ...pair(short), now: () => now, timing: quick });
  assert.is((await identity.see("identity.expiring")).level, "error");
  now = at(expiryWarningPart);
  assert.is((await identity.see("identity.expiring", 2)).level, "warn");
});

for (const [name, written] of [["missing", { cert: "missing", key: "missing" }], ["expired", pair(expired)]] as const) {
  test(`waits for a pair where it is told to, and takes it up when it comes: before, it is ${name}`, async () => {
    const { identity, certPem, keyPem } = await start({ ...written, timing: quick, missing: "wait" });
    const { error } = await identity.hear("identity.awaited");
    assert.is((error as LoadError).problem, name);
    await put(certPem, node.chainPem, 0o644);
    await put(keyPem, node.keyPem);
    const loaded = identityIn(await identity.hear("identity.loaded"));
    assert.equal([loaded.name, loaded.generation], ["worker-01", 1]);
    await identity.see("identity.found");
    const other = await pki.node("worker-01b", { role: "worker", keyPem: node.keyPem });
    await put(certPem, other.chainPem, 0o644);
    assert.is(identityIn(await identity.hear("identity.loaded", 2)).generation, 2);
    assert.not(identity.said.some(({ type }) => type === "identity.failed"));
  });
}

test("tells whether its own trust accepts it, at each trust and each new pair; where not, which file and what mends it", async () => {
  const trust = (pem: string, crlsPem?: string) =>
    Result.getOrThrow(
      makeTrustSnapshot({ trustPem: pem, crlsPem, policy: defaultPolicy, generation: 1, at: new Date() }),
    )
      .snapshot;
  const { identity, certPem, keyPem } = await start({ timing: { settleMs: 5, pollMs: 50 } });
  await identity.hear("identity.loaded");
  identity.send({ type: "trust.changed", snapshot: trust(pki.trustPem, await pki.crls()) });
  await identity.hear("identity.accepted");
  identity.send({ type: "trust.changed", snapshot: trust(pki.trustPem, await pki.crls({ revoked: [node] })) });
  const { error } = await identity.hear("identity.refused") as unknown as { readonly error: OwnCertificateRefused };
  assert.equal([error.code, error.file], ["certificate-revoked", certPem]);
  assert.match(error.message, certPem);
  assert.match(error.message, /gen-cert/);
  const stranger = await (await makeTestPki({ organization: "Stranger" })).node("worker-01");
  await writeFile(keyPem, stranger.keyPem);
  await writeFile(certPem, stranger.chainPem);
  const second = await identity.hear("identity.refused", 2) as unknown as { readonly error: OwnCertificateRefused };
  assert.is(second.error.code, "unknown-issuer");
  assert.match(second.error.message, /cert_pem .* trust_pem/);
});

test("trust that came before the pair was loaded judges it, once", async () => {
  const snapshot = trustOf(await pki.crls());
  const { identity } = await start({ timing: quick });
  identity.send({ type: "trust.changed", snapshot });
  await identity.hear("identity.loaded");
  await identity.hear("identity.accepted");
  assert.equal(types(identity), ["identity.accepted"]);
  const revoking = trustOf(await pki.crls({ revoked: [node] }));
  const revoked = await start({ timing: quick, whenRevoked: "end" });
  revoked.identity.send({ type: "trust.changed", snapshot: revoking });
  await revoked.identity.hear("identity.revoked");
  assert.equal(types(revoked.identity), ["identity.revoked"]);
});

// ── The end of a node whose certificate is revoked ──

const trustOf = (crlsPem: string | undefined, more: Partial<TrustInput> = {}) => {
  const input = { trustPem: pki.trustPem, crlsPem, policy: defaultPolicy, generation: 1, at: new Date(), ...more };
  return Result.getOrThrow(makeTrustSnapshot(input)).snapshot;
};
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const types = ({ said }: Host) =>
  said.map(({ type }) => type).filter((type) => type !== "identity.loaded" && type !== "identity.unchanged");

test("a certificate that the own CA revoked ends the node after its files were read once more", async () => {
  const { identity, certPem } = await start({ timing: quick, whenRevoked: "end" });
  await identity.hear("identity.loaded");
  identity.send({ type: "trust.changed", snapshot: trustOf(await pki.crls({ revoked: [node] })) });
  const { error } = await identity.hear("identity.revoked") as unknown as { readonly error: OwnCertificateRevoked };
  assert.equal([error.code, error.file, error.refusal.code], [
    "own-certificate-revoked",
    certPem,
    "certificate-revoked",
  ]);
  assert.equal(types(identity), ["identity.revoked"]);
  identity.send({ type: "trust.changed", snapshot: trustOf(await pki.crls()) });
  await identity.hear("identity.accepted");
});

test("a pair that lies in the files by then is taken instead", async () => {
  const { identity, certPem } = await start({ timing: { settleMs: 60_000, pollMs: 60_000 }, whenRevoked: "end" });
  await identity.hear("identity.loaded");
  const renewed = await pki.node("worker-01", { role: "worker", keyPem: node.keyPem });
  await writeFile(certPem, renewed.chainPem); // not noticed for a minute
  const crls = await pki.crls({ revoked: [node] });
  identity.send({ type: "trust.changed", snapshot: trustOf(crls) });
  await identity.hear("identity.loaded", 2);
  await identity.hear("identity.accepted");
  assert.equal(types(identity), ["identity.accepted"]);
  identity.send({ type: "trust.changed", snapshot: trustOf(await pki.crls({ revoked: [node, renewed], number: 2n })) });
  await identity.hear("identity.revoked");
});

test("a new pair that is revoked too ends the node, and half a pair does not", async () => {
  const { identity, certPem, keyPem } = await start({
    timing: { settleMs: 60_000, pollMs: 60_000 },
    whenRevoked: "end",
  });
  await identity.hear("identity.loaded");
  const revoked = await pki.node("worker-01", { role: "worker" });
  await writeFile(certPem, revoked.chainPem); // its key is not there yet
  const snapshot = trustOf(await pki.crls({ revoked: [node, revoked] }));
  identity.send({ type: "trust.changed", snapshot });
  await identity.hear("identity.refused");
  assert.equal(types(identity), ["identity.refused"]);
  await writeFile(keyPem, revoked.keyPem);
  identity.send({ type: "identity.reload" });
  await identity.hear("identity.revoked");
  assert.equal(types(identity), ["identity.refused", "identity.revoked"]);
});

const partner = await makeTestPki({ organization: "Partner" });
const spared: [name: string, snapshot: () => Promise<TrustSnapshot>, whenRevoked: "report" | "end"][] = [
  [
    "its CA is revoked, and not itself",
    async () => trustOf(await pki.crls({ revokedByRoot: [pki.intermediate] })),
    "end",
  ],
  ["its CA has no list", async () => trustOf(await pki.crl(pki.root)), "end"],
  [
    "only a list of a partner's files revokes it",
    async () => {
      const trust = partner.trustPem + pki.intermediate.certPem;
      const theirs = await partner.crls() + await pki.crl(pki.intermediate, { revoked: [node], number: 9n });
      return trustOf(await pki.crls(), { domains: [{ name: "partner.example", trust, crlsPem: theirs }] });
    },
    "end",
  ],
  ["the node has no membership", async () => trustOf(await pki.crls({ revoked: [node] })), "report"],
];
for (const [name, snapshot, whenRevoked] of spared) {
  test(`a node goes on and says so where ${name}`, async () => {
    const { identity } = await start({ timing: quick, whenRevoked });
    await identity.hear("identity.loaded");
    identity.send({ type: "trust.changed", snapshot: await snapshot() });
    await identity.hear("identity.refused");
    await pause(150);
    assert.equal(types(identity), ["identity.refused"]);
  });
}

test.run();
