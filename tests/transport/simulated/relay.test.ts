/** Reservations and circuits over the virtual network. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { reservationTtlMs } from "../../../transport/core/admission.ts";
import { deadAfterMs } from "../../../transport/simulated/network.ts";
import { makeTestPki } from "../../support/pki.ts";
import { NotedStream, type NotingPeer, virtualWires } from "../../support/virtual_wires.ts";

const test = suite("SimulatedRelay");
const pki = await makeTestPki();
const protocol = "/test/1";

/** A relay, a peer that is reached through it only, and one that dials. */
async function three() {
  const wires = virtualWires(pki);
  const relay = await wires.join("relay", { relay: "server" });
  const target = await wires.join("target", { relay: "client", isDialable: false });
  const dialler = await wires.join("dialler", { relay: "client" });
  target.wire.serve(protocol);
  const toRelay = wires.dial(target, relay);
  const circuit = `${relay.address}/p2p-circuit/p2p/${target.peer}`;
  const reserve = () => {
    let reserved: boolean | undefined;
    target.wire.reserve(toRelay, (granted) => reserved = granted);
    wires.pass(100);
    return reserved;
  };
  return { ...wires, relay, target, dialler, toRelay, circuit, reserve };
}

const codeOf = (from: NotingPeer, address: string, pass: (ms: number) => void): string => {
  let code = "nothing";
  from.dial(address, (outcome) => code = Result.isFailure(outcome) ? outcome.failure.code : "connected");
  pass(10_000);
  return code;
};

test("a reservation adds an address, and through it the peer is reached, end to end", async () => {
  const { relay, target, dialler, circuit, reserve, dial, pass } = await three();
  assert.is(codeOf(dialler, circuit, pass), "unreachable", "without a reservation");
  assert.is(reserve(), true);
  assert.equal(target.addressesNow, [circuit]);
  const connection = dial(dialler, circuit);
  assert.equal([connection.relay, connection.address, connection.expectedPeer], [relay.peer, circuit, target.peer]);
  const far = [...target.connections].find(({ direction }) => direction === "inbound");
  assert.is(far?.relay, relay.peer);
  assert.ok(far?.address.endsWith(`/p2p/${relay.peer}/p2p-circuit/p2p/${dialler.peer}`), far?.address);
  assert.equal([...relay.connections].map(({ isRelaying }) => isRelaying), [true, true]);
  const near = new NotedStream();
  connection.openStream(protocol, near).end(new Uint8Array(1_000));
  pass(100);
  assert.is(target.received[0]?.size, 1_000);
  assert.is(relay.received.length, 0);
  connection.close("gently", "enough");
  pass(100);
  assert.not([...target.connections].some(({ direction }) => direction === "inbound"));
  assert.equal([...relay.connections].map(({ isRelaying }) => isRelaying), [false, false]);
});

test("by peer: the announced circuit is dialled, over the connection to the relay that there is", async () => {
  const { relay, target, dialler, reserve, pass, dial } = await three();
  reserve();
  dial(dialler, relay);
  let found = "";
  dialler.wire.dial({ peer: target.peer }, (outcome) => found = Result.getOrThrow(outcome).relay ?? "");
  pass(200);
  assert.is(found, relay.peer);
  assert.is(dialler.connections.size, 2);
});

/** Production's relay does: it was hidden that changed rules missed the reservation of a member that was away. */
test("a relay keeps the reservation of a peer that left, for its time, unless it takes it back", async () => {
  const { relay, target, dialler, circuit, reserve, dial, toRelay, pass } = await three();
  const refused = (): string => {
    let why = "";
    dialler.dial(circuit, (outcome) => why = Result.isFailure(outcome) ? outcome.failure.message : "connected");
    pass(10_000);
    return why;
  };
  const leave = () => {
    for (const connection of [...target.connections]) connection.close("now", "it leaves");
    pass(1_000);
  };
  reserve();
  toRelay.close("now", "it leaves");
  pass(1_000);
  assert.match(refused(), "no reservation", "it is away");
  dial(target, relay);
  assert.match(refused(), "not expected", "the relay brings it, and it does not know of its reservation");
  leave();
  pass(reservationTtlMs);
  dial(target, relay);
  assert.match(refused(), "no reservation", "it is over");
  target.wire.reserve([...target.connections][0]!, () => {});
  pass(100);
  leave();
  relay.wire.unreserve(target.peer);
  dial(target, relay);
  assert.match(refused(), "no reservation", "it was taken back");
});

test("a reservation lasts for its time, unless it is renewed; one that is not renewed is lost", async () => {
  const { relay, target, dialler, circuit, reserve, pass } = await three();
  const wait = () => pass(reservationTtlMs / 2 + 1_000);
  reserve();
  wait();
  assert.is(reserve(), true);
  wait();
  assert.is(codeOf(dialler, circuit, pass), "connected");
  for (const connection of dialler.connections) connection.close("now", "enough");
  wait();
  assert.is(codeOf(dialler, circuit, pass), "unreachable");
  relay.wire.stop(() => {});
  reserve();
  pass(10_000);
  assert.equal([target.addressesNow, target.told.filter((told) => told.startsWith("reservation lost")).length], [
    [],
    1,
  ]);
});

test("the end of either connection to the relay ends the circuit, and that of the target takes its address", async () => {
  for (const cut of ["target", "dialler"] as const) {
    const { relay, target, dialler, circuit, reserve, dial, pass, network } = await three();
    reserve();
    dial(dialler, circuit);
    network.cut(cut, "relay");
    network.cut("relay", cut);
    pass(deadAfterMs + 1_000);
    assert.not([...dialler.connections].some((connection) => connection.relay !== undefined), `${cut}: dialler`);
    assert.not([...target.connections].some((connection) => connection.relay !== undefined), `${cut}: target`);
    assert.not([...relay.connections].some(({ isRelaying }) => isRelaying));
    const lost = target.told.filter((told) => told.startsWith("reservation lost"));
    assert.is(lost.length, cut === "target" ? 1 : 0);
    if (cut === "target") assert.equal(target.addressesNow, []);
  }
});

/** 128 were granted before, as existing gateways do: the 129th member behind a firewall could not be reached. */
test("a relay grants a reservation to each of 200 peers", async () => {
  const wires = virtualWires(pki);
  const relay = await wires.join("relay", { relay: "server" });
  let granted = 0;
  for (let nth = 0; nth < 200; nth++) {
    const peer = await wires.join(`peer-${nth}`, { relay: "client", isDialable: false });
    peer.wire.reserve(wires.dial(peer, relay), (isGranted) => granted += Number(isGranted));
    wires.pass(100);
  }
  assert.is(granted, 200);
});

test("a node that is no relay grants nothing, and a circuit nobody expects is refused", async () => {
  const wires = virtualWires(pki);
  const [plain, client] = [await wires.join("plain"), await wires.join("client", { relay: "client" })];
  const connection = wires.dial(client, plain);
  let reserved: boolean | undefined;
  client.wire.reserve(connection, (granted) => reserved = granted);
  wires.pass(100);
  assert.is(reserved, false);
  const [toClient] = plain.connections;
  const over = toClient as unknown as { sendFrame(frame: object): void };
  over.sendFrame({ type: "relay.incoming", circuit: 8, from: "somebody" });
  wires.pass(100);
  assert.is(client.connections.size, 1);
});

test.run();
