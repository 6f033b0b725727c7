import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Certificate, parseCertificate } from "../../../pki/certificate.ts";
import { issueCsr, IssueError, type IssueOverrides, readCsr, signCsr } from "../../../pki/issue/mod.ts";
import { derNull, sequence } from "../../../pki/issue/der_writer.ts";
import { formatPem, parsePem } from "../../../pki/pem.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("signing requests");
const at = new Date("2026-06-01T00:00:00Z");
const pki = await makeTestPki({ at });
const base = { issuer: pki.intermediate, notBefore: at, notAfter: new Date("2026-09-01T00:00:00Z") };

const parsed = (der: Uint8Array): Certificate => Result.getOrThrow(parseCertificate(der));
const texts = (names: readonly { type: string; value: string }[]) => names.map(({ type, value }) => `${type}:${value}`);

async function problem(run: () => unknown): Promise<string> {
  try {
    await run();
    return "done";
  } catch (error) {
    if (error instanceof IssueError) return error.problem;
    throw error;
  }
}

test("become certificates with the request's subject, key and names", async () => {
  const san = ["DNS:node-1.example", "IP:0.0.0.0", "URI:spiffe://acme/worker/w1", "email:ops@acme.example"];
  const csr = await issueCsr({ commonName: "node-1", organization: "Acme", san });
  const { der, names, certPem } = await signCsr({ ...base, csrPem: csr.csrPem });
  const certificate = parsed(der);
  assert.is(certificate.subject.text, "CN=node-1, O=Acme");
  assert.equal(texts(certificate.subjectAltNames), texts(names));
  assert.equal(texts(names), [
    "dns:node-1.example",
    "ip:0.0.0.0",
    "uri:spiffe://acme/worker/w1",
    "email:ops@acme.example",
  ]);
  assert.equal(certificate.basicConstraints, { ca: false, pathLength: undefined });
  assert.equal(Buffer.from(readCsr(csr.csrPem).publicKey.spki), Buffer.from(certificate.publicKey.spki));
  assert.is(certPem, formatPem("CERTIFICATE", der));
});

test("ask for the usual names unless told otherwise", async () => {
  const csr = await issueCsr({ commonName: "node-1" });
  assert.equal(texts(readCsr(csr.csrPem).names ?? []), ["ip:0.0.0.0", "dns:node-1"]);
  const bare = await issueCsr({ commonName: "node-1", san: [] });
  assert.is(readCsr(bare.csrPem).names, undefined);
  const { names } = await signCsr({ ...base, csrPem: bare.csrPem });
  assert.equal(texts(names), ["ip:0.0.0.0", "dns:node-1"]);
});

test("leave the last word on names to the CA", async () => {
  const csr = await issueCsr({ commonName: "node-1", san: ["URI:spiffe://acme/gateway/g1"] });
  const san = ["DNS:node-1", "URI:spiffe://acme/worker/w1"];
  const { names } = await signCsr({ ...base, csrPem: csr.csrPem, san });
  assert.equal(texts(names), ["dns:node-1", "uri:spiffe://acme/worker/w1"]);
});

test("are refused when one bit of them is another", async () => {
  const { csrPem } = await issueCsr({ commonName: "node-1" });
  const der = Result.getOrThrow(parsePem(csrPem))[0]!.der;
  let signed = 0;
  for (let at = 0; at < der.length; at++) {
    const bent = Uint8Array.from(der);
    bent[at] = bent[at]! ^ 1;
    const outcome = await problem(() => readCsr(formatPem("CERTIFICATE REQUEST", bent)));
    if (outcome === "done") signed++;
    else assert.ok(outcome === "csr" || outcome === "san", `octet ${at}: ${outcome}`);
  }
  assert.is(signed, 0);
});

test("are refused when they are none", async () => {
  assert.is(await problem(() => readCsr("rubbish")), "csr");
  assert.is(await problem(() => readCsr(pki.root.certPem)), "csr");
  assert.is(await problem(() => readCsr(formatPem("CERTIFICATE REQUEST", new Uint8Array(65_537)))), "csr");
  assert.is(await problem(() => readCsr(formatPem("CERTIFICATE REQUEST", Uint8Array.of(0x30, 0)))), "csr");
});

test("are refused with anything behind their signature", async () => {
  const { csrPem } = await issueCsr({ commonName: "node-1" });
  const der = Buffer.from(Result.getOrThrow(parsePem(csrPem))[0]!.der);
  const header = der[1]! < 0x80 ? 2 : 2 + (der[1]! & 0x7f);
  assert.is(await problem(() => readCsr(formatPem("CERTIFICATE REQUEST", sequence(der.subarray(header))))), "done");
  const longer = sequence(der.subarray(header), derNull);
  assert.is(await problem(() => readCsr(formatPem("CERTIFICATE REQUEST", longer))), "csr");
});

test("prove possession with every algorithm", async () => {
  for (const keyAlgorithm of ["ecdsa-p256", "ecdsa-p384", "rsa-2048"] as const) {
    const overrides: IssueOverrides = { keyAlgorithm };
    const csr = await issueCsr({ commonName: "n", overrides });
    assert.match(readCsr(csr.csrPem).publicKey.algorithm, /^(ecdsa|rsa)/);
  }
});

test.run();
