import { suite } from "uvu";
import * as assert from "uvu/assert";
import { durationMs, readDuration } from "../../actors/config/duration.ts";

const test = suite("readDuration()");

const read: [text: string, ms: number][] = [
  ["0s", 0],
  ["1s", 1_000],
  ["90m", 5_400_000],
  ["72h", 259_200_000],
  ["397d", 34_300_800_000],
  ["999999d", 86_399_913_600_000],
];
for (const [text, ms] of read) {
  test(`reads ${text}`, () => {
    assert.is(readDuration(text), ms);
    assert.is(durationMs(text), ms);
  });
}

for (const text of ["", "1", "h", "1 h", "1H", "-1h", "1.5h", "1h30m", "1000000s", "1h\n"]) {
  test(`refuses ${JSON.stringify(text)}`, () => {
    assert.type(readDuration(text), "string");
    assert.throws(() => durationMs(text), /Cannot use the duration/);
  });
}

test.run();
