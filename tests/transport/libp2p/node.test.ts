import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createNode } from "../../../transport/libp2p/node.ts";
import { Listening } from "../../../transport/libp2p/listening.ts";
import type { TransportInput } from "../../../transport/port.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf } from "../../support/transports.ts";

const test = suite("createNode()");
const pki = await makeTestPki();
const identity = identityOf(await pki.node("node"));

async function modeOf(role: TransportInput["role"]): Promise<string> {
  const input = {
    role,
    identity,
    listenAddresses: [],
    externalAddresses: [],
    relay: "off",
    handshakeTimeoutMs: 1_000,
  } as unknown as TransportInput;
  const node = await createNode(input, {
    encrypter: () => ({ protocol: "/tls/1.0.0" }) as never,
    gater: {},
    protector: { protect: (stream) => Promise.resolve(stream) },
    addresses: {
      mayKnow: () => true,
      announced: (own) => [...own],
    },
    turnsAway: () => false,
    listening: new Listening(),
  });
  return node.services.dht.getMode();
}

test("a gateway serves the DHT from the start, all others ask it until they have an address", async () => {
  assert.is(await modeOf("gateway"), "server");
  for (const role of ["worker", "scheduler", "data"] as const) assert.is(await modeOf(role), "client", role);
});

test.run();
