/** What a node tells others of its lists. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { ownDomain } from "../../pki/crl_marks.ts";
import { heldCrls } from "../../pki/held_crls.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustInput } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeList, type ForgeListOptions, later } from "../support/forge.ts";

const test = suite("heldCrls()");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const keyOf = ({ der }: Forged) =>
  createHash("sha256").update(Result.getOrThrow(parseCertificate(der)).publicKey.spki).digest("hex");
const hash = (der: Uint8Array) => createHash("sha256").update(der).digest("hex");
const delta = (base: number): ForgeListOptions => ({
  add: [{ oid: "2.5.29.27", critical: true, value: integer(base) }],
});
const list = (number: number, options: ForgeListOptions = {}) =>
  forgeList(middle, { number: BigInt(number), ...options });
const make = (ders: readonly Uint8Array[], input: Partial<TrustInput> = {}) =>
  Result.getOrThrow(makeTrustSnapshot({
    trustPem: root.pem + middle.pem,
    crlsPem: Buffer.concat([forgeList(root), ...ders]),
    policy: defaultPolicy,
    generation: 1,
    at,
    rollback: "report",
    ...input,
  }));
const ofMiddle = ({ key }: { readonly key: string }) => key === keyOf(middle);

test("names the complete list and its delta, with their content", () => {
  const [base, change] = [list(5), list(7, { ...delta(5), nextUpdate: later(3) })];
  const { held, lacking } = heldCrls(make([base, change]).snapshot);
  const place = { domain: ownDomain, key: keyOf(middle), scope: "all", thisUpdate: later(-1) };
  const found = held.filter(ofMiddle).map(({ nextUpdate: _, ...rest }) => rest);
  assert.equal(found, [
    { ...place, kind: "complete", number: "5", baseNumber: undefined, sha256: hash(base), sizeBytes: base.length },
    { ...place, kind: "delta", number: "7", baseNumber: "5", sha256: hash(change), sizeBytes: change.length },
  ]);
  assert.equal(held.find(({ kind }) => kind === "delta")?.nextUpdate, later(3));
  assert.equal(held.filter(({ key }) => key === keyOf(root)).map(({ number }) => number), ["1"]);
  assert.equal(lacking, []);
});

test("names a delta that fits no list, and no list that has no number or is not verified", () => {
  const numbers = (ders: readonly Uint8Array[], input?: Partial<TrustInput>) =>
    heldCrls(make(ders, input).snapshot).held.filter(ofMiddle).map(({ kind, number }) => [kind, number]);
  assert.equal(numbers([list(3), list(7, delta(5))]), [["complete", "3"], ["delta", "7"]]);
  assert.equal(numbers([list(0, { omitNumber: true })]), []);
  assert.equal(numbers([list(5)], { trustPem: root.pem }), [], "its issuer is not in the bundle");
});

test("lacks what is older than its mark, or gone, while the domain has the issuer", () => {
  const { crlMarks } = make([list(5), list(7, delta(5))]);
  const lacking = (ders: readonly Uint8Array[], input: Partial<TrustInput> = {}) =>
    heldCrls(make(ders, { crlMarks, ...input }).snapshot).lacking.map(({ key, number }) => [key, number]);
  assert.equal(lacking([list(5)]), [[keyOf(middle), "7"]], "the delta is lost");
  assert.equal(lacking([]), [[keyOf(middle), "7"]]);
  assert.equal(lacking([list(7)]), []);
  assert.equal(lacking([], { trustPem: root.pem }), [], "nobody could verify it");
});

test("of another trust domain, by its name", () => {
  const other = forge("other", { ca: true });
  const domains = [{ name: "partner.example", trust: other.pem, crlsPem: forgeList(other, { number: 4n }) }];
  const { held } = heldCrls(make([], { domains }).snapshot);
  assert.equal(held.map(({ domain, number }) => [domain, number]), [["@own", "1"], ["partner.example", "4"]]);
});

test.run();
