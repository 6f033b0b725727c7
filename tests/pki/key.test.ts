import { Buffer } from "node:buffer";
import { createPrivateKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { keyMatches, parsePrivateKey, toTlsPem } from "../../pki/key.ts";
import { formatPem } from "../../pki/pem.ts";
import { forge } from "../support/forge.ts";

const test = suite("parsePrivateKey()");

const rows = JSON.parse(readFileSync(new URL("../vectors/wire/certs.json", import.meta.url), "utf8"));
const versionTwo: string = rows.find(({ kind }: { kind: string }) => kind === "key").pem;
const node = rows.find(({ name }: { name: string }) => name === "node").hex;
const other = rows.find(({ name }: { name: string }) => name === "node with other SANs").hex;
const certificate = (hex: string) => Result.getOrThrow(parseCertificate(Buffer.from(hex, "hex")));
const pkcs8 = (key: KeyObject) => String(key.export({ format: "pem", type: "pkcs8" }));
const ed25519 = pkcs8(generateKeyPairSync("ed25519").privateKey);
const pem = (label: string, der = Uint8Array.of(0x30, 0)) => formatPem(label, der);

test("reads the existing tool's key, version 2, and gives version 1 to TLS", () => {
  const key = Result.getOrThrow(parsePrivateKey(versionTwo));
  assert.is(key.algorithm, "ed25519");
  assert.ok(keyMatches(certificate(node), key));
  assert.not.ok(keyMatches(certificate(other), key));
  const text = toTlsPem(key);
  assert.is(Buffer.from(text.split("\n")[1]!, "base64").subarray(0, 5).toString("hex"), "302e020100");
  const data = Buffer.from("data");
  const signature = sign(null, data, createPrivateKey(text));
  const spki = { key: Buffer.from(key.spki), format: "der", type: "spki" } as const;
  assert.ok(verify(null, data, spki, signature));
});

test("gives TLS a key it can prove possession with", async () => {
  const key = toTlsPem(Result.getOrThrow(parsePrivateKey(versionTwo)));
  const cert = formatPem("CERTIFICATE", Buffer.from(node, "hex"));
  const server = createServer({ key, cert, minVersion: "TLSv1.3" }, (socket) => socket.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
  await once(socket, "secureConnect", { signal: AbortSignal.timeout(5_000) });
  assert.is(Buffer.compare(socket.getPeerCertificate().raw, Buffer.from(node, "hex")), 0);
  socket.destroy();
  server.close();
});

test("refuses what stands in a key behind its last field", () => {
  const der = Buffer.from(ed25519.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const longer = Buffer.concat([Uint8Array.of(der[0]!, der[1]! + 2), der.subarray(2), Uint8Array.of(5, 0)]);
  const outcome = parsePrivateKey(pem("PRIVATE KEY", longer));
  assert.is(Result.isFailure(outcome) && outcome.failure.problem, "malformed");
  assert.ok(Result.isSuccess(parsePrivateKey(pem("PRIVATE KEY", der))));
});

test("leaves version 1 as it is", () => {
  assert.is(toTlsPem(Result.getOrThrow(parsePrivateKey(ed25519))), ed25519);
});

for (const algorithm of ["ed25519", "p256", "p384", "rsa-2048"] as const) {
  test(`reads a key of ${algorithm} and finds its certificate`, () => {
    const made = forge("own", { algorithm });
    const key = Result.getOrThrow(parsePrivateKey(pkcs8(made.key)));
    assert.ok(keyMatches(Result.getOrThrow(parseCertificate(made.der)), key));
    assert.not.ok(keyMatches(Result.getOrThrow(parseCertificate(forge("other", { algorithm }).der)), key));
    createPrivateKey(toTlsPem(key));
  });
}

test("passes over certificates beside the key", () => {
  assert.ok(Result.isSuccess(parsePrivateKey(forge("chain").pem + ed25519)));
});

const encrypted = String(
  generateKeyPairSync("ed25519").privateKey.export({
    format: "pem",
    type: "pkcs8",
    cipher: "aes-256-cbc",
    passphrase: "secret",
  }),
);
const traditional = String(
  generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey.export({ format: "pem", type: "sec1" }),
);
const secp256k1 = pkcs8(generateKeyPairSync("ec", { namedCurve: "secp256k1" }).privateKey);

const refused: [name: string, text: string, problem: string, hint: string][] = [
  ["an empty file", "", "no-key", "openssl genpkey"],
  ["a certificate only", forge("alone").pem, "no-key", "hypha-certutil gen-cert"],
  ["two keys", ed25519 + ed25519, "several-keys", "one key"],
  ["an encrypted key", encrypted, "encrypted", "openssl pkcs8 -in"],
  ["the traditional format of EC", traditional, "traditional-format", "openssl pkcs8 -topk8"],
  ["the traditional format of RSA", pem("RSA PRIVATE KEY"), "traditional-format", "openssl pkcs8 -topk8"],
  [
    "an encrypted traditional key",
    pem("RSA PRIVATE KEY").replace("\n", "\nProc-Type: 4,ENCRYPTED\n\n"),
    "traditional-format",
    "openssl pkcs8 -topk8",
  ],
  ["a key of OpenSSH", pem("OPENSSH PRIVATE KEY"), "traditional-format", "hypha-certutil gen-cert"],
  ["broken PEM", ed25519.replace("-----END", "----END"), "pem", "line"],
  ["no key in the block", pem("PRIVATE KEY"), "malformed", "openssl"],
  ["a version 3", pem("PRIVATE KEY", Uint8Array.of(0x30, 3, 2, 1, 2)), "malformed", "openssl"],
  ["a curve that is not spoken here", secp256k1, "unsupported", "ed25519"],
];

for (const [name, text, problem, hint] of refused) {
  test(`refuses ${name}, and says what to do`, () => {
    const outcome = parsePrivateKey(text);
    assert.ok(Result.isFailure(outcome), "it was accepted");
    assert.is(outcome.failure.problem, problem);
    assert.ok(outcome.failure.hint.includes(hint), outcome.failure.hint);
  });
}

test.run();
