/** A short run of the fuzzer, its output whole, and what runs have found. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { derNull, derValue, integer, oid, sequence, setOfOne, utf8String } from "../../pki/issue/der_writer.ts";
import { readTree, writeTree } from "../../scripts/fuzz/der_tree.ts";
import { evaluate } from "../../scripts/fuzz/evaluate.ts";
import { mutate } from "../../scripts/fuzz/mutate.ts";
import type { FuzzReport } from "../../scripts/fuzz/run.ts";
import { makeWorlds } from "../../scripts/fuzz/worlds.ts";
import { program } from "../support/commands.ts";
import { encodeCommonName, forge, forgeList } from "../support/forge.ts";
import { needing } from "../support/prerequisites.ts";

const test = suite("fuzz");

needing(test, "openssl")("four hundred mutations: what OpenSSL refuses is refused here, or explained", async () => {
  const { code, stdout, stderr } = await program("fuzz.ts", "--seed", "7", "--count", "400", "--json");
  const report: FuzzReport = JSON.parse(stdout);
  assert.equal([report.unexplained, report.crashes], [[], []], stdout);
  assert.is(code, 0, stderr);
  assert.equal(Object.keys(report), [
    "runtime",
    "seed",
    "count",
    "kinds",
    "accepted",
    "refused",
    "asked",
    "agreed",
    "stricter",
    "explained",
    "unexplained",
    "crashes",
    "slowestMs",
    "verdicts",
    "seconds",
  ]);
  assert.is(report.accepted + Object.values(report.refused).reduce((sum, each) => sum + each), 400);
  // Mutations that do nothing, or of which nothing survives, would find nothing.
  assert.ok(report.accepted > 50 && report.accepted < 250, String(report.accepted));
  assert.ok(report.asked > report.accepted);
  // The same on every runtime: mutations, keys, signatures, verdicts.
  assert.is(report.verdicts, "8886f469dc2f61281992d57059d53634efe9f63df050dde4825b05a3b2f398c9");
});

test("ends with 2 on wrong usage", async () => {
  for (const args of [["--seed", "x"], ["--count", "0"], ["--runtime", "bun"], ["--frob"]]) {
    const { code, stdout } = await program("fuzz.ts", ...args);
    assert.equal([code, stdout], [2, ""], args.join(" "));
  }
});

test("begins with worlds that are accepted, and bends them the same way every time", () => {
  const worlds = makeWorlds(3);
  for (const { chain, anchors, lists } of worlds) {
    const ders = (parts: typeof chain) => parts.map(({ der }) => der);
    assert.is(evaluate({ chain: ders(chain), anchors: ders(anchors), lists: lists && ders(lists) }), "accepted");
  }
  assert.equal(mutate(makeWorlds(3), 3, 17), mutate(worlds, 3, 17));
});

test("writes a tree that it has not bent as it was", () => {
  for (const { der } of makeWorlds(3).flatMap(({ chain, lists }) => [...chain, ...(lists ?? [])])) {
    assert.equal(Buffer.from(writeTree(readTree(der)![0]!)), Buffer.from(der));
  }
});

/** A certificate whose common name is this value. */
function named(tag: number, hex: string): string {
  const name = sequence(setOfOne(sequence(oid("2.5.4.3"), derValue(tag, [Buffer.from(hex, "hex")]))));
  const plain = encodeCommonName("node");
  const root = forge("root", { ca: true });
  const made = forge("node", {
    issuer: root,
    tbs: (tbs) => {
      const [tree] = readTree(tbs)!;
      const subject = tree!.children!.findIndex((child) => Buffer.from(writeTree(child)).equals(plain));
      tree!.children![subject] = readTree(name)![0]!;
      return writeTree(tree!);
    },
  });
  return Result.match(parseCertificate(made.der), {
    onSuccess: ({ subject }) => subject.text,
    onFailure: ({ code }) => code,
  });
}

