/** The encrypter in somebody else's libp2p application. */
import { identify } from "@libp2p/identify";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p, type Libp2p } from "libp2p";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeGateFactory } from "../../actors/gate.ts";
import { type Door, makeDoor } from "../../transport/door.ts";
import { libp2pKey } from "../../transport/libp2p_node.ts";
import type { GateSaid } from "../../transport/port.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { identityOf, snapshotOf, until } from "../support/transports.ts";

const test = suite("makeDoor()");
const pki = await makeTestPki();

interface Application {
  readonly libp2p: Libp2p;
  readonly door: Door;
  readonly said: GateSaid[];
  readonly node: TestNode;
}

async function application(name: string): Promise<Application> {
  const node = await pki.node(name);
  const identity = identityOf(node);
  const said: GateSaid[] = [];
  const door = makeDoor({
    identity: () => identity,
    snapshot: snapshotOf(pki),
    makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
    now: Date.now,
    onSaid: (what) => said.push(what),
  });
  const libp2p = await createLibp2p({
    privateKey: await libp2pKey(identity),
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
    transports: [tcp()],
    streamMuxers: [yamux()],
    connectionEncrypters: [door.encrypter],
    connectionGater: { ...door.gater, denyDialMultiaddr: () => false },
    services: { identify: identify() },
  });
  return { libp2p, door, said, node };
}

test("two applications connect, stream, and are parted by a revocation", async () => {
  const [a, b] = await Promise.all([application("a"), application("b")]);
  await b.libp2p.handle("/echo/1", async (stream) => {
    for await (const piece of stream) stream.send(piece);
    await stream.close();
  });
  const connection = await a.libp2p.dial(b.libp2p.getMultiaddrs());
  assert.is(connection.encryption, "/tls/1.0.0");
  assert.equal(a.said.map(({ type }) => type), ["gate.verified", "gate.established"]);
  const stream = await connection.newStream("/echo/1");
  stream.send(new TextEncoder().encode("hello"));
  let back = "";
  stream.addEventListener("message", ({ data }) => back += new TextDecoder().decode(data.subarray()));
  await until("the echo", () => back === "hello");
  const crlsPem = await pki.crls({ revoked: [a.node] });
  b.door.trustChanged(snapshotOf(pki, { crlsPem, generation: 2 }));
  await until("the close", () => connection.status !== "open", 1_000);
  assert.is(b.said.at(-1)?.type, "gate.closed");
  const refused = await a.libp2p.dial(b.libp2p.getMultiaddrs()).then(() => "connected", () => "refused");
  assert.is(refused, "refused");
  await until(
    "the refusal",
    () => b.said.some((what) => what.type === "gate.refused" && what.refusal.code === "certificate-revoked"),
  );
  await Promise.all([a.libp2p.stop(), b.libp2p.stop()]);
});

test.run();
