import { suite } from "uvu";
import * as assert from "uvu/assert";
import { internalsOf } from "../../transport/libp2p_internals.ts";

const test = suite("internalsOf()");

/** A node with everything that is looked for, as far as it is looked at. */
const node = () => ({
  components: {
    events: { addEventListener: () => {} },
    transportManager: { listen: () => {}, getTransports: () => [] },
  },
  services: {
    dht: {
      rpc: { handlers: { PUT_VALUE: {}, GET_VALUE: {} } },
      peerRouting: { getClosestPeersOffline: () => {} },
      routingTable: {},
    },
    identify: { host: {} },
    identifyPush: { host: {} },
  },
});

test("finds what is there", () => assert.is(internalsOf(node()).reservations, undefined));

const missing: [path: string, name: string][] = [
  ["components", "components"],
  ["components.events", "components.events"],
  ["components.events.addEventListener", "components.events"],
  ["components.transportManager", "components.transportManager.listen"],
  ["components.transportManager.listen", "components.transportManager.listen"],
  ["services.dht", "services.dht"],
  ["services.dht.rpc", "dht.rpc.handlers"],
  ["services.dht.rpc.handlers.PUT_VALUE", "dht.rpc.handlers.PUT_VALUE"],
  ["services.dht.rpc.handlers.GET_VALUE", "dht.rpc.handlers.GET_VALUE"],
  ["services.dht.peerRouting", "dht.peerRouting"],
  ["services.dht.peerRouting.getClosestPeersOffline", "dht.peerRouting.getClosestPeersOffline"],
  ["services.dht.routingTable", "dht.routingTable"],
  ["services.identify", "services.identify.host"],
  ["services.identifyPush.host", "services.identifyPush.host"],
];
for (const [path, name] of missing) {
  test(`names ${name} where ${path} was moved`, () => {
    for (const nothing of [undefined, null]) {
      const moved = node();
      const keys = path.split(".");
      const last = keys.pop() as string;
      const holder = keys.reduce<Record<string, unknown>>((at, key) => at[key] as Record<string, unknown>, moved);
      holder[last] = nothing;
      assert.throws(() => internalsOf(moved), `Cannot find ${name} in libp2p: it was moved`);
    }
  });
}

test.run();
