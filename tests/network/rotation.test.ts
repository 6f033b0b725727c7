/** A node's certificate and key change while it serves. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki } from "../support/pki.ts";
import { identityOf, of, startTransport, type TestTransport, until } from "../support/transports.ts";
import type { NodeIdentity, TransportAnswer } from "../../transport/port.ts";

const test = suite("rotation");
const pki = await makeTestPki();
/** How often a pair is changed under load; the full count of both tests is `HYPHA_ROTATIONS=100`. */
const rotations = Number(process.env["HYPHA_ROTATIONS"] ?? 10);
/** Renewals cost next to nothing. */
const renewals = Math.max(rotations, 100);
const health = "/hypha-health/0.0.1";
/** More than a loaded machine takes for a handshake. */
const handshakeTimeoutMs = 10_000;

/** Answers every health request, as a node does. */
function answering(transport: TestTransport): () => void {
  transport.send({ type: "serve", protocol: health });
  const answered = new Set<string>();
  const timer = setInterval(() => {
    for (const fact of transport.facts) {
      if (fact.type !== "request.received" || answered.has(fact.exchange)) continue;
      answered.add(fact.exchange);
      transport.send({ type: "respond", exchange: fact.exchange, message: { healthy: true } });
    }
  }, 1);
  return () => clearInterval(timer);
}

const said = (answer: TransportAnswer) =>
  answer.type === "request.failed"
    ? `${answer.type} ${answer.error.message}`
    : "refusal" in answer
    ? `${answer.type} ${answer.refusal.message}`
    : answer.type;

test(`${renewals} renewals of the same key under load: no exchange and no handshake fails, the newest is shown`, async () => {
  const first = await pki.node("server");
  const server = await startTransport({
    pki,
    name: "server",
    node: first,
    handshakeTimeoutMs,
    rotation: { drain: "time", drainMs: 60_000 },
  });
  const [steady, coming] = await Promise.all(
    ["steady", "coming"].map((name) => startTransport({ pki, name, listenAddresses: [], handshakeTimeoutMs })),
  ) as [TestTransport, TestTransport];
  const quiet = answering(server);
  const address = server.addresses[0] as string;
  await steady.ask({ type: "dial", id: "d", target: { address } });
  let over = false;
  const failures: string[] = [];
  let exchanges = 0;
  const ask = async (by: TestTransport, id: string) => {
    const answer = await by.ask({
      type: "request",
      id,
      peer: server.peer,
      protocol: health,
      message: {},
      timeoutMs: 30_000,
    });
    exchanges += 1;
    if (answer.type !== "response") failures.push(said(answer));
  };
  const asking = [0, 1, 2, 3].map(async (lane) => {
    for (let n = 0; !over; n++) await ask(steady, `steady/${lane}/${n}`);
  });
  /** Comes anew for every exchange. */
  const dialling = (async () => {
    for (let n = 0; !over; n++) {
      const dialled = await coming.ask({ type: "dial", id: `dial/${n}`, target: { address } });
      if (dialled.type !== "dial.done") {
        failures.push(said(dialled));
        continue;
      }
      await ask(coming, `coming/${n}`);
      const gone = coming.facts.length;
      coming.send({ type: "close", peer: server.peer, reason: "again" });
      await until("the close", () => coming.facts.slice(gone).some(({ type }) => type === "peer.closed"));
    }
  })();
  const names = () => coming.facts.flatMap((fact) => fact.type === "peer.established" ? [fact.identity.name] : []);
  const pairs: NodeIdentity[] = [];
  for (let n = 1; n <= renewals; n++) {
    const node = await pki.node(`server-${n}`, { keyPem: first.keyPem });
    pairs.push({ ...identityOf(node), generation: n + 1 });
  }
  for (const identity of pairs) {
    const before = exchanges;
    server.send({ type: "identity.changed", identity });
    await until("exchanges between two renewals", () => exchanges > before);
  }
  await until("the newest certificate", () => names().at(-1) === `server-${renewals}`);
  over = true;
  await Promise.all([...asking, dialling]);
  quiet();
  assert.equal(failures, []);
  assert.ok(new Set(names()).size > 1 && exchanges > renewals);
  // Nobody was cut off: the steady client's connection is the first one.
  assert.is(steady.facts.filter(of("peer.closed")).length, 0);
  await Promise.all([server, steady, coming].map((each) => each.stop()));
});

test("connections of a former certificate end after drain_ms where that is the policy, those of the new one stay", async () => {
  const first = await pki.node("server");
  const server = await startTransport({ pki, name: "server", node: first, rotation: { drain: "time", drainMs: 200 } });
  const [early, late] = await Promise.all(
    ["early", "late"].map((name) => startTransport({ pki, name, listenAddresses: [], handshakeTimeoutMs })),
  ) as [TestTransport, TestTransport];
  const address = server.addresses[0] as string;
  await early.ask({ type: "dial", id: "d", target: { address } });
  const again = await pki.node("server-2", { keyPem: first.keyPem });
  server.send({ type: "identity.changed", identity: { ...identityOf(again), generation: 2 } });
  await late.ask({ type: "dial", id: "d", target: { address } });
  const closed = await server.fact(of("peer.closed"));
  assert.equal([closed.peer, closed.reason.type], [early.peer, "by-us"]);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.equal(server.facts.filter(of("peer.closed")).length, 1);
  const peers = await server.ask({ type: "peers" });
  assert.equal(peers.type === "peers" && peers.list.map(({ peer }) => peer), [late.peer]);
  await Promise.all([server, early, late].map((each) => each.stop()));
});

test("a connection ends at the end of the certificate that we showed, and a newer one does not save it", async () => {
  const first = await pki.node("server");
  const server = await startTransport({
    pki,
    name: "server",
    node: first,
    handshakeTimeoutMs,
    identity: { ...identityOf(first), notAfter: new Date(Date.now() + 3_000) },
  });
  const [early, late] = await Promise.all(
    ["early", "late"].map((name) => startTransport({ pki, name, listenAddresses: [], handshakeTimeoutMs })),
  ) as [TestTransport, TestTransport];
  const address = server.addresses[0] as string;
  await early.ask({ type: "dial", id: "d", target: { address } });
  server.send({ type: "identity.changed", identity: { ...identityOf(first), generation: 2 } });
  await late.ask({ type: "dial", id: "d", target: { address } });
  const closed = await server.fact(of("peer.closed"));
  assert.equal([closed.peer, closed.reason.type], [early.peer, "expired"]);
  const peers = await server.ask({ type: "peers" });
  assert.equal(peers.type === "peers" && peers.list.map(({ peer }) => peer), [late.peer]);
  await Promise.all([server, early, late].map((each) => each.stop()));
});

test.run();
