import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Certificate, parseCertificate } from "../../../pki/certificate.ts";
import { issueCsr, IssueError, issueNode, type IssueOverrides, readCsr, signCsr } from "../../../pki/issue/mod.ts";
import { derNull, sequence } from "../../../pki/issue/der_writer.ts";
import { readCsrDer } from "../../../pki/issue/read_csr.ts";
import { Pkcs10CertificateRequest } from "../../../pki/issue/x509_library.ts";
import { formatPem, parsePem } from "../../../pki/pem.ts";
import { randomOf } from "../../../actors/runtime/random.ts";
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

test("give their key to a certificate whose subject and names are the signer's", async () => {
  const wishes = ["DNS:other.example", "IP:10.0.0.1", "email:ops@acme.example", "DNS:node-1.example"];
  const csr = await issueCsr({ commonName: "localhost", organization: "Evil", san: wishes });
  const san = ["DNS:Node-1.example", "IP:0.0.0.0", "URI:spiffe://acme/worker/w1"];
  const identity = { commonName: "node-1", organization: "Acme", san };
  const { der, names, certPem, ignored } = await signCsr({ ...base, identity, csrPem: csr.csrPem });
  const certificate = parsed(der);
  assert.is(certificate.subject.text, "CN=node-1, O=Acme");
  assert.equal(texts(certificate.subjectAltNames), texts(names));
  assert.equal(texts(names), ["dns:Node-1.example", "ip:0.0.0.0", "uri:spiffe://acme/worker/w1"]);
  assert.equal(ignored, ["subject CN=localhost, O=Evil", "DNS:other.example", "IP:10.0.0.1", "email:ops@acme.example"]);
  assert.equal(certificate.basicConstraints, { ca: false, pathLength: undefined });
  assert.equal(Buffer.from(readCsr(csr.csrPem).publicKey.spki), Buffer.from(certificate.publicKey.spki));
  assert.is(certPem, formatPem("CERTIFICATE", der));
});

test("named localhost give no certificate of localhost", async () => {
  const csr = await issueCsr({ commonName: "localhost" });
  assert.equal(texts(readCsr(csr.csrPem).names), ["ip:0.0.0.0", "dns:localhost"]);
  const { der, names, ignored } = await signCsr({ ...base, identity: { commonName: "w1" }, csrPem: csr.csrPem });
  assert.equal(texts(names), ["ip:0.0.0.0", "dns:w1"]);
  assert.is(parsed(der).subject.text, "CN=w1");
  assert.equal(ignored, ["subject CN=localhost", "DNS:localhost"]);
});

test("that ask for nothing get what the signer says", async () => {
  const bare = await issueCsr({ commonName: "w1", san: [] });
  assert.equal(readCsr(bare.csrPem).names, []);
  const { ignored } = await signCsr({ ...base, identity: { commonName: "w1" }, csrPem: bare.csrPem });
  assert.equal(ignored, []);
});

test("that ask for another role than the signer gives are refused", async () => {
  const wish = await issueCsr({ commonName: "w1", san: ["URI:spiffe://acme/gateway/g1"] });
  const sign = (san: readonly string[] | undefined) =>
    problem(() => signCsr({ ...base, identity: { commonName: "w1", san }, csrPem: wish.csrPem }));
  assert.is(await sign(["URI:spiffe://acme/worker/w1"]), "csr-role");
  assert.is(await sign(undefined), "csr-role");
  assert.is(await sign(["URI:spiffe://acme/gateway/g1", "DNS:g1"]), "done");
});

test("renew a certificate with its subject and names, whatever they ask for", async () => {
  const san = ["URI:spiffe://acme/data/d1"];
  const old = await issueNode({ ...base, commonName: "d1", organization: "Acme", country: "DE", san });
  const csr = await issueCsr({ commonName: "d2", san: [] });
  const renews = parsed(old.der);
  const { der, ignored } = await signCsr({ ...base, identity: { renews }, csrPem: csr.csrPem });
  const renewed = parsed(der);
  assert.equal(Buffer.from(renewed.subject.der), Buffer.from(renews.subject.der));
  assert.equal(texts(renewed.subjectAltNames), texts(renews.subjectAltNames));
  assert.is.not(renewed.serial, renews.serial);
  assert.equal(ignored, ["subject CN=d2"]);
});

test("about the CA's own key are refused", async () => {
  const csr = await issueCsr({ commonName: "w1", keyPem: pki.intermediate.keyPem });
  assert.is(await problem(() => signCsr({ ...base, identity: { commonName: "w1" }, csrPem: csr.csrPem })), "csr");
});

test("are signed until the CA's own end, and not a second longer", async () => {
  const { csrPem } = await issueCsr({ commonName: "w1" });
  const end = parsed(pki.intermediate.der).period.notAfter;
  const sign = (notAfter: Date) =>
    problem(() => signCsr({ ...base, notAfter, identity: { commonName: "w1" }, csrPem }));
  assert.is(await sign(end), "done");
  assert.is(await sign(new Date(end.getTime() + 1_000)), "validity");
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

/** The library is the second reader: a CA as a service relies on ours alone. */
test("that the reader accepts are accepted by the library, with the same key, of 10,000 changed ones", async () => {
  const random = randomOf(1, "changed requests");
  const { csrPem } = await issueCsr({ commonName: "node-1" });
  const der = Result.getOrThrow(parsePem(csrPem))[0]!.der;
  let accepted = 0;
  for (let nth = 0; nth < 10_000; nth++) {
    const at = random.whole(0, der.length);
    const put = [...random.bytes(random.whole(0, 3))];
    const changed = Uint8Array.from([...der.subarray(0, at), ...put, ...der.subarray(at + random.whole(0, 3))]);
    const outcome = Result.try(() => readCsrDer(changed));
    if (Result.isFailure(outcome)) continue;
    accepted++;
    const theirs = new Pkcs10CertificateRequest(changed);
    assert.ok(await theirs.verify(), `change ${nth}`);
    assert.equal(Buffer.from(theirs.publicKey.rawData), Buffer.from(outcome.success.publicKey.spki), `change ${nth}`);
  }
  assert.ok(accepted > 0, "some changes replace nothing");
});

test("that were read are signed like their text, and only the reader makes them", async () => {
  const { csrPem } = await issueCsr({ commonName: "localhost", san: ["DNS:other.example"] });
  const terms = { ...base, identity: { commonName: "w1" } };
  const [text, read] = [await signCsr({ ...terms, csrPem }), await signCsr({ ...terms, csr: readCsr(csrPem) })];
  assert.equal([read.names, read.ignored], [text.names, text.ignored]);
  assert.equal(parsed(read.der).publicKey.spki, parsed(text.der).publicKey.spki);
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
