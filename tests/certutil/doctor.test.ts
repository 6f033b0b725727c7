/** Every finding of the doctor, each from one thing that is wrong, and the two tools beside it. */
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { generateKeyPairSync } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeBundle } from "../../actors/certutil/bundle.ts";
import type { CertutilError } from "../../actors/certutil/certutil_error.ts";
import { type Diagnosis, examine } from "../../actors/certutil/doctor.ts";
import { issueRoot } from "../../pki/issue/mod.ts";
import { diagnosisLines } from "../../scripts/certutil/look_lines.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("examine()");
const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);
const pki = await makeTestPki();
const other = await makeTestPki({ organization: "Other" });
const node = await pki.node("node-1", { role: "gateway" });
const dayMs = 86_400_000;
const inDays = (days: number) => new Date(Date.now() + days * dayMs);
let dir = "";
const at = (name: string) => join(dir, name);

interface Files {
  cert: string;
  key: string;
  trust: string;
  crls: string | undefined;
  keyMode: number;
  certMode: number;
  more: string;
  gone?: string;
  /** The certificate of an identity in a token. */
  identity?: string;
}

const good: Files = {
  cert: node.chainPem,
  key: node.keyPem,
  trust: pki.intermediate.certPem + pki.trustPem,
  crls: await pki.crls(),
  keyMode: 0o600,
  certMode: 0o644,
  more: "",
};

test.before.each(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-doctor-"));
});
test.after.each(() => rm(dir, { recursive: true, force: true }));

const run = <A>(effect: Effect.Effect<A, CertutilError, FileSystem | Path>) =>
  Effect.runPromise(Effect.provide(Effect.result(effect), services));

async function diagnose(changes: Partial<Files> = {}): Promise<Diagnosis> {
  const { cert, key, trust, crls, keyMode, certMode, more, gone, identity } = { ...good, ...changes };
  const paths = ["cert", "key", "trust", ...crls === undefined ? [] : ["crls"]];
  const lines = paths.map((name) => `${name}_pem = ${JSON.stringify(at(`${name}.pem`))}`);
  const role = more.includes("dataset_path") ? "" : 'external_addresses = ["/dns4/gateway.example/tcp/4001"]';
  lines.push('listen_addresses = ["/ip4/127.0.0.1/tcp/4001"]', role, more);
  if (identity !== undefined) {
    lines.push(
      "[membership]",
      'ca = ["https://ca.example"]',
      'identity_key = "pkcs11:token=acme;object=w?module-path=/m.so"',
    );
    lines.push(`identity_cert_pem = ${JSON.stringify(at("identity.pem"))}`);
    await writeFile(at("identity.pem"), identity);
  }
  lines.push("");
  await writeFile(at("config.toml"), lines.join("\n"));
  await writeFile(at("cert.pem"), cert);
  await writeFile(at("key.pem"), key);
  await writeFile(at("trust.pem"), trust);
  if (crls !== undefined) await writeFile(at("crls.pem"), crls);
  await chmod(at("key.pem"), keyMode);
  await chmod(at("cert.pem"), certMode);
  if (gone !== undefined) await rm(at(gone));
  return Result.getOrThrow(await run(examine({ config: at("config.toml") })));
}