const values: [name: string, tag: number, hex: string, expected: string][] = [
  ["takes a UTF8String", 0x0c, "6e6f6465", "CN=node"],
  ["takes a NumericString", 0x12, "3132", "CN=12"],
  ["takes a BMPString", 0x1e, "006e00e4", "CN=nä"],
  ["takes a UniversalString", 0x1c, "0000006e", "CN=n"],
  ["takes a BIT STRING, as unique identifiers are", 0x03, "00ff", "CN=#030200ff"],
  ["refuses a BIT STRING with more than seven bits unused (seed 11, 4037)", 0x03, "46757a7a", "malformed-certificate"],
  ["refuses a BIT STRING that is empty", 0x03, "", "malformed-certificate"],
  ["refuses a value of a context's tag (seed 1, 1242)", 0x8c, "6e6f6465", "malformed-certificate"],
  ["refuses an object identifier (seed 1, 3478)", 0x06, "2a03", "malformed-certificate"],
  ["refuses an OCTET STRING", 0x04, "6e", "malformed-certificate"],
  ["refuses a UniversalString beyond Unicode's end (seed 2, 5265)", 0x1c, "6c656166", "malformed-certificate"],
  ["refuses a UniversalString that is cut off", 0x1c, "00006e", "malformed-certificate"],
  ["refuses half of a pair in a BMPString", 0x1e, "d83d", "malformed-certificate"],
];
for (const [name, tag, hex, expected] of values) {
  test(`a name's attribute: ${name}`, () => assert.is(named(tag, hex), expected));
}

const otherNames: [name: string, der: Uint8Array, expected: string][] = [
  ["takes an otherName", derValue(0xa0, [oid("1.2.3"), derValue(0xa0, [utf8String("x")])]), "accepted"],
  ["refuses an otherName that is text (seed 11, 2261)", derValue(0xa0, [Buffer.from("leaf.fuzz.example")]), "refused"],
  ["refuses an otherName without a type (seed 11, 9455)", derValue(0xa0, [integer(1)]), "refused"],
  ["refuses an otherName of two values", derValue(0xa0, [oid("1.2.3"), derValue(0xa0, [derNull, derNull])]), "refused"],
  ["takes an ediPartyName", derValue(0xa5, [derValue(0xa1, [utf8String("x")])]), "accepted"],
  ["refuses an ediPartyName without a party", derValue(0xa5, [derValue(0xa0, [utf8String("x")])]), "refused"],
  ["takes a registeredID", derValue(0x88, [Buffer.from("2a03", "hex")]), "accepted"],
  ["refuses a registeredID that does not end", derValue(0x88, [Buffer.from("2a83", "hex")]), "refused"],
];
for (const [name, der, expected] of otherNames) {
  test(`alternative names: ${name}`, () => {
    const root = forge("root", { ca: true });
    const add = [{ oid: "2.5.29.17", critical: false, value: sequence(der) }];
    const outcome = parseCertificate(forge("node", { issuer: root, add }).der);
    assert.is(Result.isSuccess(outcome) ? "accepted" : "refused", expected);
  });
}

const issuerName = derValue(0xa1, [derValue(0x82, [Buffer.from("ca.test")])]);
const issuerSerial = derValue(0x82, [Uint8Array.of(1)]);
const keyIdentifiers: [name: string, fields: readonly Uint8Array[], expected: string][] = [
  ["takes none of its fields", [], "accepted"],
  ["takes an issuer with its serial number", [issuerName, issuerSerial], "accepted"],
  ["refuses a serial number without its issuer (seed 20261125, 95196)", [issuerSerial], "refused"],
  ["refuses an issuer without its serial number", [issuerName], "refused"],
];
for (const [name, fields, expected] of keyIdentifiers) {
  test(`authority key identifiers: ${name}, in a certificate and in a list`, () => {
    const root = forge("root", { ca: true });
    const add = [{ oid: "2.5.29.35", critical: false, value: sequence(...fields) }];
    const certificate = parseCertificate(forge("node", { issuer: root, add }).der);
    assert.is(Result.isSuccess(certificate) ? "accepted" : "refused", expected);
    const list = parseCrl(forgeList(root, { add }));
    assert.is(Result.isSuccess(list) ? "accepted" : "refused", expected);
  });
}

test.run();
