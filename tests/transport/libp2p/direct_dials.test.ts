import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DirectDials, directDialsMax } from "../../../transport/libp2p/direct_dials.ts";
import { type DialInternals, dialInternalsOf } from "../../../transport/libp2p/node_internals.ts";
import { MovedInternal } from "../../../transport/libp2p/moved_internal.ts";

const test = suite("DirectDials");

const address = "/ip4/127.0.0.1/tcp/4001";
const peer = "12D3KooWD3bfmNbuuuVCYwkjnFt3ukm3qaB3hDED3peHHXawvRAi";
const other = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

function dials(change: Partial<DialInternals> = {}, mayDial: (address: string) => boolean = () => true) {
  const ways: string[] = [];
  const connection = {} as never;
  const internals: DialInternals = {
    isReachable: () => true,
    isKnown: () => false,
    direct: (to) => (ways.push(`direct ${to}`), Promise.resolve(connection)),
    queued: (to) => (ways.push(`queued ${to}`), Promise.resolve(connection)),
    remember: () => (ways.push("remember"), Promise.resolve()),
    ...change,
  };
  return { ways, connection, direct: new DirectDials(internals, mayDial) };
}
const { signal } = new AbortController();

test("dials an address that nothing is known of by the transport, and notes it for the peer", async () => {
  const { ways, connection, direct } = dials();
  assert.is(await direct.dial(address, signal), connection);
  assert.equal(ways, [`direct ${address}`, "remember"]);
  assert.is(direct.running, 0);
});

const queued: [what: string, change: Partial<DialInternals>, mayDial: boolean, address: string][] = [
  ["may not be dialled, which the queue words", {}, false, address],
  ["no transport dials", { isReachable: () => false }, true, address],
  ["is known to libp2p", { isKnown: () => true }, true, address],
  ["leads over a relay", {}, true, `${address}/p2p/${peer}/p2p-circuit`],
  ["leads to a peer over a relay", {}, true, `${address}/p2p/${peer}/p2p-circuit/p2p/${other}`],
];
for (const [what, change, mayDial, to] of queued) {
  test(`leaves an address to the queue that ${what}`, async () => {
    const { ways, direct } = dials(change, () => mayDial);
    await direct.dial(to, signal);
    assert.equal(ways, [`queued ${to}`]);
  });
}

test("a note that fails fails no dial; a dial that fails is noted nowhere, and its place is free", async () => {
  const unnoted = dials({ remember: () => Promise.reject(new Error("full")) });
  assert.is(await unnoted.direct.dial(address, signal), unnoted.connection);
  const failed = dials({ direct: () => Promise.reject(new Error("nobody")) });
  const error = await failed.direct.dial(address, signal).then(() => undefined, (error: Error) => error.message);
  assert.is(error, "nobody");
  assert.equal(failed.ways, []);
  assert.is(failed.direct.running, 0);
});

test("as many run at once as in the queue; one more waits there", async () => {
  const running = Promise.withResolvers<never>();
  const { ways, direct } = dials({ direct: () => running.promise });
  const all = Array.from({ length: directDialsMax }, () => direct.dial(address, signal));
  assert.is(direct.running, directDialsMax);
  await direct.dial(address, signal);
  assert.equal(ways, [`queued ${address}`]);
  running.resolve(undefined as never);
  await Promise.all(all);
  assert.is(direct.running, 0);
});

/** A node as far as its dials are looked at. */
const node = ({ connected = [] as string[], jobs = [] as { peerId?: string; multiaddrs: string[] }[] } = {}) => ({
  peerId: peerIdFromString(peer),
  peerStore: {},
  dial: () => {},
  getConnections: (asked: { toString(): string }) => connected.filter((name) => name === asked.toString()),
  components: {
    transportManager: { dial: () => {}, dialTransportForMultiaddr: () => undefined },
    connectionManager: {
      getDialQueue: () =>
        jobs.map(({ peerId, multiaddrs }) => ({
          ...(peerId === undefined ? {} : { peerId: peerIdFromString(peerId) }),
          multiaddrs: multiaddrs.map((each) => multiaddr(each)),
        })),
    },
  },
});
type Given = Parameters<typeof dialInternalsOf>[0];
const isKnown = (given: Parameters<typeof node>[0], asked: string) =>
  dialInternalsOf(node(given) as unknown as Given).isKnown(multiaddr(asked));

test("what libp2p has a connection or a dial for is known, by peer or by address", () => {
  const named = `${address}/p2p/${other}`;
  assert.not.ok(isKnown({}, address));
  assert.not.ok(isKnown({}, named));
  assert.ok(isKnown({}, `${address}/p2p/${peer}`), "this node itself");
  assert.ok(isKnown({ connected: [other] }, named));
  assert.not.ok(isKnown({ connected: [other] }, address), "an address without a peer");
  assert.ok(isKnown({ jobs: [{ peerId: other, multiaddrs: [] }] }, named));
  assert.not.ok(isKnown({ jobs: [{ peerId: other, multiaddrs: [] }] }, address));
  assert.ok(isKnown({ jobs: [{ multiaddrs: ["/ip4/127.0.0.1/tcp/1", address] }] }, address));
  assert.not.ok(isKnown({ jobs: [{ multiaddrs: ["/ip4/127.0.0.1/tcp/1"] }] }, address));
});

for (
  const [holder, method] of [
    ["transportManager", "dial"],
    ["transportManager", "dialTransportForMultiaddr"],
    ["connectionManager", "getDialQueue"],
  ] as const
) {
  test(`names ${holder}.${method}() where it was moved`, () => {
    const moved = node();
    Object.assign(moved.components[holder], { [method]: undefined });
    try {
      dialInternalsOf(moved as unknown as Given);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, MovedInternal);
      assert.is((error as MovedInternal).missing, `components.${holder}.${method}()`);
    }
  });
}

test.run();
