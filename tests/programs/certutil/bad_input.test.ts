import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeIntermediate, makeRoot } from "../../../actors/certutil/authorities.ts";
import { CertutilError } from "../../../actors/certutil/certutil_error.ts";
import { inspect } from "../../../actors/certutil/inspect.ts";
import { makeNode } from "../../../actors/certutil/nodes.ts";
import { signRequest } from "../../../actors/certutil/sign_request.ts";
import { verifyChain } from "../../../actors/certutil/verify.ts";
import { issueRoot } from "../../../pki/issue/mod.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("bad input to the certificate tool");
const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);
const pki = await makeTestPki();
const node = await pki.node("node-1");
let dir = "";
let given: readonly string[] = [];

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-bad-"));
  const put = (name: string, text: string) => writeFile(at(name), text, { mode: 0o600 });
  const encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
  const soon = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 60_000) };
  const brief = await issueRoot({ commonName: "Brief", ...soon });
  await mkdir(at("folder"));
  await put("root.pem", pki.root.certPem);
  await put("root.key", pki.root.keyPem);
  await put("int.pem", pki.intermediate.certPem);
  await put("int.key", pki.intermediate.keyPem);
  await put("node.pem", node.chainPem);
  await put("node.key", node.keyPem);
  await put("brief.pem", brief.certPem);
  await put("brief.key", brief.keyPem);
  await put("rubbish", "rubbish");
  await put("empty", "");
  await put("cut.pem", pki.root.certPem.slice(0, 200));
  await put("bent.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
  await put("encrypted.key", encrypted);
  await put("ec.key", "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n");
  given = await readdir(dir);
});
test.after(() => rm(dir, { recursive: true, force: true }));

const at = (name: string) => join(dir, name);

async function said<A>(command: Effect.Effect<A, CertutilError, FileSystem | Path>): Promise<string> {
  const result = await Effect.runPromise(Effect.provide(Effect.result(command), services));
  return Result.isSuccess(result) ? "done" : result.failure.message.replaceAll(`${dir}/`, "");
}

const outputs = () => ({ outCert: at("out.pem"), outKey: at("out.key"), existing: "keep" as const, days: 1 });
const nodeUnder = (cert: string, key: string) =>
  makeNode({ caCert: at(cert), caKey: at(key), commonName: "x", san: undefined, chain: "leaf", ...outputs() });

const authorities: [cert: string, key: string, expected: string][] = [
  [
    "gone.pem",
    "root.key",
    "Cannot read CA certificate gone.pem: there is no such file. Check the path given with --ca-cert.",
  ],
  ["root.pem", "gone.key", "Cannot read CA key gone.key: there is no such file. Check the path given with --ca-key."],
  ["folder", "root.key", "Cannot read CA certificate folder: it is a folder. Name a file with --ca-cert."],
  [
    "root.pem",
    "int.key",
    "Cannot sign with root.pem: the CA's key is not the key of the CA's certificate. Give the key that was made along with --ca-cert.",
  ],
  [
    "node.pem",
    "node.key",
    "Cannot sign with node.pem: CN=node-1 is not a CA. Sign with the root's or the intermediate's certificate and key.",
  ],
];
for (const [cert, key, expected] of authorities) {
  test(`a CA of ${cert} and ${key}`, async () => assert.is(await said(nodeUnder(cert, key)), expected));
}

