/**
 * Hostile paths, and names that are swapped for links while they are opened. The attacker is a separate process that
 * only swaps. The control checks the text of the same names and opens them; the attack must catch it.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { openWorkDirectory, type WorkDirectory } from "../../../actors/files/contained_files.ts";
import type { Attack } from "./attacks.ts";

const races = 1_000_000, controls = 200_000, controlsMin = 40_000, paths = 10_000;

/** `work/d/f` is the job's own; while the attacker swaps, `work/d` is at times a link to `outside`. */
function withSwapper<A>(folder: string, node: string, use: (work: string, outside: string) => Promise<A>): Promise<A> {
  const root = join(folder, "race");
  rmSync(root, { recursive: true, force: true });
  const work = join(root, "work"), outside = join(root, "outside");
  mkdirSync(join(work, "d"), { recursive: true });
  mkdirSync(outside);
  writeFileSync(join(work, "d", "f"), "inside");
  writeFileSync(join(outside, "f"), "outside");
  // Remove files that the other side makes in a gap: the swapping must not stop.
  const code = `const fs = require("node:fs"); process.chdir(process.argv[1]); fs.symlinkSync("../outside", "link");
    let junk = 0;
    const move = (from, to) => { try { fs.renameSync(from, to); } catch { try { fs.renameSync(to, "junk" + junk++);
      fs.renameSync(from, to); } catch {} } };
    console.log("on");
    for (;;) { move("d", "aside"); move("link", "d"); move("d", "link"); move("aside", "d"); }`;
  const child = spawn(node, ["-e", code, work], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve) => child.stdout.once("data", resolve)).then(() => use(work, outside)).finally(() =>
    endSwapper(child, root)
  );
}

async function endSwapper(child: ChildProcess, root: string): Promise<void> {
  process.kill(child.pid as number, "SIGKILL");
  await new Promise((resolve) => child.once("close", resolve));
  rmSync(root, { recursive: true, force: true });
}

const walked: Attack = {
  id: "swapped-while-read",
  run: (world, scale) =>
    withSwapper(world.folder, world.node, async (work, outside) => {
      const inode = statSync(join(outside, "f")).ino;
      const attempts = Math.round(races * scale);
      let escaped = 0, opened = 0;
      await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
        const directory = yield* openWorkDirectory(work);
        for (let index = 0; index < attempts; index++) {
          const seen = yield* Effect.result(Effect.scoped(inodeOf(directory, "d/f")));
          if (Result.isFailure(seen)) continue;
          opened += 1;
          if (seen.success === inode) escaped += 1;
        }
      })));
      const caught = controlEscapes(work, inode, Math.max(controlsMin, Math.round(controls * scale)));
      return {
        attempts,
        escaped: [
          ...(escaped > 0 ? [`${escaped} opens reached outside`] : []),
          ...(opened === 0 ? ["nothing was opened at all"] : []),
          ...(caught === 0 ? ["the control was not caught: the attacker does not swap"] : []),
        ],
      };
    }),
};

function inodeOf(directory: WorkDirectory, path: string) {
  return Effect.map(directory.openForReading(path), ({ fd }) => fstatSync(fd).ino);
}

/** Checks the text of the path, then opens it, as the existing workers do. */
function controlEscapes(work: string, inode: number, attempts: number): number {
  let escaped = 0;
  for (let index = 0; index < attempts; index++) {
    try {
      const fd = openSync(join(work, "d/f"), "r");
      if (fstatSync(fd).ino === inode) escaped += 1;
      closeSync(fd);
    } catch { /* in between two renames */ }
  }
  return escaped;
}

const written: Attack = {
  id: "swapped-while-written",
  run: (world, scale) =>
    withSwapper(world.folder, world.node, async (work, outside) => {
      const attempts = Math.max(500, Math.round((races * scale) / 50));
      await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
        const directory = yield* openWorkDirectory(work);
        for (let index = 0; index < attempts; index++) {
          yield* Effect.ignore(Effect.scoped(Effect.gen(function* () {
            const file = yield* directory.create(`d/w${index % 50}`);
            yield* file.write(new Uint8Array(1));
            yield* file.commit;
          })));
        }
      })));
      const planted = readdirSync(outside).filter((name) => name !== "f");
      return { attempts, escaped: planted };
    }),
};

/** Paths made of pieces that have been trouble somewhere, by a sequence that is the same in every run. */
const hostilePaths: Attack = {
  id: "hostile-paths",
  run: async (world, scale) => {
    const work = join(world.folder, "paths");
    mkdirSync(join(work, "sub"), { recursive: true });
    const pieces = [
      "..",
      ".",
      "",
      "/",
      "a",
      "sub",
      "\0",
      "~",
      "%2e%2e",
      "..\\",
      "…",
      "\u202e",
      "x".repeat(256),
      "*",
      "-rf",
    ];
    let state = 7;
    const next = (below: number) => (state = (state * 48_271) % 2_147_483_647) % below;
    const attempts = Math.round(paths * Math.max(scale, 0.1));
    const escaped: string[] = [];
    const before = JSON.stringify(readdirSync(world.folder).sort());
    await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
      const directory = yield* openWorkDirectory(work);
      for (let index = 0; index < attempts; index++) {
        const path = Array.from({ length: 1 + next(6) }, () => pieces[next(pieces.length)]).join(
          next(3) === 0 ? "" : "/",
        );
        const made = yield* Effect.result(Effect.scoped(Effect.flatMap(directory.create(path), (file) => file.commit)));
        if (Result.isSuccess(made) && /(^|\/)\.\.(\/|$)|^\/|\0/.test(path)) escaped.push(path);
        yield* Effect.ignore(Effect.scoped(directory.openForReading(path)));
      }
    })));
    if (JSON.stringify(readdirSync(world.folder).sort()) !== before) escaped.push("something was made outside");
    rmSync(work, { recursive: true, force: true });
    return { attempts, escaped };
  },
};

export const raceAttacks: readonly Attack[] = [walked, written, hostilePaths];
