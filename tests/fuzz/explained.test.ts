/** Every row of what we accept and OpenSSL refuses, in its smallest case. */
import { createPublicKey } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { authorityKeyId, extendedKeyUsage, type Extension, keyIdOf, subjectKeyId } from "../../pki/issue/extensions.ts";
import { explained, explanationOf } from "../../scripts/fuzz/explained.ts";
import { evaluate, type FuzzCase } from "../../scripts/fuzz/evaluate.ts";
import { openOracle, type Oracle } from "../../scripts/fuzz/oracle.ts";
import { forge, type Forged, forgeList, type ForgeOptions } from "../support/forge.ts";
import { needing } from "../support/prerequisites.ts";

const test = suite("what we accept and OpenSSL refuses");
const withOpenssl = needing(test, "openssl");
let oracle: Oracle;
withOpenssl.before(async () => {
  oracle = await openOracle();
});
withOpenssl.after(() => oracle.close());

const keyIdOfKey = ({ key }: Forged) =>
  keyIdOf(new Uint8Array(createPublicKey(key).export({ format: "der", type: "spki" })).subarray(12));

/** A certificate with key identifiers, as OpenSSL's strict mode wants them; `add` takes their place. */
function proper(name: string, options: ForgeOptions = {}): Forged {
  const self = options.keyOf ?? forge(name);
  const ids: Extension[] = [
    subjectKeyId(keyIdOfKey(self)),
    authorityKeyId(keyIdOfKey(options.issuer ?? self)),
  ];
  const given = (options.add ?? []).map(({ oid }) => oid);
  const usual = ids.filter(({ oid }) => !given.includes(oid) && !options.omit?.includes(oid));
  return forge(name, { ...options, keyOf: self, add: [...usual, ...(options.add ?? [])] });
}

const root = proper("root", { ca: true });
const middle = proper("middle", { ca: true, issuer: root });
const leaf = proper("leaf", { issuer: root });
const deepLeaf = proper("leaf", { issuer: middle });
const strange = authorityKeyId(new Uint8Array(20));
const oids = { subjectKeyId: "2.5.29.14", keyUsage: "2.5.29.15", authorityKeyId: "2.5.29.35" };
const bareRoot = proper("root", { ca: true, omit: [oids.subjectKeyId, oids.authorityKeyId] });
const muteRoot = proper("root", { ca: true, omit: [oids.keyUsage] });
const anyPurpose = extendedKeyUsage(["2.5.29.37.0"]);
const ownCrl = (ca: Forged) => forgeList(ca, { add: [authorityKeyId(keyIdOfKey(ca))] });

function given(chain: readonly Forged[], anchor: Forged, lists?: readonly Uint8Array[]): FuzzCase {
  return { chain: chain.map(({ der }) => der), anchors: [anchor.der], lists };
}

const cases: Readonly<Record<string, FuzzCase>> = {
  "subject-key-id-absent": given([proper("leaf", { issuer: bareRoot })], bareRoot),
  "authority-key-id-absent": given([proper("leaf", { issuer: root, omit: [oids.authorityKeyId] })], root),
  "authority-key-id-hint": given([proper("leaf", { issuer: root, add: [strange] })], root),
  "ca-key-usage-absent": given([proper("leaf", { issuer: muteRoot })], muteRoot),
  "any-purpose": given([proper("leaf", { issuer: root, add: [anyPurpose] })], root),
  "anchor-not-looked-up": given([deepLeaf], middle, [ownCrl(middle)]),
  "self-issued-leaf": given([proper("root", { issuer: root, omit: [oids.authorityKeyId] })], root),
  "list-key-id-hint": given([leaf], root, [forgeList(root, { add: [strange] })]),
};

withOpenssl("OpenSSL accepts what the cases depart from", async () => {
  const plain = [given([leaf], root), given([deepLeaf, middle], root, [ownCrl(root), ownCrl(middle)])];
  assert.equal(plain.map(evaluate), ["accepted", "accepted"]);
  assert.equal(await oracle.accepts(plain), [true, true]);
});

test("has a case for every row, a section of an RFC, and at most 20 rows", () => {
  assert.equal(Object.keys(cases).sort(), explained.map(({ id }) => id).sort());
  assert.ok(explained.length <= 20);
  for (const { rfc } of explained) assert.match(rfc, /^RFC \d+ §\d/);
});

for (const [id, given] of Object.entries(cases)) {
  withOpenssl(`accepts ${id}, and says why OpenSSL does not`, async () => {
    assert.is(evaluate(given), "accepted");
    const said = await oracle.explain(given);
    const rows = explanationOf(given, said);
    assert.ok(rows?.some((row) => row.id === id), `${said}\n${JSON.stringify(rows)}`);
  });
}

test("explains nothing that a row's message alone fits", () => {
  assert.is(
    explanationOf(given([leaf], root), "error 26 at 0 depth lookup: unsuitable certificate purpose"),
    undefined,
  );
  assert.is(explanationOf(given([leaf], root), "error 7 at 0 depth lookup: certificate signature failure"), undefined);
  assert.is(explanationOf(given([leaf], root), ""), undefined);
});

test.run();
