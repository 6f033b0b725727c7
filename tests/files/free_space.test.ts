/** Room on a disk, as the operating system says it and as a test does. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkRoom, FreeSpace } from "../../actors/files/free_space.ts";
import { temporary } from "../support/job_world.ts";

const test = suite("checkRoom()");
const having = (free: number) => Effect.provideService(FreeSpace, () => Effect.succeed(free));

for (
  const [needed, free, expected] of [
    [1_000, 1_000, undefined],
    [1_000, 999, "not enough disk: need 1 kB, have 999 bytes at /d"],
    [48_000_000_001, 1_234_567, "not enough disk: need 48.01 GB, have 1.23 MB at /d"],
    [2_500_000_000_000, 0, "not enough disk: need 2.5 TB, have 0 bytes at /d"],
  ] as const
) {
  test(`${needed} bytes with ${free} free: ${expected ?? "enough"}`, () => {
    const checked = Effect.runSync(Effect.result(checkRoom("/d", needed)).pipe(having(free)));
    assert.is(Result.isFailure(checked) ? checked.failure.message : undefined, expected);
  });
}

test("the operating system says how much is free; a folder that is not there has no limit", async () => {
  const { path, remove } = temporary();
  const check = (folder: string, needed: number) => Effect.runPromise(Effect.result(checkRoom(folder, needed)));
  assert.ok(Result.isSuccess(await check(path, 1)));
  const tooMuch = await check(path, 2 ** 60);
  assert.ok(Result.isFailure(tooMuch) && tooMuch.failure.freeBytes > 0);
  assert.ok(Result.isSuccess(await check(`${path}/none`, 2 ** 60)));
  remove();
});
test.run();
