/** Direct dials, dials by libp2p's queue, and new connections. */
import type { Connection } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { WireTarget } from "../../../transport/core/wire.ts";
import { dialTarget } from "../../../transport/libp2p/dial_target.ts";

const test = suite("dialTarget()");
const peer = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";
const plain = "/ip4/127.0.0.1/tcp/4001";
const named = `${plain}/p2p/${peer}`;
const { signal } = new AbortController();

/** How a target is dialled. `open` has an item for each connection to the peer: whether it is open. */
async function wayOf(target: WireTarget, open: readonly boolean[] = []): Promise<string> {
  const ways: string[] = [];
  const all = open.map((isOpen) => ({ isOpen }) as unknown as Connection);
  const noted = (way: string) => (ways.push(way), Promise.resolve({} as Connection));
  const dials: ReturnType<Parameters<typeof dialTarget>[0]> = {
    libp2p: {
      getConnections: (asked) => asked?.toString() === peer ? all : [],
      dial: (to, { force } = {}) => noted(`queue ${force === true ? "forced " : ""}${to}`),
    },
    direct: { dial: (address) => noted(`direct ${address}`) },
    connections: { of: (connection) => connection as never },
  };
  await dialTarget(() => dials, target, signal);
  return ways.join(", ");
}

test("an address is dialled directly, or by force where all connections to the peer that it names are closing", async () => {
  for (const open of [[], [true], [false, true]]) {
    assert.is(await wayOf({ address: named }, open), `direct ${named}`);
    assert.is(await wayOf({ address: plain }, open), `direct ${plain}`);
  }
  for (const open of [[false], [false, false]]) {
    assert.is(await wayOf({ address: named }, open), `queue forced ${named}`);
    assert.is(await wayOf({ address: plain }, open), `direct ${plain}`);
  }
});

test("a peer is dialled at its addresses, or at those that libp2p remembers; by force where that is requested or all are closing", async () => {
  for (const [target, where] of [[{ peer }, peer], [{ peer, addresses: [plain] }, named]] as const) {
    for (const open of [[], [true], [false, true]]) assert.is(await wayOf(target, open), `queue ${where}`);
    assert.is(await wayOf(target, [false]), `queue forced ${where}`);
    for (const open of [[], [true], [false]]) {
      assert.is(await wayOf({ ...target, fresh: true }, open), `queue forced ${where}`);
    }
  }
});

test("a peer that is no PeerID fails the dial", async () => {
  const outcome = await wayOf({ peer: "not a PeerID" }).then(() => "dialled", () => "rejected");
  assert.is(outcome, "rejected");
});

test.run();
