/** What a witness takes of the states that other witnesses tell. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyOf } from "../../actors/simulation/authority.ts";
import { KeptLog } from "../../actors/simulation/kept_log.ts";
import { WitnessWorld } from "../../actors/simulation/witness_world.ts";
import { WitnessBook } from "../../actors/witness/book.ts";
import type { OpenedHead } from "../../actors/witness/held_head.ts";

const test = suite("book");
const everyMs = 600_000;

test("a witness may tell three states of a log within a part of the period, and no state twice", async () => {
  const world = await WitnessWorld.make({ seed: "book", everyMs });
  const teller = await world.add({ name: "gateway-01", role: "gateway" });
  const owner = await world.add({ name: "ca-01", role: "ca" });
  const log = new KeptLog(owner.origin, keyOf("book", "log"));
  const headAt = (size: number): OpenedHead => {
    while (log.size < size) log.append(`record ${log.size}`);
    const shown = log.fork(size);
    shown.cover();
    const { key, ...head } = shown.newest()!;
    return { ...head, binding: { key, signature: new Uint8Array(), chain: [] } };
  };
  const book = new WitnessBook(everyMs);
  for (const { peer } of [teller, owner]) book.established(peer, 0);
  book.hold({ head: headAt(30), isShared: true, at: 0, fork: undefined });
  const told = (size: number, at: number) => book.takeTold(teller.peer, headAt(size), at);
  const [begin, end] = [1_000, 1_000 + everyMs / 20];
  assert.equal([told(20, begin), told(20, begin), told(21, begin)], ["asked", "passed over", "asked"]);
  assert.equal([told(22, end - 1), told(23, end - 1)], ["asked", "passed over"]);
  assert.is(told(23, end), "asked");
  world.stop();
});

test.run();
