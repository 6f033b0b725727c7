/** Which lists of the state directory count. */
import { createHash } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { type HeldCrl, keyOfCrl } from "../../pki/crl.ts";
import { ownDomain, raiseMarks } from "../../pki/crl_marks.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { admitLearned, type LearnedTerms } from "../../pki/learned_crls.ts";
import { integer } from "../../pki/issue/der_writer.ts";
import { at, forge, type Forged, forgeList, type ForgeListOptions, later } from "../support/forge.ts";

const test = suite("admitLearned()");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const key = createHash("sha256").update(certificate(middle).publicKey.spki).digest("hex");
const delta = (base: number): ForgeListOptions => ({
  add: [{ oid: "2.5.29.27", critical: true, value: integer(base) }],
});

function read(number: number, cas: readonly Forged[], options: ForgeListOptions = {}): HeldCrl {
  const reader = new CrlReader({ cas: cas.map(certificate) });
  reader.push(forgeList(middle, { number: BigInt(number), ...options }));
  return Result.getOrThrow(reader.finish())[0]!.list;
}
const verified = (number: number, options?: ForgeListOptions) => read(number, [root, middle], options);
const unverified = (number: number, options?: ForgeListOptions) => read(number, [root], options);
const marked = (...lists: readonly HeldCrl[]) => raiseMarks({}, ownDomain, lists);
const terms = (more: Partial<LearnedTerms> = {}): LearnedTerms => ({
  domain: ownDomain,
  key,
  marks: {},
  marksFile: "read",
  at,
  ...more,
});
const admit = (list: HeldCrl, more?: Partial<LearnedTerms>) => {
  const { lists, dueAt, strangers } = admitLearned([list], terms(more));
  return strangers > 0 ? "stranger" : dueAt !== undefined ? "waits" : lists.length === 1 ? "counts" : "nothing";
};

const marks5 = marked(verified(5));
const ahead = { thisUpdate: later(1), nextUpdate: later(9) };
const cases: [name: string, outcome: string, expected: string][] = [
  ["a list that a CA of the domain signed", admit(verified(5)), "counts"],
  ["one above its mark", admit(verified(6), { marks: marks5 }), "counts"],
  ["one below its mark: it revokes", admit(verified(4), { marks: marks5 }), "counts"],
  ["a list that nobody can verify", admit(unverified(5)), "stranger"],
  ["the same above the mark of the file's key", admit(unverified(6), { marks: marks5 }), "stranger"],
  ["the same at its mark", admit(unverified(5), { marks: marks5 }), "counts"],
  ["the same below its mark", admit(unverified(4), { marks: marks5 }), "counts"],
  [
    "the same at another domain's mark",
    admit(unverified(5), { marks: raiseMarks({}, "b.example", [verified(5)]) }),
    "stranger",
  ],
  [
    "the same in another domain, at the own mark",
    admit(unverified(5), { domain: "b.example", marks: marks5 }),
    "stranger",
  ],
  ["the same where the marks are lost", admit(unverified(5), { marksFile: "lost" }), "counts"],
  [
    "a delta that nobody can verify, at the mark of a delta",
    admit(unverified(7, delta(6)), {
      marks: marked(verified(3), verified(7, delta(6))),
    }),
    "counts",
  ],
  ["a new list dated ahead", admit(verified(6, ahead), { marks: marks5 }), "waits"],
  ["a list dated ahead without a mark", admit(verified(6, ahead)), "waits"],
  ["the same at its moment", admit(verified(6, ahead), { at: later(1) }), "counts"],
  ["the same a millisecond before", admit(verified(6, ahead), { at: new Date(later(1).getTime() - 1) }), "waits"],
  ["a list dated ahead that was used before", admit(verified(5, ahead), { marks: marks5 }), "counts"],
  [
    "a date, where the mark has the same",
    admit(unverified(0, { omitNumber: true }), {
      marks: marked(verified(0, { omitNumber: true })),
    }),
    "counts",
  ],
  [
    "a later date",
    admit(unverified(0, { omitNumber: true, thisUpdate: at }), {
      marks: marked(verified(0, { omitNumber: true })),
    }),
    "stranger",
  ],
];
for (const [name, outcome, expected] of cases) test(`${name}: ${expected}`, () => assert.is(outcome, expected));

test("says of each whose it is, and that it was learned", () => {
  const [own, stranger] = [verified(5), unverified(5)];
  const found = admitLearned([own, stranger], terms({ marks: marks5 })).lists;
  assert.equal(found.map(({ learned, vouchedBy }) => [learned, vouchedBy]), [[true, undefined], [true, key]]);
  assert.equal(found.map(keyOfCrl), [key, key]);
  const [lost] = admitLearned([own], terms({ marksFile: "lost" })).lists;
  assert.is(lost?.learned, undefined, "nobody knows whether it was the operator's");
  assert.is(admitLearned([verified(6, ahead)], terms()).dueAt, later(1).getTime());
});

test.run();
