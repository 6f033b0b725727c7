import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certificateBytesMax, parseCertificate, readSignatureAlgorithm } from "../../pki/certificate.ts";
import { decodeDer } from "../../pki/der.ts";
import { extensionsMax } from "../../pki/extensions.ts";
import { constructed, derNull, derTrue, derValue, octetString, oid, sequence } from "../../pki/issue/der_writer.ts";
import {
  authorityKeyId,
  basicConstraints,
  type Extension,
  nameConstraints,
  subjectAltName,
} from "../../pki/issue/extensions.ts";
import { forge, type ForgeOptions, later } from "../support/forge.ts";

const test = suite("parseCertificate()");

interface Row {
  readonly name: string;
  readonly kind: string;
  readonly hex: string;
  readonly decoded: Record<string, string>;
}
const rows: readonly Row[] = JSON.parse(
  readFileSync(new URL("../vectors/wire/certs.json", import.meta.url), "utf8"),
);
const ca = forge("CA", { ca: true });

for (const { name, hex, decoded } of rows.filter(({ kind }) => kind === "certificate")) {
  test(`reads the existing network's certificate: ${name}`, () => {
    const certificate = Result.getOrThrow(parseCertificate(Buffer.from(hex, "hex")));
    assert.is(certificate.serial, decoded["serial"]!.toLowerCase());
    assert.is(certificate.subject.text, decoded["subject"]!.replaceAll("\n", ", "));
    assert.is(certificate.issuer.text, decoded["issuer"]!.replaceAll("\n", ", "));
    assert.equal(certificate.period.notBefore, new Date(decoded["from"]!));
    assert.equal(certificate.period.notAfter, new Date(decoded["to"]!));
    const names = certificate.subjectAltNames.map(({ type, value }) =>
      `${type === "ip" ? "IP Address" : "DNS"}:${value}`
    );
    assert.is(names.join(", "), decoded["san"] ?? "");
    assert.is(certificate.publicKey.algorithm, "ed25519");
  });
}

test("reads an organisation's constraints", () => {
  const organisation = rows.find(({ name }) => name === "organisation")!;
  const certificate = Result.getOrThrow(parseCertificate(Buffer.from(organisation.hex, "hex")));
  assert.equal(certificate.basicConstraints, { ca: true, pathLength: 0 });
  assert.equal(certificate.keyUsage, ["digitalSignature", "keyCertSign", "cRLSign"]);
  assert.is(certificate.authorityKeyId, undefined);
});

test("agrees with node:crypto on serial, names, dates and fingerprint", () => {
  const { der } = forge("Böse\nName, O=x", { issuer: ca, san: ["DNS:a.example", "IP:::1", "URI:spiffe://a/worker/b"] });
  const certificate = Result.getOrThrow(parseCertificate(der));
  const theirs = new X509Certificate(der);
  assert.is(certificate.fingerprint, theirs.fingerprint256.replaceAll(":", "").toLowerCase());
  assert.equal(certificate.period.notAfter, new Date(theirs.validTo));
  assert.is(BigInt(`0x${certificate.serial}`), BigInt(`0x${theirs.serialNumber}`));
  assert.equal(certificate.subjectAltNames.map(({ value }) => value), ["a.example", "::1", "spiffe://a/worker/b"]);
});

test("escapes in names what a log line would obey", () => {
  const { subject } = Result.getOrThrow(parseCertificate(forge("a\r\nb\u202ec\u001b[2J", { issuer: ca }).der));
  assert.is(subject.commonName, "a\\u{d}\\u{a}b\\u{202e}c\\u{1b}[2J");
  assert.is(subject.text, `CN=${subject.commonName}`);
});

const extension = (identifier: string, value: Uint8Array, critical = false): Extension => ({
  oid: identifier,
  critical,
  value,
});
const replace = (from: string, to: string) => (tbs: Uint8Array) =>
  new Uint8Array(Buffer.from(Buffer.from(tbs).toString("hex").replace(from, to), "hex"));
const manyExtensions = (count: number) =>
  Array.from({ length: count }, (_, index) => extension(`1.2.3.${index}`, derNull));

