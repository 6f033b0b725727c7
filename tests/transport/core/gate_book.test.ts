/** Gates and raw connections: how one ends the other, and what a failed upgrade amounts to. */
import { randomUUID } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { type Refusal, TlsFailed, TooManyConnections } from "../../../pki/refusal.ts";
import { GateBook, GateClosedError } from "../../../transport/core/gate_book.ts";
import { mtls } from "../../../transport/libp2p/mtls.ts";
import type { GateSaid } from "../../../transport/port.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf, snapshotOf, until } from "../../support/transports.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("GateBook");
const pki = await makeTestPki();
const identity = identityOf(await pki.node("own"));
const snapshot = snapshotOf(pki);

function bookWith(refusal?: Refusal) {
  const said: GateSaid[] = [];
  const gates = new GateBook({
    makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
    snapshot: () => snapshot,
    identity: () => identity,
    deadlineMs: 20_000,
    uuid: randomUUID,
    admit: () => ({
      admission: refusal === undefined ? Result.succeed(undefined) : Result.fail(refusal),
      opened: () => {},
      release: () => {},
    }),
    onSaid: (_, what) => said.push(what),
  });
  const codes = () => said.map((what) => what.type === "gate.refused" ? what.refusal.code : what.type);
  return { gates, codes };
}
const full = new TooManyConnections({ limit: "connections", max: 1 });

test("a connection of which no address is known has the empty one", () => {
  const { gates } = bookWith();
  const raw = new WrittenStream();
  assert.is(gates.birth(raw.stream, "inbound", undefined).address, "");
  raw.abort(new Error("enough"));
});

test("a gate that refuses resets its raw connection, and leaves the book", async () => {
  const { gates, codes } = bookWith();
  const raw = new WrittenStream();
  const { gate } = gates.birth(raw.stream, "inbound", undefined);
  gate.send({ type: "connection.securing" });
  gate.send({ type: "tls.failed", refusal: new TlsFailed({ detail: "odd" }) });
  await until("the reset", () => raw.told.includes("reset"), 5_000);
  await until("the gate's end", () => gates.size === 0, 5_000);
  assert.equal(codes(), ["tls-failed"]);
});

test("a gate that refuses at its birth resets its raw connection too", async () => {
  const { gates, codes } = bookWith(full);
  const raw = new WrittenStream();
  gates.birth(raw.stream, "inbound", undefined);
  await until("the reset", () => raw.told.includes("reset"), 5_000);
  assert.equal(codes(), ["too-many-connections"]);
});

const ends: [name: string, end: (raw: WrittenStream) => void, code: string][] = [
  ["libp2p cannot read the negotiation", (raw) => raw.abort(named("InvalidMessageError", "odd")), "protocol-mismatch"],
  ["libp2p finds no protocol", (raw) => raw.abort(named("UnsupportedProtocolError", "odd")), "protocol-mismatch"],
  ["libp2p's words are of a line", (raw) => raw.abort(new Error("missing newline")), "protocol-mismatch"],
  ["libp2p gives it up for another reason", (raw) => raw.abort(new Error("odd")), "hung-up"],
  ["the peer resets it", (raw) => raw.onRemoteReset(), "hung-up"],
];
for (const [name, end, code] of ends) {
  test(`before it was open, ${name}: ${code}`, async () => {
    const { gates, codes } = bookWith();
    const raw = new WrittenStream();
    gates.birth(raw.stream, "inbound", undefined).gate.send({ type: "connection.securing" });
    end(raw);
    await until("the gate's end", () => gates.size === 0, 5_000);
    assert.equal(codes(), [code]);
  });
}

test("no TLS begins on a connection whose gate refuses", async () => {
  const { gates } = bookWith(full);
  let asked = 0;
  const own = () => {
    asked += 1;
    return identity;
  };
  const encrypter = mtls({ identity: own, keyExchange: "classical", gates, now: () => 0 })({} as never);
  const raw = new WrittenStream();
  const outcome = await encrypter.secureInbound(raw.stream).then(() => "secured", (error: unknown) => error);
  assert.instance(outcome, GateClosedError);
  assert.is(asked, 0, "its certificate was asked for");
  assert.equal(raw.sent, []);
});

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

test.run();
