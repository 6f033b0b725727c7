import { suite } from "uvu";
import * as assert from "uvu/assert";
import { f64, oneOf, text, u32 } from "../../../transport/protocols/scalars.ts";
import {
  dictionary,
  externallyTagged,
  list,
  nullable,
  omittable,
  type Schema,
  struct,
  taggedBy,
} from "../../../transport/protocols/schema.ts";
import { shapeText } from "../../../transport/protocols/shape.ts";

const test = suite("shapeText()");
const none = struct({});
const inner = struct<{ readonly a: number }>({ a: u32 });
const many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
const cases: [name: string, schema: Schema<never>, expected: string][] = [
  ["a bounded text", text(64) as never, "text of at most 64 bytes"],
  ["literals", oneOf(["a", "b"]) as never, '"a" | "b"'],
  ["many literals", oneOf(many) as never, "text, one of 9"],
  [
    "lists, of any length and of one",
    struct({ a: list(u32), b: list(f64, { count: 2 }) }) as never,
    "{ a: [u32, …], b: [f64, f64] }",
  ],
  [
    "keys that may be missing or null, and one that is no word",
    struct<never>({ a: omittable(u32), b: nullable(u32), "c-d": u32 } as never) as never,
    '{ a?: u32, b: u32 | null, "c-d": u32 }',
  ],
  ["a dictionary", dictionary(u32) as never, "{ [name]: u32 }"],
  ["an enum with its tag outside", externallyTagged({ x: inner }, ["y"]) as never, '{ x: { a: u32 } } | "y"'],
  [
    "an enum with its tag inside",
    taggedBy("type", { X: inner, Y: none }) as never,
    '{ type: "X", a: u32 } | { type: "Y" }',
  ],
  ["an enum of one variant", taggedBy("type", { X: inner }) as never, '{ type: "X", a: u32 }'],
];
for (const [name, { shape = "value" }, expected] of cases) {
  test(name, () => assert.is(shapeText(shape, new Map()), expected));
}

test("a shape that has a name is printed by it, a long object over several lines", () => {
  const { shape = "" } = struct({
    first: inner,
    second: text(1_000_000),
    third: text(1_000_000),
    fourth: text(1_000_000),
  });
  const bytes = "text of at most 1000000 bytes";
  assert.is(
    shapeText(shape, new Map([[inner.shape ?? "", "Inner"]])),
    `{\n  first: Inner,\n  second: ${bytes},\n  third: ${bytes},\n  fourth: ${bytes},\n}`,
  );
});
test.run();
