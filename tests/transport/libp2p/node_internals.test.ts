import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { answeredTypes, internalsOf } from "../../../transport/libp2p/node_internals.ts";
import { type InternalPackage, MovedInternal, writtenFor } from "../../../transport/libp2p/moved_internal.ts";

const test = suite("internalsOf()");

const relayTag = "@libp2p/circuit-relay-v2-transport";

/** A node with everything that is looked for, as far as it is looked at. */
const node = (transports: readonly object[] = []) => ({
  components: {
    events: { addEventListener: () => {} },
    registrar: { handle: () => {} },
    transportManager: { listen: () => {}, getTransports: () => transports, getListeners: () => [] },
  },
  services: {
    dht: {
      rpc: {
        handlers: Object.fromEntries(answeredTypes.map((type) => [type, { handle: () => {} }])),
        onIncomingStream: () => {},
      },
      onPeerConnect: () => {},
      peerRouting: { getClosestPeersOffline: () => {} },
    },
    pubsub: {
      onPeerConnected: () => {},
      handleReceivedRpc: () => {},
      createOutboundStream: () => {},
      createInboundStream: () => {},
      decodeRpc: () => {},
      isStarted: () => {},
      peers: new Map(),
      streamsInbound: new Map(),
    },
    identify: { host: {}, _identify: () => {}, identify: () => {} },
    identifyPush: { host: {} },
  },
});

test("finds what is there", () => assert.is(internalsOf(node()).reservations, undefined));

const missing: [path: string, name: InternalPackage, missing: string][] = [
  ["components", "libp2p", "components"],
  ["components.events", "libp2p", "components.events"],
  ["components.events.addEventListener", "libp2p", "components.events.addEventListener()"],
  ["components.transportManager", "libp2p", "components.transportManager"],
  ["components.transportManager.listen", "libp2p", "components.transportManager.listen()"],
  ["components.transportManager.getListeners", "libp2p", "components.transportManager.getListeners()"],
  ["components.registrar", "libp2p", "components.registrar"],
  ["components.registrar.handle", "libp2p", "components.registrar.handle()"],
  ["services.dht", "@libp2p/kad-dht", "service in a node that has one"],
  ["services.dht.rpc", "@libp2p/kad-dht", "rpc.handlers"],
  ["services.dht.rpc.handlers.FIND_NODE", "@libp2p/kad-dht", "rpc.handlers.FIND_NODE"],
  ["services.dht.rpc.handlers.GET_PROVIDERS", "@libp2p/kad-dht", "rpc.handlers.GET_PROVIDERS"],
  ["services.dht.rpc.handlers.GET_PROVIDERS.handle", "@libp2p/kad-dht", "GET_PROVIDERS.handle()"],
  ["services.dht.rpc.onIncomingStream", "@libp2p/kad-dht", "rpc.onIncomingStream()"],
  ["services.dht.onPeerConnect", "@libp2p/kad-dht", "service.onPeerConnect()"],
  ["services.dht.peerRouting", "@libp2p/kad-dht", "peerRouting"],
  ["services.dht.peerRouting.getClosestPeersOffline", "@libp2p/kad-dht", "peerRouting.getClosestPeersOffline()"],
  ["services.pubsub.onPeerConnected", "@libp2p/gossipsub", "service.onPeerConnected()"],
  ["services.pubsub.handleReceivedRpc", "@libp2p/gossipsub", "service.handleReceivedRpc()"],
  ["services.pubsub.createOutboundStream", "@libp2p/gossipsub", "service.createOutboundStream()"],
  ["services.pubsub.createInboundStream", "@libp2p/gossipsub", "service.createInboundStream()"],
  ["services.pubsub.decodeRpc", "@libp2p/gossipsub", "service.decodeRpc()"],
  ["services.pubsub.isStarted", "@libp2p/gossipsub", "service.isStarted()"],
  ["services.pubsub.peers", "@libp2p/gossipsub", "service.peers"],
  ["services.pubsub.streamsInbound", "@libp2p/gossipsub", "service.streamsInbound"],
  ["services.identify", "@libp2p/identify", "host in identify"],
  ["services.identify._identify", "@libp2p/identify", "identify._identify()"],
  ["services.identify.identify", "@libp2p/identify", "identify.identify()"],
  ["services.identifyPush.host", "@libp2p/identify", "host in identifyPush"],
];
for (const [path, name, what] of missing) {
  test(`names ${name}, its versions and ${what} where ${path} was moved`, () => {
    for (const nothing of [undefined, null]) {
      const moved = node();
      const keys = path.split(".");
      const last = keys.pop() as string;
      const holder = keys.reduce<Record<string, unknown>>((at, key) => at[key] as Record<string, unknown>, moved);
      holder[last] = nothing;
      const found = writtenFor[name]; // what is installed for these tests
      assert.throws(
        () => internalsOf(moved),
        (error: unknown) =>
          error instanceof MovedInternal &&
          error.message ===
            `Cannot use ${name} ${found}: it has no ${what}, which ${found} has. Run: npm install ${name}@${found}`,
      );
    }
  });
}

