import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certsOnly } from "../../actors/ca/est_bodies.ts";
import { answerCertificatesMax, readCertsOnly } from "../../actors/enrolment/certs_only.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("readCertsOnly()");
const pki = await makeTestPki();
const text = certsOnly([pki.root.der, pki.intermediate.der]);
const read = (body: string | Uint8Array) =>
  Result.match(readCertsOnly(Buffer.from(body)), {
    onSuccess: (found) => found.map(({ subject }) => subject.commonName).join(),
    onFailure: ({ code }) => code,
  });

test("reads certificates in their order, on one line or on several", () => {
  assert.is(read(text), "Test Root CA,Test Intermediate CA");
  assert.is(read(`${text.replace(/.{64}/g, "$&\r\n")}\n`), "Test Root CA,Test Intermediate CA");
  assert.is(read(certsOnly([])), "");
});

test("leaves out what is no certificate of ours", () => {
  assert.is(read(certsOnly([Uint8Array.of(0x30, 0x00), pki.root.der])), "Test Root CA");
});

test("takes a bounded number", () => {
  const many = (count: number) => certsOnly(Array.from({ length: count }, () => pki.root.der));
  assert.is(read(many(answerCertificatesMax)).split(",").length, answerCertificatesMax);
  assert.is(read(many(answerCertificatesMax + 1)), "answer-malformed");
});

for (const body of ["", "%%%", "AAAA", text.slice(0, -8), `${text}AAAA`, Buffer.from(text, "base64")]) {
  test(`refuses ${JSON.stringify(String(body).slice(0, 20))}…`, () => assert.is(read(body), "answer-malformed"));
}

test.run();