test("finds nothing in good files, and says who the node is", async () => {
  const diagnosis = await diagnose();
  assert.equal(diagnosis.findings.filter(({ level }) => level !== "ok"), []);
  assert.equal([diagnosis.ok, diagnosis.role], [true, "gateway"]);
  assert.match(diagnosis.peer ?? "", /^12D3KooW/);
  assert.match(diagnosisLines(diagnosis).at(-1)!, /^nothing is wrong \(gateway, 12D3/);
});

const short = { notBefore: inDays(-10), notAfter: inDays(10) };
const soon = await pki.node("soon", short);
const expired = await pki.node("old", { notBefore: inDays(-10), notAfter: inDays(-1) });
const self = await pki.selfSigned("self");
const traditional = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey
  .export({ type: "sec1", format: "pem" }) as string;
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey
  .export({ type: "pkcs8", format: "pem" }) as string;
const locked = generateKeyPairSync("ed25519").privateKey
  .export({ type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" }) as string;
const oldRoot = await issueRoot({ commonName: "Old Root", notBefore: inDays(-10), notAfter: inDays(-1) });
const lists = (thisUpdate: Date, nextUpdate: Date) => pki.crls({ thisUpdate, nextUpdate });

const identityOf = async (notAfter: Date) => {
  const san = ["URI:spiffe://acme.example/identity/w"];
  return (await pki.node("w", { san, notBefore: inDays(-10), notAfter })).certPem;
};

const member = '[membership]\nca = ["https://ca.example"]';
const fresh = await pki.node("fresh", { notBefore: inDays(-5), notAfter: inDays(25) });
const late = await pki.node("late", { notBefore: inDays(-22), notAfter: inDays(8) });
const of = ({ chainPem, keyPem }: typeof node) => ({ cert: chainPem, key: keyPem });

const otherPeer = "12D3KooWBngswErHPB9iRtQVw5c5WEtesH6QDZULKrQdM7vbDU2M";

/** Nodes of a `hypha-ca` renew their certificates themselves. */
const memberCases: typeof cases = [
  [
    "bug: the bundle of each member was in the wrong order",
    { trust: pki.trustPem + pki.intermediate.certPem, more: member },
    "bundle-order",
    "ok",
    /^$/,
  ],
  [
    "bug: a third of a member's life was always too little",
    { ...of(fresh), more: member },
    "certificate-expiry",
    "ok",
    /^$/,
  ],
  [
    "a member that did not renew",
    { ...of(late), more: member },
    "certificate-expiry",
    "warning",
    /^start the node.*log/,
  ],
  [
    "a member that expired",
    { ...of(expired), more: member },
    "certificate-expiry",
    "error",
    /hypha-ca token --replace/,
  ],
  ["a member without a key", { gone: "key.pem", more: member }, "key-file", "error", /^hypha-ca token --replace/],
  [
    "bug: a member's RSA key was to be replaced by hand",
    { key: rsa, more: member },
    "key-algorithm",
    "error",
    /^hypha-ca token/,
  ],
  [
    "bug: a member's unreadable key was to be replaced by hand",
    { key: "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", more: member },
    "key-format",
    "error",
    /^hypha-ca token/,
  ],
  ["a member with another key", { key: soon.keyPem, more: member }, "key-match", "error", /hypha-ca token --replace/],
];

const cases: [name: string, changes: Partial<Files>, check: string, level: string, mend: RegExp][] = [
  ["a key that others can read", { keyMode: 0o640 }, "key-permissions", "error", /^chmod 600 .*key\.pem$/],
  ["a key that is missing", { gone: "key.pem" }, "key-file", "error", /^hypha-certutil csr/],
  ["a traditional key", { key: traditional }, "key-format", "error", /^openssl pkcs8 -topk8 -nocrypt -in/],
  ["an encrypted key", { key: locked }, "key-format", "error", /^openssl pkcs8 -in/],
  ["an RSA key", { key: rsa }, "key-algorithm", "error", /^hypha-certutil csr/],
  ["another node's key", { key: soon.keyPem }, "key-match", "error", /key that was made along/],
  [
    "a leaf behind its issuer",
    { cert: pki.intermediate.certPem + node.certPem },
    "key-match",
    "error",
    /^put the node's certificate first/,
  ],
  ["a certificate that others can write", { certMode: 0o666 }, "certificate-permissions", "error", /^chmod 644/],
  ["a certificate file without one", { cert: "nothing" }, "certificate-format", "error", /^hypha-certutil inspect/],
  ["a stranger in the chain", { cert: node.certPem + other.trustPem }, "chain-order", "warning", /^each certificate/],
  ["a root in the chain", { cert: node.chainPem + pki.trustPem }, "chain-order", "warning", /^take it out/],
  [
    "an expired certificate",
    { cert: expired.chainPem, key: expired.keyPem },
    "certificate-expiry",
    "error",
    /hypha-certutil sign/,
  ],
  [
    "one that expires soon",
    { cert: soon.chainPem, key: soon.keyPem },
    "certificate-expiry",
    "warning",
    /hypha-certutil sign/,
  ],
  ["a self-signed one", { cert: self.chainPem, key: self.keyPem }, "self-signed", "error", /hypha-certutil csr/],
  ["an identity in a token", { identity: await identityOf(inDays(100)) }, "identity-expiry", "ok", /^$/],
  ["one that ends soon", { identity: await identityOf(inDays(10)) }, "identity-expiry", "warning", /its log says why/],
  ["one that has ended", { identity: await identityOf(inDays(-1)) }, "identity-expiry", "error", /^hypha-ca token/],
  ["an identity that is a node's", { identity: node.certPem }, "identity-kind", "error", /^hypha-ca token --identity/],
  [
    "an identity that is not there",
    { identity: "", gone: "identity.pem" },
    "identity-file",
    "error",
    /^hypha-ca token/,
  ],
  ["a bundle that is empty", { trust: "" }, "bundle-format", "error", /^hypha-certutil inspect/],
  [
    "roots before intermediates",
    { trust: pki.trustPem + pki.intermediate.certPem },
    "bundle-order",
    "warning",
    /^hypha-certutil bundle --out/,
  ],
  ["a leaf in the bundle", { trust: good.trust + node.certPem }, "bundle-content", "warning", /^hypha-certutil bundle/],
  ["an old root in it", { trust: good.trust + oldRoot.certPem }, "bundle-expiry", "error", /^hypha-certutil bundle/],
  [
    "an intermediate that is nowhere",
    { cert: node.certPem, trust: pki.trustPem, crls: undefined },
    "verification",
    "error",
    /intermediate/,
  ],
  ["another network's trust", { trust: other.trustPem, crls: undefined }, "verification", "error", /./],
  ["a list that is rubbish", { crls: "rubbish" }, "crl-format", "error", /^hypha-certutil gen-crl/],
  [
    "a list past its grace",
    { crls: await lists(inDays(-9), inDays(-2)) },
    "crl-age",
    "error",
    /^hypha-certutil gen-crl/,
  ],
  ["a list in its grace", { crls: await lists(inDays(-9), inDays(-0.5)) }, "crl-age", "warning", /gen-crl/],
  ["a list that is due", { crls: await lists(inDays(-9), inDays(2)) }, "crl-age", "warning", /gen-crl/],
  ["a list of tomorrow", { crls: await lists(inDays(1), inDays(9)) }, "crl-age", "error", /timedatectl/],
  ["a stranger's list", { crls: good.crls + await other.crls() }, "crl-issuer", "warning", /hypha-certutil bundle/],
  ["a revoked certificate", { crls: await pki.crls({ revoked: [node] }) }, "verification", "error", /new key/],
  ["a key of no role's", { more: "frob = 1" }, "configuration", "error", /./],
  [
    "bug: a configuration whose dataset_path is not there was right",
    { more: 'dataset_path = "no-such-folder"\ngateway_addresses = ["/dns4/gateway.example/tcp/4001"]' },
    "places",
    "error",
    /^make it, or correct the path/,
  ],
  [
    "a gateway that is pinned",
    { more: `dataset_path = "d"\ngateway_addresses = ["/dns4/gateway.example/tcp/4001/p2p/${otherPeer}"]` },
    "peer-id",
    "warning",
    /without \/p2p/,
  ],
];
for (const [name, changes, check, level, mend] of [...cases, ...memberCases]) {
  test(`finds ${name}`, async () => {
    const diagnosis = await diagnose(changes);
    const found = diagnosis.findings.find((finding) => finding.check === check && finding.level === level);
    assert.ok(found, JSON.stringify(diagnosis.findings.filter((finding) => finding.level !== "ok")));
    assert.match(found.mend ?? "", mend);
    assert.is(diagnosis.ok, !diagnosis.findings.some((finding) => finding.level === "error"));
  });
}

test("bug: a pair that a node with an identity in a token makes at its start was missing", async () => {
  await diagnose({ identity: await identityOf(inDays(100)) });
  for (const name of ["cert.pem", "key.pem"]) await rm(at(name));
  const { findings, ok } = Result.getOrThrow(await run(examine({ config: at("config.toml") })));
  assert.ok(ok, JSON.stringify(findings));
  assert.match(findings.find(({ check }) => check === "cert-file")?.detail ?? "", /made at the node's start/);
});

test("bug: the command for a chain emptied the file that it read", async () => {
  const { findings } = await diagnose({ cert: node.certPem + other.trustPem });
  const mend = findings.find(({ check }) => check === "chain-order")?.mend ?? "";
  assert.match(mend, `cat NODE-CERT.pem INTERMEDIATE-CERT.pem > CHAIN.pem && mv CHAIN.pem ${at("cert.pem")}`);
});

test("bundles intermediates before roots, each once, from PEM and DER", async () => {
  await writeFile(at("root.pem"), pki.trustPem);
  await writeFile(at("int.der"), pki.intermediate.der);
  await writeFile(at("both.pem"), pki.trustPem + pki.intermediate.certPem);
  const bundle = {
    certs: ["root.pem", "int.der", "both.pem"].map(at),
    out: at("bundle.pem"),
    existing: "keep" as const,
  };
  const { lines, warnings } = Result.getOrThrow(await run(makeBundle(bundle)));
  assert.equal(lines.slice(1), [
    "CN=Test Intermediate CA, O=Test",
    `CN=Test Root CA, O=Test, bundle_pin = "sha256:${markKey(Result.getOrThrow(parseCertificate(pki.root.der)))}"`,
  ]);
  assert.equal(warnings, []);
  const found = await diagnose({ trust: await readFile(at("bundle.pem"), "utf8") });
  assert.equal(found.findings.filter(({ level }) => level !== "ok"), []);
  const again = await run(makeBundle(bundle));
  assert.match(Result.isFailure(again) ? again.failure.message : "done", "it is there");
});

test("bundles no leaf and no rubbish, and leaves no file then", async () => {
  await writeFile(at("leaf.pem"), node.certPem);
  await writeFile(at("key.pem"), node.keyPem);
  await writeFile(at("empty.pem"), "");
  const before = await readdir(dir);
  for (
    const [file, why] of [["leaf.pem", "is not a CA"], ["key.pem", "PRIVATE KEY"], ["empty.pem", "no certificate"]]
  ) {
    const outcome = await run(makeBundle({ certs: [at(file!)], out: at("out.pem"), existing: "keep" }));
    assert.match(Result.isFailure(outcome) ? outcome.failure.message : "done", why!);
  }
  assert.equal(await readdir(dir), before);
});

test.run();
