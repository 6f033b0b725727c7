/** How large a job's files may be. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fileBytesOf, jobLimits } from "../../actors/job/limits.ts";

const test = suite("fileBytesOf()");

const cases: [storageGb: number, diskBytes: number, expected: number][] = [
  [0, 0, jobLimits.fileBytesMax],
  [4, 2 * 1024 ** 3, jobLimits.fileBytesMax],
  [4.5, 2 * 1024 ** 3, 4_500_000_000],
  [1, 48 * 1024 ** 3, 48 * 1024 ** 3],
  [1_000, 1, 1e12],
];
for (const [storageGb, diskBytes, expected] of cases) {
  test(`bug: 4 GiB was the most for ${storageGb} GB of storage and a disk of ${diskBytes} bytes too`, () => {
    assert.is(fileBytesOf({ storageGb, diskBytes }), expected);
  });
}
test.run();
