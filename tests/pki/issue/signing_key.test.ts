/** Certificates, requests and lists are issued in one way: one library, one signing function, and one writer of lists with a reason. */
import { Buffer } from "node:buffer";
import { createPublicKey, webcrypto, X509Certificate } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../../pki/certificate.ts";
import { issueCrl, issueCsr, type IssuedKeyAlgorithm, issueNode, issueRoot, signCsr } from "../../../pki/issue/mod.ts";
import { loadLibrary } from "../../../pki/issue/to_library.ts";
import { parsePem } from "../../../pki/pem.ts";

const test = suite("issuing in one way");
const period = { notBefore: new Date("2026-01-01T00:00:00Z"), notAfter: new Date("2036-01-01T00:00:00Z") };
const algorithms: IssuedKeyAlgorithm[] = ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048"];

test("every signature is made by the signing key, none by WebCrypto with a copy of it", async () => {
  const { subtle } = webcrypto;
  const { sign, importKey } = subtle;
  const calls: string[] = [];
  const privately = (name: string) => () => {
    calls.push(name);
    throw new Error("the key left its place");
  };
  Object.assign(subtle, { sign: privately("sign") });
  Object.assign(subtle, {
    importKey: (...args: Parameters<typeof importKey>) =>
      (args[0] as string) === "pkcs8" ? privately("importKey")() : importKey.apply(subtle, args),
  });
  try {
    for (const keyAlgorithm of algorithms) {
      const root = await issueRoot({ commonName: "Root", ...period, overrides: { keyAlgorithm } });
      await issueNode({ commonName: "a.example", issuer: root, ...period });
      const { csrPem } = await issueCsr({ commonName: "b.example", overrides: { keyAlgorithm } });
      await signCsr({ issuer: root, csrPem, identity: { commonName: "b.example" }, ...period });
      const dates = { thisUpdate: period.notBefore, nextUpdate: period.notAfter };
      await issueCrl({ issuer: root, revoked: [], number: 1n, ...dates });
    }
  } finally {
    Object.assign(subtle, { sign, importKey });
  }
  assert.equal(calls, []);
});

for (const keyAlgorithm of algorithms) {
  test(`node:crypto verifies what a CA with ${keyAlgorithm} signed`, async () => {
    const root = await issueRoot({ commonName: "Root", ...period, overrides: { keyAlgorithm } });
    const node = await issueNode({ commonName: "a.example", issuer: root, ...period });
    const key = createPublicKey(root.certPem);
    assert.ok(new X509Certificate(root.certPem).verify(key));
    assert.ok(new X509Certificate(node.certPem).verify(key));
  });
}

/** The same list, written by us and by the library's generator. */
async function bothWays(reason: "unspecified" | "keyCompromise"): Promise<{ ours: string; theirs: string }> {
  const root = await issueRoot({ commonName: "Root", ...period });
  const revoked = ["0a", "4d2", "80ff"].map((serial) => ({ serial, date: period.notBefore, reason }));
  const dates = { thisUpdate: period.notBefore, nextUpdate: period.notAfter };
  const ours = derOf(await issueCrl({ issuer: root, revoked, number: 7n, ...dates }));
  await loadLibrary();
  const { Extension, Name, X509Crl, X509CrlGenerator, X509CrlReason } = await import("@peculiar/x509");
  const { subject } = Result.getOrThrow(parseCertificate(root.der));
  const signingKey = await webcrypto.subtle.importKey("pkcs8", derOf(root.keyPem), "Ed25519", false, ["sign"]);
  const theirs = await X509CrlGenerator.create({
    issuer: new Name(Uint8Array.from(subject.der)),
    ...dates,
    entries: revoked.map(({ serial, date }) => ({
      serialNumber: serial.padStart(4, "0"),
      revocationDate: date,
      reason: X509CrlReason[reason],
    })),
    extensions: new X509Crl(ours).extensions.map(({ rawData }) => new Extension(rawData)),
    signingAlgorithm: { name: "Ed25519" },
    signingKey: signingKey as CryptoKey,
  });
  return { ours: Buffer.from(ours).toString("hex"), theirs: Buffer.from(theirs.rawData).toString("hex") };
}

const derOf = (pem: string) => Uint8Array.from(Result.getOrThrow(parsePem(pem))[0]!.der);

test("a list whose entries have reasons has the bytes that the library's generator writes", async () => {
  const { ours, theirs } = await bothWays("keyCompromise");
  assert.is(ours, theirs);
});

test("an entry without a reason has no extensions; the library's has an empty list, which RFC 5280 does not allow", async () => {
  const { ours, theirs } = await bothWays("unspecified");
  const date = `170d${Buffer.from("260101000000Z").toString("hex")}`;
  const [entry, empty] = [`020204d2${date}`, "3000"];
  assert.ok(ours.includes(`3013${entry}`) && !ours.includes(`${entry}${empty}`));
  assert.ok(theirs.includes(`3015${entry}${empty}`), "once this fails, the library can be looked at again");
});

test.run();
