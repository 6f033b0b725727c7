/** A CA signs through the port to its key: nothing but the bytes to sign passes it. */
import { Buffer } from "node:buffer";
import { createPublicKey, X509Certificate } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCrl } from "../../../pki/crl.ts";
import {
  fileSigner,
  issueCrl,
  issueCsr,
  type IssuedKeyAlgorithm,
  IssueError,
  issueRoot,
  issuerWith,
  signCsr,
  type Signer,
} from "../../../pki/issue/mod.ts";
import { parsePem } from "../../../pki/pem.ts";

const test = suite("Signer");
const period = { notBefore: new Date("2026-01-01T00:00:00Z"), notAfter: new Date("2036-01-01T00:00:00Z") };
const algorithms: IssuedKeyAlgorithm[] = ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-2048"];

for (const keyAlgorithm of algorithms) {
  test(`a CA with ${keyAlgorithm} signs requests and lists through its signer`, async () => {
    const root = await issueRoot({ commonName: "Root", ...period, overrides: { keyAlgorithm } });
    const inside = fileSigner(root.keyPem);
    const signed: Uint8Array[] = [];
    const signer: Signer = { spki: inside.spki, sign: (bytes) => (signed.push(bytes), inside.sign(bytes)) };
    const issuer = issuerWith(root.certPem, signer);
    const { csrPem } = await issueCsr({ commonName: "a.example" });
    const { certPem } = await signCsr({ issuer, csrPem, identity: { commonName: "a.example" }, ...period });
    assert.ok(new X509Certificate(certPem).verify(createPublicKey(root.certPem)));
    const dates = { thisUpdate: period.notBefore, nextUpdate: period.notAfter };
    const crlPem = await issueCrl({ issuer, revoked: [], number: 1n, ...dates });
    assert.ok(Result.isSuccess(parseCrl(Result.getOrThrow(parsePem(crlPem))[0]!.der)));
    assert.is(signed.length, 2);
  });
}

test("a signer of another key than the certificate's is refused", async () => {
  const [root, other] = [
    await issueRoot({ commonName: "A", ...period }),
    await issueRoot({ commonName: "B", ...period }),
  ];
  assert.throws(
    () => issuerWith(root.certPem, fileSigner(other.keyPem)),
    (error: unknown) => error instanceof IssueError && error.problem === "issuer-mismatch",
  );
});

test("a signer that cannot sign makes nothing", async () => {
  const root = await issueRoot({ commonName: "Root", ...period });
  const signer: Signer = { spki: fileSigner(root.keyPem).spki, sign: () => Promise.reject(new Error("token removed")) };
  const { csrPem } = await issueCsr({ commonName: "a" });
  const made = signCsr({ issuer: issuerWith(root.certPem, signer), csrPem, identity: { commonName: "a" }, ...period });
  assert.match(await made.then(() => "made", (error: Error) => error.message), /token removed/);
});

test("the port hands out the public key alone", async () => {
  const root = await issueRoot({ commonName: "Root", ...period });
  const signer = fileSigner(root.keyPem);
  assert.equal(Buffer.from(signer.spki()), createPublicKey(root.certPem).export({ type: "spki", format: "der" }));
  assert.equal(Object.keys(signer).sort(), ["sign", "spki"]);
});

test.run();