test("a relay's transport without its reservations is named, not taken for a node without a relay", () => {
  const relayFilter = { remove: () => {} };
  const store = { getReservation: () => {}, addRelay: () => {}, addEventListener: () => {}, relayFilter };
  const withRelay = (relay: object) => () => internalsOf(node([{ [Symbol.toStringTag]: relayTag, ...relay }]));
  assert.is(withRelay({ reservationStore: store })().reservations, store as never);
  assert.throws(withRelay({}), /@libp2p\/circuit-relay-v2 \S+: it has no reservationStore in the relay's transport/);
  const moved = { ...store, addRelay: undefined };
  assert.throws(withRelay({ reservationStore: moved }), /it has no reservationStore.addRelay\(\)/);
  for (const [filter, what] of [[undefined, "relayFilter"], [{}, "relayFilter.remove()"]] as const) {
    const unfiltered = { ...store, relayFilter: filter };
    assert.throws(withRelay({ reservationStore: unfiltered }), `it has no reservationStore.${what}, which`);
  }
});

test("a relay's server whose reservations or circuits were moved is named", () => {
  const serving = (relay: object | undefined) => {
    const { services, ...rest } = node();
    return () => internalsOf({ ...rest, services: { ...services, relay } }).granted;
  };
  const store = { reservationTtl: 1, get: () => {}, reserve: () => {}, removeReservation: () => {} };
  const components = { connectionManager: { getConnections: () => [] } };
  const server = { reservationStore: store, components, handleConnect: () => {}, stopHop: () => {} };
  assert.is(serving({ ...server })(), store as never);
  assert.is(serving(undefined)(), undefined);
  for (const method of ["handleConnect", "stopHop"]) {
    assert.throws(serving({ ...server, [method]: undefined }), `it has no server.${method}(), which`);
  }
  for (const [moved, what] of [[undefined, ""], [{}, ""], [{ connectionManager: {} }, ".getConnections()"]] as const) {
    const expected = `it has no server.components.connectionManager${what}, which`;
    assert.throws(serving({ ...server, components: moved }), expected);
  }
  assert.throws(serving({}), /it has no reservationStore in the relay's server/);
  for (const method of ["get", "reserve", "removeReservation"]) {
    const moved = { ...store, [method]: undefined };
    assert.throws(serving({ reservationStore: moved }), `it has no reservationStore.${method}(), which`);
  }
  const unlimited = { ...store, reservationTtl: undefined };
  assert.throws(serving({ reservationStore: unlimited }), /it has no reservationStore.reservationTtl/);
});

test("an answer to identify keeps its first addresses, and all else", async () => {
  const whole = node();
  Object.assign(whole.services.identify, {
    _identify: (connection: string) => Promise.resolve({ listenAddrs: [1, 2, 3], protocols: ["/a"], connection }),
  });
  internalsOf(whole).limitIdentified(2);
  const { _identify: ask } = whole.services.identify as { readonly _identify: unknown } as {
    _identify(connection: string): Promise<object>;
  };
  assert.equal(await ask("c"), { listenAddrs: [1, 2], protocols: ["/a"], connection: "c" });
});

test("the versions it was written for are those that package.json names", () => {
  const { devDependencies } = JSON.parse(readFileSync("package.json", "utf8")); // they are inside the package's bundles
  const named = Object.fromEntries(Object.keys(writtenFor).map((name) => [name, devDependencies[name]]));
  assert.equal(named, { ...writtenFor });
});

test.run();
