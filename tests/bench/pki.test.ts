import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { randomWords } from "../../scripts/bench/pki/random_list.ts";
import { ownRuntime, scriptCommand } from "../../scripts/check/runtimes.ts";
import { type BenchRow, makeRow, speedRows } from "../../scripts/bench/row.ts";
import { needing } from "../support/prerequisites.ts";

const test = suite("npm run bench");
const root = fileURLToPath(new URL("../..", import.meta.url));
const runtime = "Deno" in globalThis ? "deno" : "node";

async function bench(...args: string[]): Promise<{ code: number; stdout: string }> {
  const [command, ...before] = scriptCommand(ownRuntime);
  const words = [...before, "scripts/bench.ts", ...args];
  try {
    return { code: 0, stdout: (await promisify(execFile)(command, words, { cwd: root, timeout: 150_000 })).stdout };
  } catch (error) {
    const { code, stdout } = error as { code: number; stdout: string };
    return { code, stdout };
  }
}

needing(test, "openssl")("prints every row of part pki as JSON, and nothing else", async () => {
  const { code, stdout } = await bench("pki", "--quick", "--json", "--runtime", runtime);
  const rows = JSON.parse(stdout) as readonly BenchRow[];
  const ids = ["P2.verify", "P2.remembered", "P3.lookup"];
  for (const form of ["pem", "der"]) {
    for (const id of ["P4.stall", "P14.crl", "P4.wall", "P5.kept", "P5.peak"]) ids.push(`${id}.${form}`);
  }
  assert.equal(rows.map(({ id }) => id), [...ids, "parse.node", "parse.peculiar"]);
  const fields = ["id", "runtime", "what", "unit", "value", "peer", "peerValue", "ratio", "op", "target", "met"];
  for (const row of rows) {
    assert.equal(Object.keys(row), fields);
    assert.is(row.runtime, runtime);
    assert.ok(row.value > 0 && Number.isFinite(row.value), row.id);
  }
  assert.is(code, rows.every(({ met }) => met) ? 0 : 1);
});

test("compares the ratio where there is a peer, and the value where there is none", () => {
  const common = { id: "x", what: "x", unit: "ms", value: 3 };
  const peer = { name: "peer", value: 2 };
  assert.ok(makeRow({ ...common, op: "<=", target: 1.5, peer }).met);
  assert.not.ok(makeRow({ ...common, op: "<=", target: 1.49, peer }).met);
  assert.ok(makeRow({ ...common, op: ">=", target: 1.5, peer }).met);
  assert.not.ok(makeRow({ ...common, op: ">=", target: 3.1 }).met);
  assert.equal(makeRow({ ...common, op: "<=", target: 3 }).ratio, null);
  const shown = makeRow({ ...common, op: "<=", target: 3, beside: peer });
  assert.equal([shown.met, shown.ratio, shown.peer, shown.peerValue], [true, null, "peer", 2]);
});

test("prints the ratio by processor time beside the one by the clock, each of its own medians", () => {
  const rounds = (...pairs: readonly (readonly [number, number])[]) =>
    pairs.map(([perSecond, perCpuSecond]) => ({ perSecond, perCpuSecond }));
  const speeds = {
    ours: rounds([30, 8], [10, 9], [20, 1_000]),
    peer: "peer",
    theirs: rounds([10, 6], [10, 6], [999, 6]),
    target: 2,
  };
  const rows = speedRows("x", "x", "/s", speeds);
  assert.equal(rows.map(({ id, value, ratio, met }) => ({ id, value, ratio, met })), [
    { id: "x", value: 20, ratio: 2, met: true },
    { id: "x.cpu", value: 9, ratio: 1.5, met: false },
  ]);
});

test("draws the same serials from the same seed", () => {
  const draw = (seed: number) => {
    const next = randomWords(seed);
    return [next(), next(), next()];
  };
  assert.equal(draw(7), draw(7));
  assert.not.equal(draw(7), draw(8));
});

test("exits with 2 on wrong usage", async () => {
  assert.is((await bench("nothing")).code, 2);
  assert.is((await bench("pki", "--runtime", "bun")).code, 2);
});

test.run();
