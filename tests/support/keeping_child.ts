/**
 * A scheduler's checkpoint in a process of its own, which kills itself at a moment: `keeping_child.ts FOLDER OPERATION NAME`.
 *
 * Keeps rounds of the model in FOLDER until the file system is asked for OPERATION (`write`, `sync` or `rename`) on a file whose new
 * name ends in NAME; half of what is to be written is written then. Without OPERATION it keeps two rounds and ends.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { Effect } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import { openAside } from "../../actors/files/aside_file.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { incomingPath } from "../../actors/training/checkpoints.ts";
import { keepRound, openModel } from "../../actors/training/keep_model.ts";

/** Values of the model: several chunks and writes. */
const size = 100_000;
export const outer = { learningRate: 0.7, momentum: 0.9 };
export const placeOf = (folder: string) => ({ folder: join(folder, "training"), keepRounds: 1, rounds: 9 });
export const weightsOf = (folder: string) => join(folder, "init.safetensors");
/** What the scheduler knows of a round. */
export const facts = { run: 1, slices: { count: 3, next: 1, epoch: 0 }, members: ["a", "b"], samples: 640 };

const tensors = (value: (at: number) => number) =>
  encodeTensors(new Map([["w", { shape: [size], values: Float32Array.from({ length: size }, (_, at) => value(at)) }]]));

/** Writes the weights that the training begins with. */
export function writeWeights(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(weightsOf(folder), tensors((at) => at / size));
}

/** Keeps the next round of the model. */
export const nextRound = (folder: string) =>
  Effect.gen(function* () {
    const place = placeOf(folder);
    const before = yield* openModel(place, { weights: weightsOf(folder), run: 1 });
    const round = before.record.round + 1;
    yield* Effect.scoped(Effect.gen(function* () {
      const file = yield* openAside(incomingPath(place.folder));
      yield* file.write(tensors((at) => (at % 7 - 3) / (round * 100)));
      yield* file.commit;
    }));
    return yield* keepRound(place, before, { facts: { ...facts, samples: 640 * round }, outer });
  });

/** An open file with other operations in place of its own. */
export function overriding(handle: File, own: Pick<File, "sync" | "writeAll">): File {
  return Object.create(handle, { sync: { value: own.sync }, writeAll: { value: own.writeAll } }) as File;
}

function dying(files: FileSystem, operation: string, name: string): FileSystem {
  const die = (on: string, path: string) =>
    Effect.sync(() => {
      const target = path.replace(/\/\.([^/]*?\.(?:safetensors|json))(?:\.[0-9a-z]+)?\.tmp$/, "/$1");
      if (operation === on && target.endsWith(name)) process.kill(process.pid, "SIGKILL");
    });
  return {
    ...files,
    rename: (from, to) => Effect.andThen(die("rename", to), files.rename(from, to)),
    open: (path, options) =>
      Effect.map(files.open(path, options), (handle) =>
        overriding(handle, {
          sync: Effect.andThen(die("sync", path), handle.sync),
          writeAll: (bytes) =>
            Effect.andThen(
              handle.writeAll(bytes.subarray(0, bytes.length >> 1)),
              Effect.andThen(die("write", path), handle.writeAll(bytes.subarray(bytes.length >> 1))),
            ),
        })),
  };
}

async function main([folder = "", operation = "", name = ""]: readonly string[]): Promise<void> {
  await Effect.runPromise(
    Effect.gen(function* () {
      const files = yield* FileSystem;
      yield* nextRound(folder);
      yield* Effect.provideService(nextRound(folder), FileSystem, dying(files, operation, name));
    }).pipe(Effect.provide(realServices)),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) await main(process.argv.slice(2));
