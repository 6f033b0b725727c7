import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { decodeDer } from "../../pki/der.ts";
import { readAuthorityKeyId } from "../../pki/extensions.ts";
import { constructed, derNull, derValue, oid, primitive, sequence } from "../../pki/issue/der_writer.ts";
import { authorityKeyId, type Extension } from "../../pki/issue/extensions.ts";
import { forge } from "../support/forge.ts";

const ca = forge("CA", { ca: true });
const leafWith = (...add: Extension[]) => {
  const outcome = parseCertificate(forge("leaf", { issuer: ca, add }).der);
  return Result.isSuccess(outcome) ? outcome.success : outcome.failure.detail;
};
const extension = (identifier: string, value: Uint8Array): Extension => ({ oid: identifier, critical: false, value });
const has = (said: unknown, words: string) => assert.ok(String(said).includes(words), String(said));

const authority = suite("readAuthorityKeyId()");
const uri = primitive(6, Uint8Array.of(0x61));
const [keyId, issuer, serial] = [
  primitive(0, Uint8Array.of(0xab)),
  constructed(1, uri),
  primitive(2, Uint8Array.of(5)),
];
const fields = (...parts: Uint8Array[]) => {
  const outcome = decodeDer(sequence(...parts), readAuthorityKeyId);
  return Result.isSuccess(outcome) ? outcome.success : outcome.failure.detail;
};
authority("reads a key, an issuer with its serial, both, or nothing", () => {
  assert.equal(fields(), { keyId: undefined, namesIssuer: false });
  assert.equal(fields(keyId), { keyId: "ab", namesIssuer: false });
  assert.equal(fields(issuer, serial), { keyId: undefined, namesIssuer: true });
  assert.equal(fields(keyId, issuer, serial), { keyId: "ab", namesIssuer: true });
});
authority("refuses one of issuer and serial, fields out of order or twice, and others", () => {
  for (const lone of [[issuer], [serial], [keyId, issuer], [keyId, serial]]) has(fields(...lone), "without its serial");
  const wrong = [[serial, issuer], [issuer, keyId, serial], [keyId, keyId], [issuer, issuer, serial], [
    issuer,
    serial,
    serial,
  ]];
  for (const parts of wrong) has(fields(...parts), "unexpected field");
  for (
    const odd of [derNull, primitive(1, Uint8Array.of(1)), primitive(3, Uint8Array.of(1)), constructed(2, derNull)]
  ) {
    has(fields(odd), "unexpected field");
  }
});
authority("a certificate tells whether it has one, though it may name no key", () => {
  const told = (...add: Extension[]) => {
    const leaf = leafWith(...add);
    return typeof leaf === "string" ? leaf : [leaf.hasAuthorityKey, leaf.authorityKeyId, leaf.authorityNamesIssuer];
  };
  assert.equal(told(), [false, undefined, false]);
  assert.equal(told(authorityKeyId(Uint8Array.of(0xab))), [true, "ab", false]);
  assert.equal(told(extension("2.5.29.35", sequence())), [true, undefined, false]);
  assert.equal(told(extension("2.5.29.35", sequence(issuer, serial))), [true, undefined, true]);
});
authority.run();

const others = suite("readExtensions()");
others("gives the names of distribution points", () => {
  const place = sequence(constructed(0, constructed(0, uri)));
  const leaf = leafWith(extension("2.5.29.31", sequence(place)));
  assert.equal(typeof leaf === "string" ? leaf : leaf.distributionPoints, ["860161"]);
});

const usageOf = (...content: number[]) => {
  const leaf = leafWith(extension("2.5.29.15", derValue(0x03, [Uint8Array.from(content)])));
  return typeof leaf === "string" ? leaf : leaf.keyUsage;
};
others("reads a key usage of one or two octets, also with zeros behind its last bit", () => {
  assert.equal(usageOf(7, 0x80), ["digitalSignature"]);
  assert.equal(usageOf(0, 0x80), ["digitalSignature"]);
  assert.equal(usageOf(7, 0x00, 0x80), ["decipherOnly"]);
  assert.equal(usageOf(1, 0x06), ["keyCertSign", "cRLSign"]);
});
others("refuses a key usage that is no short bit string", () => {
  for (const content of [[], [0], [8, 0x80, 0x00], [8, 0x80], [0, 0x80, 0, 0]]) {
    has(usageOf(...content), "short bit string");
  }
  has(usageOf(1, 0x81), "bits set that are unused");
});

others("passes over policies that are well formed, and refuses one that stands there twice", () => {
  const policies = (...list: Uint8Array[]) => leafWith(extension("2.5.29.32", sequence(...list)));
  const policy = (number: number, ...more: Uint8Array[]) => sequence(oid(`1.2.${number}`), ...more);
  assert.type(policies(policy(1), policy(2), policy(3, sequence(derNull))), "object");
  has(policies(policy(1), policy(2), policy(1)), "policy 1.2.1 stands there twice");
  has(policies(), "are empty");
  has(policies(policy(1, derNull)), "policy qualifiers");
});

others("passes over where to ask about revocation, where that is well formed", () => {
  const access = (...list: Uint8Array[]) => leafWith(extension("1.3.6.1.5.5.7.1.1", sequence(...list)));
  assert.type(access(sequence(oid("1.3.6.1.5.5.7.48.1"), uri)), "object");
  has(access(), "is empty");
  has(access(sequence(oid("1.3.6.1.5.5.7.48.1"))), "cut off");
  has(access(sequence(oid("1.3.6.1.5.5.7.48.1"), uri, uri)), "after the end");
});
others.run();
