/** The aggregator's round against a plain computation: all values in memory, added up in order, in double precision. */
import { Cause, Effect, Exit, Result } from "effect";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWorkDirectory } from "../../actors/files/contained_files.ts";
import {
  aggregateUpdates,
  decodeTensors,
  encodeTensors,
  type NamedTensors,
  type OuterOptions,
  updatesMax,
} from "../../actors/learning/mod.ts";
import { exactMean, trimmedAtEach, trimmedMean } from "../../actors/learning/outer_step.ts";
import { seededRandom, shuffled } from "../../actors/runtime/random.ts";

const options: OuterOptions = { learningRate: 0.7, momentum: 0.9 };
const velocity = "velocity.safetensors";
const out = "outer.safetensors";

/** Two tensors, one of them over the size of a chunk and no multiple of it. */
const shapes: readonly (readonly [string, readonly number[]])[] = [["weight", [130, 257]], ["bias", [3]]];

function drawn(seed: number): NamedTensors {
  const random = seededRandom(seed);
  return new Map(shapes.map(([name, shape]) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return [name, {
      shape,
      values: Float32Array.from({ length: size }, () => (random() - 0.5) * 10 ** (random() * 6 - 3)),
    }];
  }));
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "aggregate-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function aggregate(folder: string, updates: readonly string[]) {
  return Effect.runPromiseExit(Effect.scoped(Effect.flatMap(
    openWorkDirectory(folder),
    (directory) => aggregateUpdates(directory, { updates, velocity, out }, options),
  )));
}

function write(folder: string, updates: readonly (NamedTensors | Uint8Array)[]): string[] {
  return updates.map((update, i) => {
    writeFileSync(join(folder, `peer-${i}`), update instanceof Uint8Array ? update : encodeTensors(update));
    return `peer-${i}`;
  });
}

const read = (folder: string, name: string) => Result.getOrThrow(decodeTensors(readFileSync(join(folder, name))));

async function rejected(
  folder: string,
  updates: readonly string[],
): Promise<{ _tag: string; [field: string]: unknown }> {
  const exit = await aggregate(folder, updates);
  if (Exit.isSuccess(exit)) throw new Error("was taken");
  return Cause.squash(exit.cause) as never;
}

const test = suite("aggregateUpdates()");

for (const workers of [1, 2, 3, 7]) {
  test(`is the plain computation for ${workers} workers, over three rounds`, () =>
    inFolder(async (folder) => {
      const state = new Map<string, Float64Array>();
      for (let round = 0; round < 3; round++) {
        const updates = Array.from({ length: workers }, (_, k) => drawn(round * 100 + k));
        const exit = await aggregate(folder, write(folder, updates));
        assert.ok(Exit.isSuccess(exit), String(exit));
        assert.is(exit.value.sizeBytes, readFileSync(join(folder, out)).length);
        const result = read(folder, out);
        for (const [name, shape] of shapes) {
          const values = result.get(name)?.values ?? new Float32Array();
          assert.equal(result.get(name)?.shape, shape);
          const before = state.get(name) ?? new Float64Array(values.length);
          state.set(name, before);
          for (let i = 0; i < values.length; i++) {
            let mean = 0;
            for (const update of updates) mean += (update.get(name)?.values[i] as number) / workers;
            before[i] = 0.9 * (before[i] as number) + mean;
            const expected = 0.7 * (0.9 * (before[i] as number) + mean);
            const off = Math.abs((values[i] as number) - expected);
            if (off > 1e-6 * Math.abs(expected) + 1e-9) assert.is(values[i], expected, `${name}[${i}], round ${round}`);
          }
        }
      }
      // What is left: the state, the result, the updates. No half-written file.
      assert.is(readdirSync(folder).length, workers + 2);
    }));
}

test("gives the same bytes whatever the order of the updates, and of the tensors in them", () =>
  inFolder(async (folder) => {
    const updates = Array.from({ length: 7 }, (_, k) => drawn(k));
    const results: string[] = [];
    for (const seed of [1, 2, 3]) {
      rmSync(join(folder, velocity), { force: true });
      const order = shuffled(updates.slice(1), seededRandom(seed))
        .map((update, i): NamedTensors => i % 2 === 0 ? update : new Map([...update].reverse()));
      const exit = await aggregate(folder, write(folder, [updates[0] as NamedTensors, ...order]));
      assert.ok(Exit.isSuccess(exit));
      results.push(readFileSync(join(folder, out)).toString("hex"));
    }
    assert.is(new Set(results).size, 1);
  }));

