/** Files of revocation lists, read from chunks. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { authorityKeyId, subjectKeyId } from "../../pki/issue/extensions.ts";
import { CrlReader, type CrlReaderOptions, crlsMax } from "../../pki/crl_reader.ts";
import { formatPem } from "../../pki/pem.ts";
import { forge, type Forged, forgeList, forgeListPem } from "../support/forge.ts";

const test = suite("CrlReader");

const ca = forge("ca", { ca: true });
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
function read(chunks: readonly Uint8Array[], options: Partial<CrlReaderOptions> = {}) {
  const reader = new CrlReader({ cas: [certificate(ca)], ...options });
  for (const chunk of chunks) reader.push(chunk);
  return reader.finish();
}
const pem = (text: string) => [Buffer.from(text)];
const problemOf = (outcome: ReturnType<typeof read>) =>
  Result.isFailure(outcome) ? [outcome.failure.problem, outcome.failure.line] : outcome.success.length;

test("reads lists in DER, one behind the other, in chunks of any size, whether their size is known or not", () => {
  const revoked = Array.from({ length: 3_000 }, (_, index) => `40${index.toString(16).padStart(8, "0")}`);
  const der = Buffer.concat([forgeList(ca, { revoked }), forgeList(ca), forgeList(ca, { revoked: ["01"] })]);
  assert.ok(der.length > 64 * 1024);
  for (const size of [999, 64 * 1024, der.length]) {
    const chunks: Uint8Array[] = [new Uint8Array()];
    for (let at = 0; at < der.length; at += size) chunks.push(der.subarray(at, at + size));
    for (const sizeBytes of [undefined, 10, der.length]) {
      const lists = Result.getOrThrow(read(chunks, sizeBytes === undefined ? {} : { sizeBytes }));
      assert.equal(lists.map(({ list, line }) => [list.entryCount, line]), [[3_000, 1], [0, 1], [1, 1]]);
    }
  }
  assert.equal(problemOf(read([der.subarray(0, -1)])), ["crl", 1]);
});

test("takes as many lists as are allowed and refuses one more, with its line", () => {
  const one = forgeListPem(ca);
  const lines = one.trimEnd().split("\n").length;
  assert.is(problemOf(read(pem(one.repeat(crlsMax)))), crlsMax);
  assert.equal(problemOf(read(pem(one.repeat(crlsMax + 1)))), ["too-many", crlsMax * lines + 1]);
});

test("keeps to the first mistake, whatever comes behind it", () => {
  const first = `${forgeListPem(ca)}${ca.pem}`;
  const [problem, line] = problemOf(read(pem(first))) as [string, number];
  assert.is(problem, "wrong-label");
  assert.equal(problemOf(read([...pem(first), ...pem("-----BEGIN X509 CRL-----\n%\n"), ...pem(forgeListPem(ca))])), [
    problem,
    line,
  ]);
  assert.equal(problemOf(read([])), ["empty", undefined]);
});

test("wants a number and a key identifier in profile rfc5280 only", () => {
  const identified = { add: [authorityKeyId(Uint8Array.of(7))] };
  for (const profile of ["network", "rfc5280"] as const) {
    const evaluated = (options: Parameters<typeof forgeListPem>[1]) =>
      problemOf(read(pem(forgeListPem(ca, options)), { profile }));
    const bare = profile === "network" ? 1 : ["crl", 1];
    assert.is(evaluated(identified), 1);
    assert.equal(evaluated({}), bare);
    assert.equal(evaluated({ ...identified, omitNumber: true }), bare);
  }
});

test("keeps a list that a CA of the bundle signed without its bytes, and one that nobody could check with its own", () => {
  const bytes = Buffer.from(forgeListPem(ca) + forgeListPem(forge("other", { ca: true })));
  const [sealed, unchecked] = Result.getOrThrow(read([bytes])).map(({ list }) => list);
  assert.equal([sealed?.tbs, sealed?.verifiedBy === undefined], [undefined, false]);
  assert.is(unchecked?.verifiedBy, undefined);
  assert.is(unchecked?.tbs?.byteLength, unchecked?.tbs?.buffer.byteLength);
});

test("refuses a list that the CA of its name did not sign, unless key identifiers say that another key did", () => {
  const keyed = (...id: number[]) =>
    forge("ca", { ca: true, add: id.length === 0 ? [] : [subjectKeyId(Uint8Array.from(id))] });
  const forged = (...id: number[]) =>
    pem(forgeListPem(forge("ca", { ca: true }), id.length === 0 ? {} : { add: [authorityKeyId(Uint8Array.from(id))] }));
  const evaluated = (of: Forged, list: Uint8Array[]) => problemOf(read(list, { cas: [certificate(of)] }));
  assert.equal(evaluated(keyed(1), forged(1)), ["crl-signature", 1]);
  assert.is(evaluated(keyed(1), forged(2)), 1);
  assert.equal(evaluated(keyed(1), forged()), ["crl-signature", 1]);
  assert.equal(evaluated(keyed(), forged(1)), ["crl-signature", 1]);
  assert.is(evaluated(forge("somebody", { ca: true }), forged()), 1);
});

test("gives the memory back that it read into, once it is finished", () => {
  const der = forgeList(ca, { revoked: Array.from({ length: 200 }, (_, index) => `40${1_000 + index}`) });
  const transfer = ArrayBuffer.prototype.transfer;
  let given = 0;
  ArrayBuffer.prototype.transfer = function (size) {
    if (size === 0) given += this.byteLength;
    return transfer.call(this, size);
  };
  try {
    for (const chunk of [der, Buffer.from(formatPem("X509 CRL", der))]) {
      given = 0;
      assert.is(problemOf(read([chunk], { sizeBytes: chunk.length })), 1);
      assert.ok(given >= der.length, `${given} of ${der.length}`);
    }
  } finally {
    ArrayBuffer.prototype.transfer = transfer;
  }
});

test("blames no file for a mistake of its caller's", () => {
  const broken = { cas: undefined as never };
  assert.throws(() => read(pem(forgeListPem(ca)), broken), (error: unknown) => error instanceof TypeError);
  assert.throws(() => read([forgeList(ca)], broken), (error: unknown) => error instanceof TypeError);
});

test("puts tables of entries into shared memory where that is asked for", () => {
  const isShared = (shared?: boolean) => {
    const [one] = Result.getOrThrow(
      read(pem(forgeListPem(ca, { revoked: ["01"] })), shared === undefined ? {} : { shared }),
    );
    return one?.list.index.serials.buffer instanceof SharedArrayBuffer;
  };
  assert.equal([isShared(), isShared(false), isShared(true)], [false, false, true]);
});

test.run();
