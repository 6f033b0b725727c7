import { suite } from "uvu";
import * as assert from "uvu/assert";
import { canonicalDepthMax, canonicalJson, isCanonical } from "../../pki/canonical_json.ts";

const test = suite("canonicalJson() and isCanonical()");

const texts: readonly (readonly [text: string, canonical: boolean])[] = [
  ['{"a":1,"b":{"c":[true,null,"x"]}}', true],
  ['{"b":1,"a":1}', false],
  ['{"a":{"d":1,"c":1}}', false],
  ['{"a": 1}', false],
  ['{"a":1.5}', false],
  ['{"a":1.0}', false],
  ['{"a":1e2}', false],
  ['{"a":1,"a":1}', false],
  ['{"a":"\\u0061"}', false],
];
for (const [text, canonical] of texts) {
  test(`${text} is ${canonical ? "" : "not "}canonical`, () =>
    assert.is(isCanonical(JSON.parse(text), text), canonical));
}

test("writes names sorted by UTF-16 units, those that an engine moves to the front too", () => {
  const text = canonicalJson({ b: { z: 1, a: null }, a: ["€", true], 9: 1, 10: 2 });
  assert.is(text, '{"10":2,"9":1,"a":["€",true],"b":{"a":null,"z":1}}');
});

test("writes no number and no text that has several spellings", () => {
  for (const value of [1.5, -0, 2 ** 53, "\ud800", { "\ud800": 1 }]) {
    assert.throws(() => canonicalJson(value), (error: Error) => error instanceof TypeError);
  }
});

test("bug: lists and objects in each other, thousands of them, threw an error", () => {
  const lists = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
  const objects = (depth: number) => '{"a":'.repeat(depth) + "1" + "}".repeat(depth);
  for (const textOf of [lists, objects]) {
    const found = [canonicalDepthMax, canonicalDepthMax + 1, 5_000, 30_000].map((depth) => {
      const text = textOf(depth);
      return isCanonical(JSON.parse(text), text);
    });
    assert.equal(found, [true, false, false, false]);
  }
});

test.run();