test("takes BF16, as the existing executors send it", () =>
  inFolder(async (folder) => {
    const header = new TextEncoder().encode('{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}');
    const bytes = Uint8Array.from([header.length, 0, 0, 0, 0, 0, 0, 0, ...header, 0x80, 0x3f, 0x00, 0xc0]);
    const exit = await aggregate(folder, write(folder, [bytes]));
    assert.ok(Exit.isSuccess(exit));
    const values = [...(read(folder, out).get("w")?.values ?? [])];
    assert.equal(values, [0.7 * 1.9, -2 * 0.7 * 1.9].map(Math.fround));
  }));

const small = (...values: number[]): NamedTensors =>
  new Map([["w", { shape: [values.length], values: Float32Array.from(values) }]]);
const f64 = (...values: number[]) => {
  const header = new TextEncoder().encode('{"w":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}');
  const data = new DataView(new ArrayBuffer(16));
  values.forEach((value, at) => data.setFloat64(at * 8, value, true));
  return Uint8Array.from([header.length, 0, 0, 0, 0, 0, 0, 0, ...header, ...new Uint8Array(data.buffer)]);
};

test("bug: updates in F64 put their trainers out; they count, rounded to F32", () =>
  inFolder(async (folder) => {
    const values = [[1 / 3, 1e-3], [2 ** 60, 1 / 7], [-(2 ** 60) - 1, 0.1]] as const;
    const results: string[] = [];
    // Two rounds: the second one reads the velocity, which stays in F64.
    for (const updates of [values.map((each) => small(...each)), values.map((each) => f64(...each))]) {
      rmSync(join(folder, velocity), { force: true });
      for (let round = 1; round <= 2; round++) {
        const exit = await aggregate(folder, write(folder, updates));
        assert.ok(Exit.isSuccess(exit), String(exit));
      }
      results.push(...[out, velocity].map((file) => readFileSync(join(folder, file)).toString("hex")));
    }
    assert.equal(results.slice(2), results.slice(0, 2));
    assert.ok(Exit.isSuccess(await aggregate(folder, write(folder, [f64(1, 2), small(1, 2)]))), "one of each");
  }));

test("the mean is exact, in every order, where adding up in double precision would lose an update", () =>
  inFolder(async (folder) => {
    const values = [2 ** 60, 1, -(2 ** 60)];
    for (const order of [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]) {
      rmSync(join(folder, velocity), { force: true });
      const exit = await aggregate(folder, write(folder, order.map((at) => small(values[at] as number))));
      assert.ok(Exit.isSuccess(exit));
      assert.equal([...(read(folder, out).get("w")?.values ?? [])], [Math.fround(0.7 * 1.9 / 3)], order.join());
    }
  }));

