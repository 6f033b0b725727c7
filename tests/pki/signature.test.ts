import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { isKnownSignature, verifySignature } from "../../pki/signature.ts";
import { forge, type ForgedAlgorithm } from "../support/forge.ts";

const test = suite("verifySignature()");
const algorithms: readonly ForgedAlgorithm[] = ["ed25519", "p256", "p384", "rsa-2048"];

/** A CA's certificate, which it signed itself, and what was signed. */
function signedBy(algorithm: ForgedAlgorithm) {
  const certificate = Result.getOrThrow(parseCertificate(forge("ca", { ca: true, algorithm }).der));
  const { tbs: data, signatureAlgorithm, signature, publicKey } = certificate;
  return { signed: { data, algorithm: signatureAlgorithm, signature }, publicKey };
}

for (const algorithm of algorithms) {
  test(`verifies ${algorithm}, and neither other data nor another signature or key`, () => {
    const { signed, publicKey } = signedBy(algorithm);
    const flipped = (bytes: Uint8Array) => Uint8Array.from(bytes, (octet, index) => index === 9 ? octet ^ 1 : octet);
    assert.ok(verifySignature(signed, publicKey));
    assert.not.ok(verifySignature({ ...signed, data: flipped(signed.data) }, publicKey));
    assert.not.ok(verifySignature({ ...signed, signature: flipped(signed.signature) }, publicKey));
    assert.not.ok(verifySignature({ ...signed, signature: new Uint8Array(0) }, publicKey));
    assert.not.ok(verifySignature(signed, signedBy(algorithm).publicKey));
    for (const other of algorithms.filter((each) => each !== algorithm)) {
      assert.not.ok(verifySignature(signed, signedBy(other).publicKey));
    }
  });
}

test("takes no algorithm that does not belong to the key, and none that is not known", () => {
  const { signed, publicKey } = signedBy("p256");
  const sha1 = { ...signed, algorithm: "1.2.840.10045.4.1" };
  assert.not.ok(isKnownSignature(sha1.algorithm));
  assert.not.ok(verifySignature(sha1, publicKey));
  assert.not.ok(verifySignature({ ...signed, algorithm: "1.3.101.112" }, publicKey));
  assert.not.ok(verifySignature({ ...signed, algorithm: "1.2.840.113549.1.1.11" }, publicKey));
});

test("goes on when more keys come than are kept", () => {
  const first = signedBy("ed25519");
  assert.ok(verifySignature(first.signed, first.publicKey));
  for (let more = 0; more < 300; more++) {
    const { signed, publicKey } = signedBy("ed25519");
    assert.ok(verifySignature(signed, publicKey));
  }
  assert.ok(verifySignature(first.signed, first.publicKey));
});

test("does not throw at a key that the library cannot read", () => {
  const { signed, publicKey } = signedBy("ed25519");
  assert.not.ok(verifySignature(signed, { ...publicKey, spki: publicKey.spki.subarray(0, 9) }));
});

test.run();
