import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { parsePem } from "../../pki/pem.ts";
import { isKnownSignature, verifySignature } from "../../pki/signature.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("RSA-PSS, as openssl signs"), "openssl");
let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-pss-"));
  openssl("genpkey", "-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem");
});
test.after(() => rmSync(folder, { recursive: true, force: true }));
const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });

function certify(hash: string, salt: string) {
  const pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", `rsa_pss_saltlen:${salt}`];
  openssl("req", "-x509", "-key", "key.pem", `-${hash}`, ...pss, "-subj", "/CN=pss", "-out", "cert.pem");
  const [block] = Result.getOrThrow(parsePem(readFileSync(join(folder, "cert.pem"), "utf8")));
  return Result.getOrThrow(parseCertificate(block!.der));
}

function verifies({ tbs, signatureAlgorithm, signature, publicKey }: ReturnType<typeof certify>): boolean {
  return verifySignature({ data: tbs, algorithm: signatureAlgorithm, signature }, publicKey);
}

for (const [hash, salt] of [["sha256", "32"], ["sha384", "48"], ["sha512", "64"]] as const) {
  test(`verifies ${hash} with a salt of ${salt} octets, and nothing altered`, () => {
    const certificate = certify(hash, salt);
    assert.ok(isKnownSignature(certificate.signatureAlgorithm), certificate.signatureAlgorithm);
    assert.ok(verifies(certificate));
    const altered = Uint8Array.from(certificate.tbs);
    altered[altered.length - 1]! ^= 1;
    assert.not.ok(verifies({ ...certificate, tbs: altered }));
    assert.not.ok(verifies({ ...certificate, signatureAlgorithm: "1.2.840.113549.1.1.11" }));
  });
}

test("knows no salt of another length, and no other hash", () => {
  for (const [hash, salt] of [["sha256", "20"], ["sha1", "20"]] as const) {
    const certificate = certify(hash, salt);
    assert.not.ok(isKnownSignature(certificate.signatureAlgorithm), `${hash} ${salt}`);
    assert.not.ok(verifies(certificate));
  }
});

test.run();
