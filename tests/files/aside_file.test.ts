/** A file that is written aside, on disk: its bytes whatever its pieces are, and nothing without its name. */
import { Buffer } from "node:buffer";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openAside } from "../../actors/files/aside_file.ts";
import type { Services } from "../../actors/runtime/ports.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { seededRandom } from "../../actors/runtime/random.ts";
import { temporary } from "../support/job_world.ts";

const run = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.runPromise(Effect.provide(effect, realServices));

const test = suite("openAside()");

/** Writes pieces of these sizes out of one memory; what was written, and what is in the file. */
async function written(sizes: readonly number[]) {
  const { path, remove } = temporary();
  const file = join(path, "model");
  const random = seededRandom(sizes.length);
  const memory = new Uint8Array(Math.max(0, ...sizes));
  const expected: Uint8Array[] = [];
  await run(Effect.scoped(Effect.gen(function* () {
    const aside = yield* openAside(file);
    for (const size of sizes) {
      const piece = memory.subarray(0, size);
      piece.forEach((_, at) => void (piece[at] = random() * 256));
      expected.push(piece.slice());
      yield* aside.write(piece);
    }
    assert.equal(readdirSync(path), [".model.tmp"]);
    yield* aside.commit;
  })));
  const found = readFileSync(file);
  assert.equal(readdirSync(path), ["model"]);
  remove();
  return { found, expected: Buffer.concat(expected) };
}

test("bug: pieces were kept until they were written, and a writer that used their memory again wrote the last one several times", async () => {
  for (
    const sizes of [[], [0], [5, 5, 5], [65_536, 65_536, 65_536, 65_536, 65_536], [1, 300_000, 2], [262_144, 1], [
      262_143,
      2,
      262_144,
      0,
      3,
    ]]
  ) {
    const { found, expected } = await written(sizes);
    assert.ok(found.equals(expected), String(sizes));
  }
});

test("without its name nothing remains, and a former writer's rest is gone", async () => {
  const { path, remove } = temporary();
  const file = join(path, "model");
  const begun = Effect.gen(function* () {
    const aside = yield* openAside(file);
    yield* aside.write(Uint8Array.of(1));
    return yield* Effect.fail("the writer stops" as const);
  });
  for (let again = 0; again < 2; again++) assert.is(await run(Effect.flip(Effect.scoped(begun))), "the writer stops");
  assert.equal(readdirSync(path), []);
  remove();
});

test.run();
