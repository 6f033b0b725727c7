import { setImmediate } from "node:timers/promises";
import { getHeapSpaceStatistics } from "node:v8";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { boundYoungGeneration, returnStartMemory, youngBytesMax } from "../../../scripts/program/small_heap.ts";

const test = suite("memory of a start");

/** Bytes of memory that V8's young generation has. */
const young = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")!.physical_space_size;

test("bug: an idle gateway kept the memory that the loading of its modules had needed", () => {
  if ("Deno" in globalThis) return void returnStartMemory(); // it returns its memory itself
  let kept: object[] = [];
  for (let round = 0; young() < 4_000_000; round++) {
    assert.ok(round < 1_000, "the young generation does not grow");
    kept = Array.from({ length: 20_000 }, (_, index) => ({ index, of: kept.length }));
  }
  assert.is(kept.length, 20_000);
  kept = [];
  returnStartMemory();
  assert.ok(young() < 2_000_000, `${young()} bytes are kept`);
});

/** Makes objects that live for some turns, as connections do. */
async function churn(turns: number): Promise<void> {
  const kept: object[] = [];
  for (let turn = 0; turn < turns; turn++) {
    for (let index = 0; index < 5_000; index++) kept[(turn * 5_000 + index) % 200_000] = { turn, of: [index] };
    await setImmediate();
  }
  assert.is(kept.length, 200_000);
}

const youngSize = () => getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")!.space_size;

if (!("Deno" in globalThis)) {
  test("bug: under load a node's young generation grew to 64 MB, whose collections stopped the event loop for 20 ms", async () => {
    boundYoungGeneration();
    await churn(1_000);
    assert.ok(youngSize() <= 1.5 * youngBytesMax, `${youngSize()} bytes`);
  });

  test("the young generation grows again after it has shrunk", async () => {
    await churn(1_000);
    returnStartMemory();
    assert.ok(youngSize() < youngBytesMax);
    await churn(1_000);
    assert.ok(youngSize() >= youngBytesMax, `${youngSize()} bytes`);
  });
}

test.run();
