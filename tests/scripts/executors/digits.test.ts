import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseDigits } from "../../../scripts/executors/digits.ts";

const test = suite("parseDigits()");
const row = (pixel: string, label: string) => `${Array(63).fill("0").join()},${pixel},${label}`;

test("takes both ends of each range, empty lines and CRLF", () => {
  const read = Result.getOrThrow(parseDigits(`${row("16", "0")}\r\n\n${row("0", "9")}\n`));
  assert.equal(read.map(({ pixels, label }) => [pixels[63], label]), [[1, 0], [0, 9]]);
  assert.equal(Result.getOrThrow(parseDigits("")), []);
});

const wrong: [name: string, text: string, line: number][] = [
  ["a pixel over 16", row("17", "0"), 1],
  ["a negative pixel", row("-1", "0"), 1],
  ["a fraction", row("0.5", "0"), 1],
  ["a label over 9", `${row("0", "0")}\n${row("0", "10")}`, 2],
  ["an empty value", row("", "0"), 1],
  ["words", "hello", 1],
  ["a value less", row("0", "0").slice(2), 1],
  ["a value more", row("0", "0,0"), 1],
];
for (const [name, text, line] of wrong) {
  test(`refuses ${name} and says where`, () => {
    const read = parseDigits(text);
    assert.is(Result.isFailure(read) && read.failure.line, line);
  });
}
test.run();
