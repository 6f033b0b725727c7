/** Requests come in base64, answers go in PKCS#7 that OpenSSL reads. */
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certsOnly, readCsrBody } from "../../actors/ca/est_bodies.ts";
import { opensslOk } from "../support/commands.ts";
import { makeTestPki } from "../support/pki.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("bodies of EST"), "openssl");

test("OpenSSL reads the certificates back, and makes the same bytes", async () => {
  const pki = await makeTestPki();
  const folder = mkdtempSync(join(tmpdir(), "hypha-est-"));
  const body = certsOnly([pki.root.der, pki.intermediate.der]);
  assert.not.match(body, /\s/);
  writeFileSync(join(folder, "ours.p7"), Buffer.from(body, "base64"));
  writeFileSync(join(folder, "certs.pem"), pki.root.certPem + pki.intermediate.certPem);
  await opensslOk(folder, "crl2pkcs7", "-nocrl", "-certfile", "certs.pem", "-outform", "DER", "-out", "theirs.p7");
  const shown = await opensslOk(folder, "pkcs7", "-inform", "DER", "-in", "ours.p7", "-print_certs", "-noout");
  assert.is([...shown.matchAll(/subject=/g)].length, 2);
  await opensslOk(folder, "asn1parse", "-inform", "DER", "-in", "ours.p7");
  rmSync(folder, { recursive: true });
});

const der = Uint8Array.from({ length: 200 }, (_, index) => index);
const base64 = Buffer.from(der).toString("base64");
const bodies: [what: string, body: string, read: boolean][] = [
  ["one line", base64, true],
  ["lines of 64", base64.replace(/.{64}/g, "$&\r\n"), true],
  ["a line end at its end", `${base64}\n`, true],
  ["no padding", base64.replace(/=+$/, ""), base64.endsWith("=") === false],
  ["letters that are none", `${base64.slice(0, -4)}!!!!`, false],
  ["base64url", Buffer.from([0xfb, 0xff]).toString("base64url"), false],
  ["nothing", " \r\n", false],
];
for (const [what, body, read] of bodies) {
  test(`${what}: ${read ? "read" : "refused"}`, () => {
    const outcome = readCsrBody(Buffer.from(body));
    assert.is(Result.isSuccess(outcome), read);
    if (Result.isSuccess(outcome)) assert.equal([...outcome.success], [...der]);
  });
}

test.run();