const shapes: [name: string, options: ForgeOptions, problem: string | undefined][] = [
  ["takes a certificate without extensions", { omit: ["2.5.29.15", "2.5.29.37"] }, undefined],
  ["refuses version 1 written out", { tbs: replace("a003020102", "a003020100") }, "the version is not 3"],
  ["refuses version 2", { tbs: replace("a003020102", "a003020101") }, "the version is not 3"],
  ["takes a serial of 20 octets", { serial: new Uint8Array(20).fill(0x7f) }, undefined],
  ["refuses a serial of 21", { serial: new Uint8Array(21).fill(0x7f) }, "more than 20 octets"],
  ["takes serial 1", { serial: 1 }, undefined],
  ["refuses serial 0", { serial: 0 }, "serial number is 0"],
  ["refuses a negative serial", { serial: 5, tbs: replace("a003020102020105", "a003020102020185") }, "negative"],
  ["takes a key identifier", { add: [authorityKeyId(new Uint8Array(20))] }, undefined],
  [
    "refuses a critical one",
    { add: [{ ...authorityKeyId(new Uint8Array(20)), critical: true }] },
    "must not be critical",
  ],
  ["takes a CA with critical constraints", { add: [basicConstraints(true)] }, undefined],
  ["refuses a CA's that are not", { add: [{ ...basicConstraints(true), critical: false }] }, "must be critical"],
  [
    "refuses a default that is written out",
    { add: [extension("2.5.29.19", sequence(Uint8Array.of(1, 1, 0)), true)] },
    "written out",
  ],
  [
    "refuses an extension that is there twice",
    { add: [extension("1.2.3", derNull), extension("1.2.3", derNull)] },
    "twice",
  ],
  ["takes as many extensions as are allowed", { add: manyExtensions(extensionsMax - 2) }, undefined],
  ["refuses one more", { add: manyExtensions(extensionsMax - 1) }, `more than ${extensionsMax} extensions`],
  ["refuses an empty list of purposes", { add: [extension("2.5.29.37", sequence())] }, "extKeyUsage is empty"],
  ["refuses an empty list of names", { add: [extension("2.5.29.17", sequence())] }, "subjectAltName is empty"],
  [
    "refuses an address of 5 octets",
    { add: [extension("2.5.29.17", sequence(derValue(0x87, [new Uint8Array(5)])))] },
    "iPAddress has 5 octets",
  ],
  [
    "refuses a name with a zero octet",
    { add: [extension("2.5.29.17", sequence(derValue(0x82, [Buffer.from("a.example\0.evil")])))] },
    "unprintable octets",
  ],
  ["refuses a key usage without a bit", { add: [extension("2.5.29.15", Uint8Array.of(3, 2, 0, 0))] }, "allows nothing"],
  [
    "refuses a key usage whose unused bits are set",
    { add: [extension("2.5.29.15", Uint8Array.of(3, 2, 7, 0x81))] },
    "unused",
  ],
  [
    "takes a CA's name constraints",
    { add: [basicConstraints(true), nameConstraints([{ tag: 2, content: Buffer.from("a.example") }])] },
    undefined,
  ],
  [
    "refuses a node's name constraints",
    { add: [nameConstraints([{ tag: 2, content: Buffer.from("a.example") }])] },
    "no CA's",
  ],
  [
    "refuses name constraints that are not critical",
    {
      add: [basicConstraints(true), {
        ...nameConstraints([{ tag: 2, content: Buffer.from("a.example") }]),
        critical: false,
      }],
    },
    "must be critical",
  ],
  [
    "refuses minimum and maximum in name constraints",
    {
      add: [
        basicConstraints(true),
        extension(
          "2.5.29.30",
          sequence(
            constructed(0, sequence(derValue(0x82, [Buffer.from("a.example")]), derValue(0x80, [Uint8Array.of(1)]))),
          ),
          true,
        ),
      ],
    },
    "minimum and maximum",
  ],
  [
    "refuses an address constraint whose mask has a gap",
    {
      add: [
        basicConstraints(true),
        extension(
          "2.5.29.30",
          sequence(constructed(0, sequence(derValue(0x87, [Uint8Array.of(10, 0, 0, 0, 255, 0, 255, 0)])))),
          true,
        ),
      ],
    },
    "mask is not a prefix",
  ],
  [
    "refuses bytes behind an extension's value",
    { add: [extension("2.5.29.19", Buffer.concat([sequence(derTrue), derNull]), true)] },
    "after the end of extension",
  ],
  [
    "refuses unique identifiers",
    { tbs: (tbs) => splice(tbs, (parts) => parts.splice(7, 0, derValue(0x81, [Uint8Array.of(0, 1)]))) },
    "unique identifiers",
  ],
  [
    "refuses an empty issuer",
    { tbs: (tbs) => splice(tbs, (parts) => parts.splice(3, 1, sequence())) },
    "issuer is empty",
  ],
  [
    "takes an empty subject with critical names",
    {
      add: [{ ...subjectAltName([{ type: "dns", value: "a.example" }]), critical: true }],
      tbs: (tbs) => splice(tbs, (parts) => parts.splice(5, 1, sequence())),
    },
    undefined,
  ],
  [
    "refuses an empty subject with others",
    { san: ["DNS:a.example"], tbs: (tbs) => splice(tbs, (parts) => parts.splice(5, 1, sequence())) },
    "must be critical",
  ],
  [
    "refuses a CA with an empty subject",
    {
      ca: true,
      add: [{ ...subjectAltName([{ type: "dns", value: "a.example" }]), critical: true }],
      tbs: (tbs) => splice(tbs, (parts) => parts.splice(5, 1, sequence())),
    },
    "a CA has no subject",
  ],
  [
    "refuses policy constraints that are not critical",
    { ca: true, add: [extension("2.5.29.36", sequence())] },
    "policyConstraints must be critical",
  ],
  [
    "refuses an inner algorithm that is not the outer one",
    { tbs: (tbs) => splice(tbs, (parts) => parts.splice(2, 1, sequence(oid("1.2.840.10045.4.3.2")))) },
    "signature algorithm differs",
  ],
];