const unreadable: [cert: string, key: string, expected: RegExp][] = [
  ["rubbish", "root.key", /^Cannot read CA certificate rubbish: it is neither PEM nor DER\. Name a certificate /],
  [
    "empty",
    "root.key",
    /^Cannot read CA certificate empty: it is empty\. Name a certificate in PEM or DER with --ca-cert/,
  ],
  ["root.key", "root.pem", /^Cannot read CA certificate root\.key: it holds a private key, not a certificate\./],
  ["root.pem", "root.pem", /^Cannot read CA key root\.pem: it holds a CA's certificate, not a private key\./],
  ["cut.pem", "root.key", /^Cannot sign with cut\.pem: .*line 1.*END/],
  ["bent.pem", "root.key", /^Cannot sign with bent\.pem: Cannot parse certificate/],
  ["root.pem", "rubbish", /^Cannot read CA key rubbish: it is neither PEM nor DER\. Name a private key in PEM or DER/],
  ["root.pem", "encrypted.key", /^Cannot read key encrypted\.key: it is encrypted\. .*--passin: pass:TEXT, env:NAME/],
  [
    "root.pem",
    "ec.key",
    /^Cannot sign with ec\.key: EC PRIVATE KEY is not the PKCS#8 format.*openssl pkcs8 -topk8 -nocrypt -in \S*ec\.key/,
  ],
];
for (const [cert, key, expected] of unreadable) {
  test(`a CA of ${cert} and ${key}`, async () => assert.match(await said(nodeUnder(cert, key)), expected));
}

test("an intermediate below a CA whose path length leaves no room", async () => {
  const below = (pathLength: number, cert: string, key: string) =>
    makeIntermediate({ caCert: at(cert), caKey: at(key), commonName: "x", pathLength, ...outputs() });
  assert.match(
    await said(below(0, "int.pem", "int.key")),
    "its path length is 0, one of 0 does not fit below it. Sign with the root.",
  );
});

test("names, days and times that cannot be", async () => {
  const root = (more: object) => said(makeRoot({ commonName: "x", ...outputs(), ...more }));
  assert.match(
    await root({ commonName: "x".repeat(65) }),
    "Cannot make root CA: the common name has 65 characters, 64 are allowed.",
  );
  assert.match(await root({ country: "USA" }), "Give --country as two letters.");
  assert.match(await root({ days: 36_526 }), "Cannot use --days: 36526 is out of range.");
  assert.match(
    await root({ notAfter: "tomorrow" }),
    'Cannot use --not-after: "tomorrow" is no time. Write it as in RFC 3339',
  );
  assert.match(await root({ notAfter: "2096-02-30T00:00:00Z" }), '"2096-02-30T00:00:00Z" is no time.');
  assert.match(await root({ notAfter: "2001-01-01T00:00:00Z" }), "the validity period ends before it begins");
  const san = makeNode({
    caCert: at("root.pem"),
    caKey: at("root.key"),
    commonName: "x",
    san: ["DNS:a b"],
    chain: "leaf",
    ...outputs(),
  });
  assert.match(await said(san), 'alternative name "DNS:a b" is no DNS name. Write it as DNS:name, IP:address or URI:');
});

test("requests that are none", async () => {
  const sign = (csr: string) =>
    said(
      signRequest({
        caCert: at("root.pem"),
        caKey: at("root.key"),
        csr: at(csr),
        commonName: "x",
        san: undefined,
        chain: "leaf",
        ...outputs(),
      }),
    );
  assert.match(await sign("gone.csr"), "Cannot read signing request gone.csr: there is no such file.");
  assert.match(
    await sign("rubbish"),
    "Cannot read signing request rubbish: it is neither PEM nor DER. Name a signing request in PEM",
  );
});

test("files that cannot be inspected, or only in part", async () => {
  assert.match(await said(inspect(at("rubbish"))), "it is neither PEM nor DER");
  const inspection = await Effect.runPromise(Effect.provide(inspect(at("bent.pem")), services));
  assert.is(inspection.ok, false);
  assert.match(inspection.blocks[0]?.error ?? "", "Cannot parse certificate");
  assert.not.match(
    JSON.stringify(await Effect.runPromise(Effect.provide(inspect(at("root.key")), services))),
    "MC4CAQ",
  );
});

test("trust and lists that cannot be used, and chains that are none", async () => {
  const verify = (more: object) =>
    said(verifyChain({ chain: at("node.pem"), trust: at("root.pem"), crls: undefined, at: undefined, ...more }));
  assert.is(await verify({}), "done");
  assert.match(await verify({ trust: at("empty") }), "Cannot use trust bundle empty: ");
  assert.match(await verify({ trust: at("bent.pem") }), "line 1: malformed certificate");
  assert.match(await verify({ crls: at("rubbish") }), "Cannot use revocation lists rubbish: ");
  assert.match(
    await verify({ chain: at("root.key") }),
    "Cannot read chain root.key: it holds a private key, not a certificate.",
  );
  assert.match(await verify({ at: "2026-02-30" }), "Cannot use --at");
});

test("leaves nothing behind", async () => {
  assert.equal((await readdir(dir)).sort(), [...given].sort());
});

test("ends a certificate with its issuer, and says so", async () => {
  const command = makeNode({
    caCert: at("brief.pem"),
    caKey: at("brief.key"),
    commonName: "x",
    san: undefined,
    chain: "leaf",
    ...outputs(),
  });
  const { warnings } = await Effect.runPromise(Effect.provide(command, services));
  assert.match(warnings.join(), "the certificate ends with its issuer at ");
  const { blocks } = await Effect.runPromise(Effect.provide(inspect(at("out.pem")), services));
  const issuer = await Effect.runPromise(Effect.provide(inspect(at("brief.pem")), services));
  assert.is(blocks[0]?.fields["notAfter"], issuer.blocks[0]?.fields["notAfter"]);
});

test.run();
