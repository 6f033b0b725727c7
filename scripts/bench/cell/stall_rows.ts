/**
 * P14: the longest stall of the event loop while a worker replaces and removes a large file of a job.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Effect } from "effect";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { type BenchRow, makeRow } from "../row.ts";
import { measureStall } from "../stall.ts";

/** Other work on the machine disturbs some attempts: the best of several shows the operation itself. */
const attempts = 3;
/** The target of P14, in milliseconds. */
export const stallTargetMs = 20;

/** The longest stall of a loop that does nothing for so long. */
export async function idleStall(wallMs: number): Promise<number> {
  return (await measureStall(() => sleep(wallMs))).stallMs;
}

/** Makes a file of so many bytes on the disk: freeing blocks takes longer than freeing memory. */
function makeLarge(path: string, sizeBytes: number): void {
  const piece = Buffer.alloc(1_048_576, 7);
  const fd = openSync(path, "w");
  for (let left = sizeBytes; left > 0; left -= piece.length) writeSync(fd, piece, 0, Math.min(left, piece.length));
  fsyncSync(fd);
  closeSync(fd);
}

/** Measures both with a file of so many bytes. */
export async function stallRows(folder: string, sizeBytes: number): Promise<readonly BenchRow[]> {
  const root = join(folder, "large");
  mkdirSync(root, { mode: 0o700 });
  return await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
    const directory = yield* openWorkDirectory(root);
    const replace = Effect.scoped(Effect.gen(function* () {
      const next = yield* directory.create("file");
      yield* next.write(new Uint8Array(1));
      yield* next.commit;
    }));
    const row = Effect.fnUntraced(function* (id: string, done: string, operation: Effect.Effect<void, Error>) {
      let [stallMs, idleMs] = [Infinity, Infinity];
      for (let attempt = 0; attempt < attempts; attempt++) {
        makeLarge(join(root, "file"), sizeBytes);
        const measured = yield* Effect.promise(() => measureStall(() => Effect.runPromise(operation)));
        stallMs = Math.min(stallMs, measured.stallMs);
        idleMs = Math.min(idleMs, yield* Effect.promise(() => idleStall(measured.wallMs)));
      }
      return makeRow({
        id,
        what: `longest stall of the event loop while a file of ${Math.round(sizeBytes / 1_048_576)} MiB is ${done}`,
        unit: "ms",
        value: stallMs,
        op: "<=",
        target: stallTargetMs,
        beside: { name: "an idle loop", value: idleMs },
      });
    });
    return [
      yield* row("P14.replace", "replaced", replace),
      yield* row("P14.remove", "removed", directory.remove("file")),
    ];
  })));
}
