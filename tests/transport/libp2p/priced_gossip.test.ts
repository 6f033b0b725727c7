/** Messages of gossip are handed on a few a turn of the event loop, however they are packed. */
import { peerIdFromString } from "@libp2p/peer-id";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  entriesPerSlice,
  type GossipRpc,
  messagesPerTurn,
  pricedGossip,
} from "../../../transport/libp2p/priced_gossip.ts";

const test = suite("pricedGossip()");
const peers = [
  peerIdFromString("12D3KooWHXGN9hZByhF27ZwiKUmgXW3bdGwc9PHh9uAkg7F5ZqWT"),
  peerIdFromString("12D3KooWLuCyWH4oegaJQDnZ52BExVAFDTAVXcNue6EFFU8wMfJy"),
];
const rpcOf = (messages: number): GossipRpc => ({
  subscriptions: [],
  messages: Array.from({ length: messages }, () => ({ data: new Uint8Array(8) })),
});

/** A gossipsub that counts, and the turns of its clock. */
function counted() {
  let taken = 0;
  let entries = 0;
  const turns: (() => void)[] = [];
  const takes = pricedGossip(
    (_, { messages, subscriptions, control = {} }) => {
      taken += messages.length;
      entries += subscriptions.length + (control.ihave?.length ?? 0) + (control.prune?.length ?? 0);
      return Promise.resolve();
    },
    { clock: { after: () => ({}), cancel: () => {}, yield: (task) => void turns.push(task) }, charge: () => 0 },
  );
  /** Everything that needs no turn. */
  const settles = () => new Promise((resolve) => setTimeout(resolve, 1));
  return { takes, settles, turns, taken: () => taken, entries: () => entries };
}

/** As gossipsub reads a stream: one message after the other. */
async function reads(takes: ReturnType<typeof counted>["takes"], from: (typeof peers)[0], rpcs: readonly GossipRpc[]) {
  for (const rpc of rpcs) await takes(from, rpc, new AbortController().signal);
}

const packings: readonly (readonly [string, readonly number[]])[] = [
  ["in one frame", [50]],
  ["each in a frame of its own", Array.from({ length: 50 }, () => 1)],
  ["in frames of three", Array.from({ length: 17 }, () => 3)],
];
for (const [name, frames] of packings) {
  test(`50 messages ${name}: no more than ${messagesPerTurn} a turn, and all of them in the end`, async () => {
    const { takes, settles, turns, taken } = counted();
    const total = frames.reduce((sum, count) => sum + count, 0);
    const over = reads(takes, peers[0]!, frames.map(rpcOf));
    for (let turn = 1; taken() < total; turn++) {
      await settles();
      assert.ok(taken() <= turn * messagesPerTurn, `${taken()} in ${turn} turns`);
      for (const task of turns.splice(0)) task();
      assert.ok(turn <= total, "it goes on");
    }
    await over;
  });
}

const control = (ihave: number, prune: number): GossipRpc => ({
  subscriptions: [],
  messages: [],
  control: { ihave: Array.from({ length: ihave }, () => ({})), prune: Array.from({ length: prune }, () => ({})) },
});
const subscribing = (count: number): GossipRpc => ({
  subscriptions: Array.from({ length: count }, () => ({})),
  messages: [],
});
const entryFrames: readonly (readonly [string, readonly GossipRpc[]])[] = [
  ["subscriptions in one frame", [subscribing(2_000)]],
  ["subscriptions, each in a frame of its own", Array.from({ length: 2_000 }, () => subscribing(1))],
  ["control messages in one frame", [control(1_000, 1_000)]],
  ["control messages, each in a frame of its own", Array.from({ length: 2_000 }, () => control(1, 0))],
];
for (const [name, rpcs] of entryFrames) {
  test(`2,000 ${name}: two slices of them a turn, and all of them in the end`, async () => {
    const { takes, settles, turns, entries } = counted();
    const over = reads(takes, peers[0]!, rpcs);
    for (let turn = 1; entries() < 2_000; turn++) {
      await settles();
      // The rest of a list is a slice of its own.
      assert.ok(entries() <= (turn * 2 + 1) * entriesPerSlice, `${entries()} in ${turn} turns`);
      for (const task of turns.splice(0)) task();
      assert.ok(turn <= 2_000, "it goes on");
    }
    await over;
  });
}

test("bug: frames without content were read on end, without a turn for other work", async () => {
  const { takes, settles, turns } = counted();
  const frames = 2_000;
  let read = 0;
  const over = (async () => {
    for (; read < frames; read++) await takes(peers[0]!, rpcOf(0), new AbortController().signal);
  })();
  for (let turn = 1; read < frames; turn++) {
    await settles();
    assert.ok(read <= turn * 2 * entriesPerSlice, `${read} in ${turn} turns`);
    for (const task of turns.splice(0)) task();
  }
  await over;
});

test("two peers share a turn, and both get on", async () => {
  const { takes, settles, turns, taken } = counted();
  const rpcs = Array.from({ length: 20 }, () => rpcOf(1));
  const over = peers.map((peer) => reads(takes, peer, rpcs));
  for (let turn = 1; taken() < 40; turn++) {
    await settles();
    assert.ok(taken() <= turn * messagesPerTurn, `${taken()} in ${turn} turns`);
    for (const task of turns.splice(0)) task();
    assert.ok(turn <= 40, "they go on");
  }
  await Promise.all(over);
});

test.run();
