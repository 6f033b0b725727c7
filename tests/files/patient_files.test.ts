/** Files that do not answer: each has one operation at a time, and holds up nothing but itself. */
import { Effect, Exit, Fiber, Result } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withinDeadline } from "../../actors/files/patient_files.ts";
import { readWhole } from "../../actors/files/read_whole.ts";

const test = suite("withinDeadline()");

/** A file system, and operations on its files that end when the test lets them. */
function makeWorld(given: Partial<FileSystem> = {}) {
  const files = given as FileSystem;
  const calls: { readonly path: string; readonly answer: () => void }[] = [];
  const operation = (path: string) =>
    Effect.uninterruptible(
      Effect.callback<string>((resume) => void calls.push({ path, answer: () => resume(Effect.succeed(path)) })),
    );
  const fork = (path: string, ms: number) =>
    Effect.runFork(Effect.provideService(Effect.result(withinDeadline(path, operation(path), ms)), FileSystem, files));
  const outcome = async (fiber: ReturnType<typeof fork>) => {
    const exit = await Effect.runPromise(Fiber.await(fiber));
    if (Exit.isFailure(exit)) return "interrupted";
    return Result.isSuccess(exit.value) ? exit.value.success : exit.value.failure.reason._tag;
  };
  return { files, calls, fork, outcome };
}

test("one that is late fails, and so does each later one of that file at once, until it has ended", async () => {
  const { calls, fork, outcome } = makeWorld();
  assert.is(await outcome(fork("a", 20)), "TimedOut");
  assert.is(await outcome(fork("a", 60_000)), "TimedOut");
  const other = fork("b", 60_000);
  calls.find(({ path }) => path === "b")?.answer();
  assert.is(await outcome(other), "b", "another file is not held up");
  assert.equal(calls.map(({ path }) => path), ["a", "b"]);
  calls[0]?.answer();
  const again = fork("a", 60_000);
  calls[2]?.answer();
  assert.is(await outcome(again), "a");
});

test("a second one of a file begins when the first has ended; that it has no time left makes the first not late", async () => {
  const { calls, fork, outcome } = makeWorld();
  const first = fork("a", 60_000);
  assert.is(await outcome(fork("a", 20)), "TimedOut");
  const third = fork("a", 60_000);
  assert.is(calls.length, 1);
  calls[0]?.answer();
  assert.is(await outcome(first), "a");
  calls[1]?.answer();
  assert.is(await outcome(third), "a");
});

test("an operation whose caller was interrupted still counts: repeated interruption holds no more threads", async () => {
  const { calls, fork, outcome } = makeWorld();
  for (let times = 0; times < 3; times++) {
    const fiber = fork("a", 60_000);
    await Effect.runPromise(Fiber.interrupt(fiber));
  }
  assert.is(calls.length, 1);
  assert.is(await outcome(fork("a", 20)), "TimedOut");
  assert.is(await outcome(fork("a", 60_000)), "TimedOut", "the first is late now");
  assert.is(calls.length, 1);
});

test("a file that is opened late is closed", async () => {
  const opened = Promise.withResolvers<File>();
  let closed = 0;
  const { files } = makeWorld({
    stat: () => Effect.succeed({ type: "File", size: 1n } as unknown as File.Info),
    open: () => Effect.acquireRelease(Effect.promise(() => opened.promise), () => Effect.sync(() => void closed++)),
  });
  const reading = readWhole({ path: "a", what: "file", bytesMax: 10, key: "key" });
  const fiber = Effect.runFork(Effect.provideService(reading, FileSystem, files));
  await Effect.runPromise(Fiber.interrupt(fiber));
  assert.is(closed, 0);
  opened.resolve({} as File);
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.is(closed, 1);
});

test.run();
