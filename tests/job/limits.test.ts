/** How large a job's files may be. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fileBytesOf, jobLimits } from "../../actors/job/limits.ts";

const test = suite("fileBytesOf()");

const cases: [diskBytes: number, expected: number][] = [
  [0, jobLimits.fileBytesMax],
  [2 * 1024 ** 3, jobLimits.fileBytesMax],
  [4_500_000_000, 4_500_000_000],
  [48 * 1024 ** 3, 48 * 1024 ** 3],
];
for (const [diskBytes, expected] of cases) {
  test(`bug: 4 GiB was the most for a disk of ${diskBytes} bytes too`, () => {
    assert.is(fileBytesOf({ diskBytes }), expected);
  });
}
test.run();
