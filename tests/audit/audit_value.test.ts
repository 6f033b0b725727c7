import { suite } from "uvu";
import * as assert from "uvu/assert";
import { auditText, depthMax } from "../../actors/audit/audit_value.ts";
import { randomOf } from "../../actors/runtime/random.ts";
import { isCanonical } from "../../pki/canonical_json.ts";

const test = suite("auditText()");

const cases: readonly (readonly [name: string, value: unknown, expected: string])[] = [
  [
    "sorts names by UTF-16 units, on every level",
    { b: { z: 1, a: 2 }, a: [], "\u20ac": 1, "\r": 2 },
    '{"\\r":2,"a":[],"b":{"a":2,"z":1},"€":1}',
  ],
  [
    "makes text of fractions and of integers that JavaScript cannot hold",
    [1.5, 2 ** 53, 10n, -0],
    '["1.5","9007199254740992","10",0]',
  ],
  [
    "makes text of dates, also of one that is none",
    [new Date(0), new Date(NaN)],
    '["1970-01-01T00:00:00.000Z","invalid date"]',
  ],
  ["keeps yes, no and null; a gap in a list is null", [true, false, null, undefined], "[true,false,null,null]"],
  ["a name keeps its value where another one would get the same", { 10: 1, n10: 2 }, '{"n10":2}'],
  ["a name that is undefined leaves its place to another one", { 10: 1, n10: undefined }, '{"n10":1}'],
  ["a replaced name does not take the value of another", JSON.parse('{"a\\ud800": 1, "a\\ufffd": 2}'), '{"a\ufffd":2}'],
  ["nor where it comes later", JSON.parse('{"a\\ufffd": 2, "a\\ud800": 1}'), '{"a\ufffd":2}'],
  // deno-lint-ignore no-sparse-arrays
  ["a gap in a list is null", [1, , 3], "[1,null,3]"],
  ["leaves out what is undefined", { a: undefined, b: null }, '{"b":null}'],
  ["replaces lone surrogates", { "a\ud800": "b\udc00" }, '{"a\ufffd":"b\ufffd"}'],
  ["takes no name that an engine moves to the front", { b: 1, 10: 2, 9: 3 }, '{"b":1,"n10":2,"n9":3}'],
  ["makes text of what has none in JSON, with its quotes", [Symbol('"'), 10n], '["Symbol(\\")","10"]'],
  [
    "takes `__proto__` as a name where another one changes",
    JSON.parse('{"1": 2, "__proto__": {}}'),
    '{"__proto__":{},"n1":2}',
  ],
  ["takes `__proto__` as a name", JSON.parse('{"__proto__": {"x": 1}}'), '{"__proto__":{"x":1}}'],
];
for (const [name, value, expected] of cases) {
  test(name, () => {
    const text = auditText(value);
    assert.is(text, expected);
  });
}

test("keeps eight levels of fields and of lists, and cuts the ninth", () => {
  const nested = (levels: number, wrap: (inner: unknown) => unknown) => {
    let value: unknown = 1;
    for (let level = 0; level < levels; level++) value = wrap(value);
    return auditText(value);
  };
  const fields = (inner: unknown) => ({ a: inner });
  const list = (inner: unknown) => [inner];
  assert.is(nested(8, fields), `${'{"a":'.repeat(8)}1${"}".repeat(8)}`);
  assert.is(nested(9, fields), `${'{"a":'.repeat(8)}"[object Object]"${"}".repeat(8)}`);
  assert.is(nested(8, list), `${"[".repeat(8)}1${"]".repeat(8)}`);
  assert.is(nested(9, list), `${"[".repeat(8)}"[object Array]"${"]".repeat(8)}`);
});

test("bug: an object without a text of its own, at the deepest level, was thrown back at the one who recorded it", () => {
  let list: unknown = [];
  for (let level = 0; level < 100_000; level++) list = [list];
  for (const deepest of [Object.create(null), { toString: 1, valueOf: 1 }, [Object.create(null)], list]) {
    let value: unknown = deepest;
    for (let level = 0; level < 8; level++) value = { a: value };
    const tag = Array.isArray(deepest) ? "[object Array]" : "[object Object]";
    assert.is(auditText(value), `${'{"a":'.repeat(8)}"${tag}"${"}".repeat(8)}`);
  }
});

test("cuts values that are nested too deeply, cycles too", () => {
  const cycle: Record<string, unknown> = {};
  cycle["again"] = cycle;
  assert.match(auditText(cycle), "[object Object]");
});

test("any data has a canonical text, and the order of its names makes no difference", () => {
  const random = randomOf(7, "audit");
  const names = [
    "a",
    "b",
    "10",
    "007",
    "9",
    "__proto__",
    "a\ud800",
    "\u20ac",
    "\r",
    "",
    '"',
    "\u{1f600}",
    "\ufb33",
    "toJSON",
  ];
  const single = [
    null,
    undefined,
    true,
    -0,
    1.5,
    NaN,
    -Infinity,
    2 ** 60,
    7n,
    new Date(0),
    "\udc00",
    '\u2028\\"',
    /x/,
    new Map(),
  ];
  const make = (depth: number): unknown => {
    if (depth > depthMax || random.chance(0.3)) return random.pick(single);
    const count = random.whole(0, 5);
    return random.chance(0.3) ? Array.from({ length: count }, () => make(depth + 1)) : fields(depth, count);
  };
  const fields = (depth: number, count: number) =>
    Object.fromEntries(Array.from({ length: count }, () => [random.pick(names), make(depth + 1)]));
  for (let round = 0; round < 5_000; round++) {
    const data = fields(0, 5), text = auditText(data);
    assert.ok(isCanonical(JSON.parse(text), text), text);
    assert.is(auditText(Object.fromEntries(Object.entries(data).toReversed())), text);
  }
});

test.run();
