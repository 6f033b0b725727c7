/** A node's files in DER, and files of another kind than the key names: one sentence each. */
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadIdentity } from "../../actors/trust/load_identity.ts";
import { loadTrust } from "../../actors/trust/load_trust.ts";
import { parsePem } from "../../pki/pem.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { makeTestPki } from "../support/pki.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-pem-"));
const pki = await makeTestPki();
const node = await pki.node("n");
const crls = await pki.crls({ number: 1n });
const at = new Date();
const derOf = (pem: string) => Buffer.from(Result.getOrThrow(parsePem(pem))[0]!.der);
/** The beginning of an archive as `openssl pkcs12 -export` makes them. */
const archive = Buffer.from("30820300020103308202c606092a864886f70d010701", "hex");

const contents = {
  "cert.pem": node.chainPem,
  "key.pem": node.keyPem,
  "trust.pem": pki.trustPem,
  "crls.pem": crls,
  "cert.der": derOf(node.chainPem),
  "key.der": derOf(node.keyPem),
  "trust.der": derOf(pki.trustPem),
  "crls.der": derOf(crls),
  "both.p12": archive,
} as const;
type Name = keyof typeof contents;
for (const [name, content] of Object.entries(contents)) {
  writeFileSync(join(folder, name), content, { mode: name.startsWith("cert") ? 0o644 : 0o600 });
}

async function identity(cert: string, key: string): Promise<string> {
  const files = { certPem: join(folder, cert), keyPem: join(folder, key), generation: 1, at };
  const loaded = await Effect.runPromise(Effect.result(loadIdentity(files)).pipe(Effect.provide(NodeFileSystem.layer)));
  return Result.isSuccess(loaded) ? loaded.success.name : loaded.failure.message.replaceAll(`${folder}/`, "");
}

async function trust(bundle: string, lists: string): Promise<string> {
  const paths = { trustPem: join(folder, bundle), crlsPem: join(folder, lists) };
  const terms = { policy: defaultPolicy, generation: 1, at, crlFloor: {} };
  const loaded = await Effect.runPromise(
    Effect.result(loadTrust(paths, terms)).pipe(Effect.provide(NodeFileSystem.layer)),
  );
  return Result.isSuccess(loaded) ? "loaded" : loaded.failure.message.replaceAll(`${folder}/`, "");
}

const test = suite("readPem()");
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("reads DER where PEM is expected", async () => {
  assert.is(await identity("cert.der", "key.der"), "n");
  assert.is(await trust("trust.der", "crls.der"), "loaded");
});

const swapped = "Exchange cert_pem and key_pem where they are swapped, or correct the path.";
const pairs: [cert: Name, key: Name, said: string][] = [
  ["key.pem", "cert.pem", `Cannot load cert.pem: this is a certificate, expected a private key. ${swapped}`],
  ["cert.pem", "cert.der", `Cannot load cert.der: this is a certificate, expected a private key. ${swapped}`],
  ["key.pem", "key.pem", `Cannot load key.pem: this is a private key, expected a certificate. ${swapped}`],
  ["crls.pem", "key.pem", `Cannot load crls.pem: this is a revocation list, expected a certificate. ${swapped}`],
  [
    "both.p12",
    "key.pem",
    "Cannot load both.p12: this is a PKCS#12 archive, expected a certificate. " +
    "Take it out with: openssl pkcs12 -in both.p12 -nokeys -out CERTIFICATE.pem",
  ],
];
for (const [cert, key, said] of pairs) {
  test(`says what ${cert} and ${key} are in place of certificate and key`, async () => {
    assert.is((await identity(cert, key)).replace(/(-in )\S*both/, "$1both"), said);
  });
}

test("names other files in place of the trust bundle and the revocation lists", async () => {
  assert.is(
    await trust("key.pem", "crls.pem"),
    "Cannot load key.pem: this is a private key, expected a certificate. Name a certificate in trust_pem.",
  );
  assert.is(
    await trust("trust.pem", "trust.der"),
    "Cannot load trust.der: this is a CA's certificate, expected a revocation list. Name a revocation list in crls_pem.",
  );
});

test("shows where a relative path was looked for, and that ~ is not expanded", async () => {
  const load = (path: string) =>
    Effect.runPromise(
      Effect.flip(loadIdentity({ certPem: path, keyPem: path, generation: 1, at })).pipe(
        Effect.provide(NodeFileSystem.layer),
      ),
    );
  assert.match((await load("no/such.pem")).message, `(tried ${process.cwd()}/no/such.pem)`);
  assert.match((await load("~/such.pem")).message, "~ is not expanded here, write the whole path");
  assert.not.match((await load(join(folder, "none.pem"))).message, "tried");
});

test.run();
