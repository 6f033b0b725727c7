import { getHeapSpaceStatistics } from "node:v8";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { returnStartMemory } from "../../../scripts/program/small_heap.ts";

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

test.run();