/** A file of one tensor `count` of I64, and `flags` of BOOL. */
function counters(count: bigint, flags: readonly number[], weight: number): Uint8Array {
  const header = new TextEncoder().encode(JSON.stringify({
    "bn.num_batches_tracked": { dtype: "I64", shape: [], data_offsets: [0, 8] },
    "w": { dtype: "F32", shape: [1], data_offsets: [8, 12] },
    "mask": { dtype: "BOOL", shape: [flags.length], data_offsets: [12, 12 + flags.length] },
  }));
  const bytes = new Uint8Array(8 + header.length + 12 + flags.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  view.setBigInt64(8 + header.length, count, true);
  view.setFloat32(16 + header.length, weight, true);
  bytes.set(flags, 20 + header.length);
  return bytes;
}

test("bug: a BatchNorm counter expelled its sender; integers and bools become the lower median, unscaled, without velocity", () =>
  inFolder(async (folder) => {
    const updates = [
      counters(2n ** 60n + 7n, [1, 0, 1], 100),
      counters(-3n, [1, 0, 0], 1),
      counters(40n, [0, 1, 0], 1),
      counters(41n, [1, 0, 1], 1),
    ];
    for (let round = 1; round <= 2; round++) {
      const exit = await aggregate(folder, write(folder, updates.slice(1)));
      assert.ok(Exit.isSuccess(exit), String(exit));
      const bytes = readFileSync(join(folder, out));
      assert.is(exit.value.sizeBytes, bytes.length);
      const length = Number(bytes.readBigUInt64LE(0));
      const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
      assert.equal([header["bn.num_batches_tracked"].dtype, header.mask.dtype, header.w.dtype], ["I64", "BOOL", "F32"]);
      assert.is(bytes.readBigInt64LE(8 + length), 40n, `round ${round}`);
      assert.equal([...bytes.subarray(20 + length)], [1, 0, 0]);
    }
    const exit = await aggregate(
      folder,
      write(folder, updates.slice(0, 2).map((_, i) => updates[2 + i] as Uint8Array)),
    );
    assert.ok(Exit.isSuccess(exit));
    const even = readFileSync(join(folder, out));
    assert.is(even.readBigInt64LE(8 + Number(even.readBigUInt64LE(0))), 40n, "the lower of two");
    const clipped = await aggregate(
      folder,
      write(folder, [updates[0], updates[1], updates[2]].map((u) => u as Uint8Array)),
    );
    assert.not.ok(Exit.isSuccess(clipped), "floats are still judged: 100 times the median");
    const other = await rejected(folder, write(folder, [updates[1] as Uint8Array, small(1)]));
    assert.is(other["code"], "layout");
  }));

const refusals: [name: string, update: NamedTensors | Uint8Array, reason: RegExp][] = [
  ["that is no safetensors file", new Uint8Array(100).fill(7), /header/],
  ["that is empty", new Uint8Array(0), /8 bytes/],
  ["that is cut short", encodeTensors(small(1, 2)).slice(0, -1), /file at/],
  ["with NaN in it", small(1, NaN), /finite/],
  ["with infinity in it", small(-Infinity, 1), /finite/],
  ["of another shape", small(1, 2, 3), /shape/],
  ["of other names", new Map([["v", { shape: [2], values: new Float32Array(2) }]]), /names/],
  ["with a tensor more", new Map([...small(1, 2), ["v", { shape: [], values: new Float32Array(1) }]]), /names/],
  ["in F64 with a value that F32 cannot hold", f64(1, 1e39), /finite/],
];
for (const [name, update, reason] of refusals) {
  test(`rejects an update ${name}, names it, and changes nothing`, () =>
    inFolder(async (folder) => {
      assert.ok(Exit.isSuccess(await aggregate(folder, write(folder, [small(1, 2)]))));
      const before = [velocity, out].map((file) => readFileSync(join(folder, file)).toString("hex"));
      const error = await rejected(folder, write(folder, [small(1, 2), update]));
      assert.is(error._tag, "UpdateRejected");
      assert.is(error["file"], "peer-1");
      assert.match(String(error["reason"]), reason);
      assert.equal([velocity, out].map((file) => readFileSync(join(folder, file)).toString("hex")), before);
      assert.is(readdirSync(folder).filter((file) => file.startsWith(".")).length, 0);
    }));
}

test("holds later rounds to the shapes of earlier ones", () =>
  inFolder(async (folder) => {
    assert.ok(Exit.isSuccess(await aggregate(folder, write(folder, [small(1, 2)]))));
    assert.match(String((await rejected(folder, write(folder, [small(1, 2, 3)])))["reason"]), /earlier rounds/);
  }));

test("bug: the first update by PeerID set the shapes, and one wrong trainer expelled the honest ones", () =>
  inFolder(async (folder) => {
    const error = await rejected(folder, write(folder, [small(9, 9, 9), small(1, 2), small(1, 2)]));
    assert.equal([error["file"], error["code"]], ["peer-0", "layout"]);
    const two = await rejected(folder, write(folder, [small(9, 9, 9), small(1, 2)]));
    assert.is(two["file"], "peer-1", "of two that differ, none can be preferred: the first counts");
  }));

test("bug: one update of 1e30 destroyed the model of all", () =>
  inFolder(async (folder) => {
    const error = await rejected(folder, write(folder, [small(1, 2), small(1e30, -1e30), small(2, 1)]));
    assert.equal([error["file"], error["code"]], ["peer-1", "norm"]);
    assert.ok(
      Exit.isSuccess(await aggregate(folder, write(folder, [small(1, 2), small(1e10, 1)]))),
      "two are not compared",
    );
  }));

test("bug: with less than three updates one of 3e38 made the result infinite, and each honest aggregator was barred", () =>
  inFolder(async (folder) => {
    for (
      const updates of [[small(3e38, 1)], [small(0.1, 1), small(3e38, 1)], [small(0, 0), small(0, 0), small(1, 3e38)]]
    ) {
      const error = await rejected(folder, write(folder, updates));
      assert.equal([error["file"], error["code"]], [`peer-${updates.length - 1}`, "norm"]);
      assert.not.ok(existsSync(join(folder, out)));
    }
    // The longest that count: no number of rounds that a training may have leads out of the range of F32.
    for (let round = 1; round <= 100; round++) {
      assert.ok(Exit.isSuccess(await aggregate(folder, write(folder, [small(2 ** 64)]))));
    }
    const [value = NaN] = read(folder, out).get("w")?.values ?? [];
    assert.ok(value * 1_000_000 < 2 ** 127, String(value));
  }));

test("an update over twice the median length is scaled down to it; both sides of each bound", () =>
  inFolder(async (folder) => {
    const lengths = async (long: number) => {
      rmSync(join(folder, velocity), { force: true });
      const exit = await aggregate(folder, write(folder, [small(3, 4), small(long, 0), small(4, 3)]));
      return Exit.isSuccess(exit) ? exit.value.updates.map(({ norm, factor }) => [norm, factor]) : "rejected";
    };
    assert.equal(await lengths(10), [[5, 1], [10, 1], [5, 1]]);
    assert.equal(await lengths(20), [[5, 1], [20, 0.5], [5, 1]]);
    assert.equal(await lengths(50), [[5, 1], [50, 0.2], [5, 1]]);
    assert.is(await lengths(50.001), "rejected");
  }));

test("an update that is not there, or not inside, is the work directory's error", () =>
  inFolder(async (folder) => {
    assert.is((await rejected(folder, ["nothing"]))._tag, "WorkFileFailed");
    assert.is((await rejected(folder, ["../peer-0"]))._tag, "PathRefused");
    assert.not.ok(existsSync(join(folder, out)));
  }));

test("takes as many updates as the bound and rejects one more", () =>
  inFolder(async (folder) => {
    const [name] = write(folder, [small(0.5, 3)]);
    const many = (count: number) => Array.from({ length: count }, () => name as string);
    assert.ok(Exit.isSuccess(await aggregate(folder, many(updatesMax))));
    assert.match(String((await rejected(folder, many(updatesMax + 1)))["reason"]), /more than 256/);
  }));
test.run();

const mean = suite("exactMean()");

const sums: [values: number[], expected: number][] = [
  [[3], 3],
  [[1, 2, 3], 2],
  // Added in this order in double precision the 1 is lost.
  [[2 ** 100, 1, -(2 ** 100)], 1 / 3],
  [[2 ** 127, 2 ** -149, -(2 ** 127)], 2 ** -149 / 3],
  [[-0, 0], 0],
];
for (const [values, expected] of sums) {
  mean(`of ${values.join(", ")} is ${expected}, in every order`, () => {
    for (let seed = 0; seed < 6; seed++) assert.is(exactMean(shuffled(values, seededRandom(seed))), expected);
  });
}
mean.run();

const trimmed = suite("trimmedMean()");

trimmed("drops a part of the values at each end: one at least, none of two", () => {
  const counts = [1, 2, 3, 4, 7, 8, 12, 100].map((count) => trimmedAtEach(count, 0.25));
  assert.equal(counts, [0, 0, 1, 1, 1, 2, 3, 25]);
  assert.is(trimmedAtEach(4, 0), 1);
  for (let count = 3; count <= updatesMax; count++) assert.ok(2 * trimmedAtEach(count, 0.49) < count, `of ${count}`);
});

trimmed("bug: 0.29 of 100 dropped 28 at each end, and one of 29 hostile values remained", () => {
  const exact: [number, number][] = [[100, 0.29], [25, 0.28], [50, 0.14], [100, 0.07], [200, 0.005]];
  assert.equal(exact.map(([count, trim]) => trimmedAtEach(count, trim)), [29, 7, 7, 7, 1]);
  assert.equal([trimmedAtEach(100, 0.2899), trimmedAtEach(10, 0.29), trimmedAtEach(10, 0.21)], [28, 2, 2]);
  const most = 0.5 - Number.EPSILON / 4;
  for (let count = 3; count <= updatesMax; count++) assert.ok(2 * trimmedAtEach(count, most) < count, `of ${count}`);
});

trimmed("with fewer hostile values than it drops, it lies between the smallest and the largest honest one", () => {
  for (let seed = 0; seed < 200; seed++) {
    const random = seededRandom(seed);
    const honest = Array.from({ length: 3 + Math.floor(random() * 20) }, () => Math.fround((random() - 0.5) * 10));
    const count = honest.length + Math.floor(honest.length / 4);
    const dropped = trimmedAtEach(count, 0.25);
    const wild = [-3e38, -1e6, 0, 1e6, 3e38];
    const hostile = Array.from(
      { length: Math.min(dropped, count - honest.length) },
      () => Math.fround(wild[Math.floor(random() * wild.length)] as number),
    );
    const values = [...honest, ...hostile];
    const all = trimmedAtEach(values.length, 0.25);
    if (hostile.length > all) continue;
    const mean = trimmedMean(Float64Array.from(values), all);
    assert.ok(mean >= Math.min(...honest) && mean <= Math.max(...honest), `seed ${seed}: ${mean}`);
    for (let order = 0; order < 3; order++) {
      assert.is(trimmedMean(Float64Array.from(shuffled(values, seededRandom(order))), all), mean, "in every order");
    }
  }
});

trimmed("is the mean of what is left", () => {
  assert.is(trimmedMean(Float64Array.of(9, 1, -50, 2, 3), 1), 2);
});
trimmed.run();