for (const [name, options, problem] of shapes) {
  test(name, () => {
    const outcome = parseCertificate(forge("shape", { issuer: ca, ...options }).der, 3);
    if (problem === undefined) return void assert.ok(Result.isSuccess(outcome), String(outcome));
    assert.ok(Result.isFailure(outcome), "it was accepted");
    assert.is(outcome.failure.code, "malformed-certificate");
    assert.is(outcome.failure.index, 3);
    assert.ok(outcome.failure.detail.includes(problem), outcome.failure.detail);
  });
}

test("refuses version 1, which has no version field", () => {
  const { der } = forge("v1", { issuer: ca, tbs: (tbs) => splice(tbs, (parts) => parts.splice(0, 1)) });
  const outcome = parseCertificate(der);
  assert.ok(Result.isFailure(outcome) && outcome.failure.detail.includes("the version is not 3"));
});

test("counts a chain's certificates from 0 where it is not told which one it reads", () => {
  const outcome = parseCertificate(new Uint8Array(0));
  assert.is(Result.isFailure(outcome) && outcome.failure.index, 0);
});

test("reads a signature algorithm by its OID alone where its parameters are as it wants them", () => {
  const [rsa, ed25519] = [oid("1.2.840.113549.1.1.11"), oid("1.3.101.112")];
  const read = (...parts: Uint8Array[]) => Result.getOrThrow(decodeDer(sequence(...parts), readSignatureAlgorithm));
  assert.is(read(ed25519), "1.3.101.112");
  assert.is(read(rsa), "1.2.840.113549.1.1.11");
  assert.is(read(rsa, derNull), "1.2.840.113549.1.1.11");
  assert.is(read(rsa, Uint8Array.of(5, 1, 0)), "1.2.840.113549.1.1.11 with parameters 050100");
  assert.is(read(rsa, sequence()), "1.2.840.113549.1.1.11 with parameters 3000");
  assert.is(read(ed25519, derNull), "1.3.101.112 with parameters 0500");
});

test("takes the largest certificate and refuses one byte more", () => {
  const sized = (bytes: number) =>
    forge("large", { issuer: ca, add: [extension("1.2.3", octetString(new Uint8Array(bytes)))] }).der;
  const overhead = sized(60_000).length - 60_000;
  const largest = sized(certificateBytesMax - overhead);
  assert.is(largest.length, certificateBytesMax);
  assert.ok(Result.isSuccess(parseCertificate(largest)));
  const larger = parseCertificate(sized(certificateBytesMax - overhead + 1));
  assert.ok(Result.isFailure(larger) && larger.failure.detail.includes("bytes"));
});

test("refuses every prefix of a certificate, and one with a byte behind", () => {
  const { der } = forge("whole", { issuer: ca });
  assert.ok(Result.isSuccess(parseCertificate(der)));
  for (let size = 0; size < der.length; size++) assert.ok(Result.isFailure(parseCertificate(der.subarray(0, size))));
  assert.ok(Result.isFailure(parseCertificate(Buffer.concat([der, Uint8Array.of(0)]))));
});

test("gives plain data that survives structured cloning", () => {
  const certificate = Result.getOrThrow(parseCertificate(forge("clone", { issuer: ca, notAfter: later(9_000) }).der));
  assert.equal(structuredClone(certificate).period, certificate.period);
  assert.is(certificate.period.notAfter.getTime(), later(9_000).getTime());
});

/** Takes a tbsCertificate apart into its values, changes them, and puts it together again. */
function splice(tbs: Uint8Array, change: (parts: Uint8Array[]) => unknown): Uint8Array {
  const parts: Uint8Array[] = [];
  const size = (from: number) => {
    const first = tbs[from + 1]!;
    if (first < 0x80) return 2 + first;
    const octets = first & 0x7f;
    return 2 + octets + Number(`0x${Buffer.from(tbs.subarray(from + 2, from + 2 + octets)).toString("hex")}`);
  };
  const header = tbs[1]! < 0x80 ? 2 : 2 + (tbs[1]! & 0x7f);
  for (let from = header; from < tbs.length; from += size(from)) parts.push(tbs.subarray(from, from + size(from)));
  change(parts);
  return sequence(...parts);
}

test.run();
