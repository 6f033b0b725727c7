/** A simulated disk that loses its power: what was synced survives, of the rest an arbitrary part. */
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openAside } from "../../actors/files/aside_file.ts";
import { writeWhole } from "../../actors/files/write_whole.ts";
import { randomOf } from "../../actors/runtime/random.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { Disk } from "../../actors/simulation/disk.ts";
import { NodeClock } from "../../actors/simulation/node_clock.ts";
import { NotSimulated } from "../../actors/simulation/open_file.ts";
import { makeVirtualRun } from "../../actors/simulation/virtual_run.ts";
import { VirtualTime } from "../../actors/simulation/virtual_time.ts";

const test = suite("Disk that loses its power");

/** Seeds of losses. */
const losses = Array.from({ length: 40 }, (_, seed) => seed);
const text = (bytes: Uint8Array | undefined) => bytes && new TextDecoder().decode(bytes);

function makeDisk() {
  const disk = new Disk({ now: () => 0, openDelayMs: () => 0 });
  const run = <A, E>(effect: Effect.Effect<A, E, FileSystem | Path>) =>
    Effect.runPromise(Effect.provide(Effect.provideService(effect, FileSystem, disk.service), realServices));
  const lose = (seed: number) => disk.losePower(randomOf(seed, "power"));
  return { disk, run, lose };
}

/** What becomes of a file after each loss. */
async function outcomes(
  path: string,
  act: (made: ReturnType<typeof makeDisk>) => Promise<unknown>,
): Promise<ReadonlySet<string | undefined>> {
  const seen = new Set<string | undefined>();
  for (const seed of losses) {
    const made = makeDisk();
    await act(made);
    made.lose(seed);
    seen.add(text(made.disk.read(path)));
  }
  return seen;
}

test("a file that was written whole is there", async () => {
  const seen = await outcomes("/d/f", async ({ disk, run }) => {
    disk.put("/d/f", "old");
    await run(writeWhole([{ path: "/d/f", content: "new" }], "replace"));
    await run(Effect.scoped(Effect.flatMap(openAside("/d/g"), (file) => file.write(new Uint8Array(3)))));
  });
  assert.equal([...seen], ["new"]);
});

test("bytes that were not synced may be lost, from some byte on", async () => {
  const seen = await outcomes("/d/f", async ({ disk, run }) => {
    disk.put("/d/other", "");
    await run(Effect.scoped(Effect.gen(function* () {
      const files = yield* FileSystem;
      const handle = yield* files.open("/d/f", { flag: "wx" });
      yield* handle.writeAll(new TextEncoder().encode("ab"));
      const folder = yield* files.open("/d", { flag: "r" });
      yield* folder.sync;
    })));
  });
  assert.equal([...seen].toSorted(), ["", "a", "ab"]);
});

test("bytes that follow synced ones may be lost, the others are not", async () => {
  const seen = await outcomes("/d/f", async ({ disk, run }) => {
    disk.put("/d/f", "one");
    await run(Effect.scoped(Effect.gen(function* () {
      const handle = yield* (yield* FileSystem).open("/d/f", { flag: "r+" });
      yield* handle.writeAll(new TextEncoder().encode("X"));
      const folder = yield* (yield* FileSystem).open("/d", { flag: "r" });
      yield* folder.sync;
    })));
  });
  assert.equal([...seen].toSorted(), ["one", "oneX"]);
});

test("a name whose folder was not synced may be the old one or the new one", async () => {
  const seen = await outcomes("/d/f", async ({ disk, run }) => {
    disk.put("/d/f", "old");
    disk.put("/d/g", "new");
    await run(Effect.flatMap(FileSystem, (files) => files.rename("/d/g", "/d/f")));
  });
  assert.equal([...seen].toSorted(), ["new", "old"]);
});

test("a removed file whose folder was not synced may be back, and after the loss everything is on the medium", async () => {
  const seen = await outcomes("/d/f", async ({ disk, run, lose }) => {
    disk.put("/d/f", "old");
    await run(Effect.flatMap(FileSystem, (files) => files.remove("/d/f")));
    lose(1);
    const left = text(disk.read("/d/f"));
    lose(2);
    assert.is(text(disk.read("/d/f")), left);
  });
  assert.is(seen.size, 1);
  const others = await outcomes("/d/f", async ({ disk, run }) => {
    disk.put("/d/f", "old");
    await run(Effect.flatMap(FileSystem, (files) => files.remove("/d/f")));
  });
  assert.is(others.size, 2);
});

test("a folder can be opened to sync it, and not be read", async () => {
  const { disk, run } = makeDisk();
  disk.put("/d/f", "");
  const failed = await run(Effect.scoped(Effect.gen(function* () {
    const folder = yield* (yield* FileSystem).open("/d", { flag: "r" });
    assert.is((yield* folder.stat).type, "Directory");
    return yield* Effect.flip(folder.read(new Uint8Array(1)));
  })));
  assert.is(failed.reason._tag, "BadResource");
});

test("bug: a file that was opened to read and append was not made, so that no training wrote a log", async () => {
  const { disk, run } = makeDisk();
  const append = (more: string) =>
    run(Effect.scoped(Effect.gen(function* () {
      const handle = yield* (yield* FileSystem).open("/d/log", { flag: "a+", mode: 0o600 });
      const before = Number((yield* handle.stat).size);
      yield* handle.writeAll(new TextEncoder().encode(more));
      const last = new Uint8Array(8);
      const length = yield* handle.read(last, { position: BigInt(before) });
      return [before, Number((yield* handle.stat).size), text(last.subarray(0, length))];
    })));
  assert.equal(await append("one\n"), [0, 4, "one\n"]);
  assert.equal(await append("two\n"), [4, 8, "two\n"]);
  assert.is(text(disk.read("/d/log")), "one\ntwo\n");
  disk.setReadable("/d/log", false);
  assert.match(String(await append("three\n").catch((error) => error)), "PermissionDenied");
});

test("bug: a flag that the disk does not know was treated as another one", async () => {
  const { disk, run } = makeDisk();
  disk.put("/d/f", "old");
  for (const flag of ["w+", "wx+", "ax", "ax+"] as const) {
    const open = Effect.scoped(Effect.flatMap(FileSystem, (files) => files.open("/d/f", { flag })));
    assert.ok((await run(open).catch((error) => error)) instanceof NotSimulated, flag);
    // An actor treats a defect as a failure, and its machine may retry: the run ends all the same.
    const time = new VirtualTime(0);
    const virtual = makeVirtualRun({ clock: new NodeClock(time, 0), disk: disk.service, random: () => 0 });
    virtual(open, () => {});
    assert.throws(() => time.runTo(1_000), (error: unknown) => error instanceof NotSimulated);
  }
  assert.is(text(disk.read("/d/f")), "old");
});

test.run();
