/** Connections of libp2p behind the port: verdicts, closes, and the refusal that an early end amounts to. */
import type { Connection } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../../pki/path.ts";
import { TlsFailed } from "../../../pki/refusal.ts";
import type { ConnectionEnd, ConnectionListener, WireConnection } from "../../../transport/core/wire.ts";
import { Libp2pConnections } from "../../../transport/libp2p/connections.ts";
import { mtls } from "../../../transport/libp2p/mtls.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";
import { ConnectionClosed } from "../../../transport/libp2p/raw_connection.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf } from "../../support/transports.ts";
import { WrittenStream } from "../../support/written_stream.ts";

const test = suite("Libp2pConnections");
const identity = identityOf(await (await makeTestPki()).node("own"));
const peer = "12D3KooWPeer";
const turns = () => new Promise((resolve) => setTimeout(resolve, 5));

/** A listener that accepts everything but what it is told to refuse, and notes what it hears. */
class Noting implements ConnectionListener {
  readonly heard: string[] = [];
  readonly ends: ConnectionEnd[] = [];
  readonly #refuses: string | undefined;
  /** Called inside each verdict and report. */
  during: (what: string, connection: WireConnection) => void = () => {};

  constructor(refuses?: "opening" | "securing" | "secured" | "opened") {
    this.#refuses = refuses;
  }
  #hear(what: string, connection: WireConnection): boolean {
    this.heard.push(what);
    this.during(what, connection);
    return what !== this.#refuses;
  }
  turnsAway(): boolean {
    return false;
  }
  opening(connection: WireConnection): boolean {
    return this.#hear("opening", connection);
  }
  securing(connection: WireConnection) {
    return this.#hear("securing", connection) ? identity : undefined;
  }
  secured(connection: WireConnection): PeerIdentity | undefined {
    return this.#hear("secured", connection) ? { peer } as PeerIdentity : undefined;
  }
  opened(connection: WireConnection): boolean {
    return this.#hear("opened", connection);
  }
  failed(connection: WireConnection, { code }: { readonly code: string }): void {
    this.#hear(`failed ${code}`, connection);
  }
  broken(connection: WireConnection, detail: string): void {
    this.#hear(`broken ${detail}`, connection);
  }
  ended(connection: WireConnection, end: ConnectionEnd): void {
    this.ends.push(end);
    this.#hear("ended", connection);
  }
}

/** libp2p's connection over a raw one, as far as it is used. */
function announced(raw: WrittenStream, remotePeer = peer) {
  const told: string[] = [];
  const connection = {
    timeline: raw.timeline,
    remotePeer: { toString: () => remotePeer },
    streams: [] as { protocol: string; status: string }[],
    get status() {
      return raw.status;
    },
    close: () => {
      told.push("close");
      return new Promise<void>(() => {}); // a peer that never answers
    },
    abort: () => void told.push("abort"),
    newStream: () => Promise.reject(new Error("not played")),
  };
  return { told, connection, libp2p: connection as unknown as Connection };
}

function begun(listener: Noting, options: { readonly secured?: boolean } = {}) {
  const connections = new Libp2pConnections(listener);
  const raw = new WrittenStream();
  const own = connections.begin(raw.stream, "inbound", { expectedPeer: undefined, read: "nothing" });
  if (options.secured === true) {
    own.secure();
    own.verify({ version: "TLSv1.3", chain: [] });
  }
  return { connections, raw, own };
}

const open = (listener: Noting) => {
  const { connections, raw, own } = begun(listener, { secured: true });
  const { libp2p, connection, told } = announced(raw);
  connections.opened(libp2p);
  return { connections, raw, own, told, connection };
};

test("the verdicts come in order, and only then streams can be opened", async () => {
  const listener = new Noting();
  const { connections, raw, own } = begun(listener, { secured: true });
  assert.not(own.isOpen);
  connections.opened(announced(raw).libp2p);
  assert.ok(own.isOpen);
  assert.equal(listener.heard, ["opening", "securing", "secured", "opened"]);
  raw.onRemoteCloseWrite();
  assert.not(own.isOpen, "the peer has begun to close");
  raw.abort(new Error("over"));
  assert.equal([listener.heard.at(-1), listener.ends[0]?.by, listener.ends[0]?.refusal], ["ended", "them", undefined]);
  assert.is(connections.size, 0);
  await turns();
});

test("a connection of which no address is known has the empty one, and no relay", () => {
  const { own } = begun(new Noting());
  assert.equal([own.address, own.relay], ["", undefined]);
});

test("a relayed connection names its relay", () => {
  const address = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWRelay/p2p-circuit/p2p/12D3KooWPeer";
  const raw = Object.assign(new WrittenStream(), { remoteAddr: { toString: () => address } });
  const connections = new Libp2pConnections(new Noting());
  const own = connections.begin(raw.stream, "outbound", { expectedPeer: peer, read: "nothing" });
  assert.equal([own.address, own.relay, own.expectedPeer], [address, "12D3KooWRelay", peer]);
});

const steps = ["opening", "securing", "secured", "opened"] as const;
for (const step of steps) {
  test(`a connection that is refused at ${step} is reset, later, and never open`, async () => {
    const listener = new Noting(step);
    const { connections, raw, own } = begun(listener, { secured: true });
    connections.opened(announced(raw).libp2p);
    assert.not(own.isOpen);
    assert.equal(raw.told, [], "inside the call that asked nothing ends");
    await turns();
    assert.equal(raw.told, ["reset"]);
    assert.equal(listener.heard, [...steps.slice(0, steps.indexOf(step) + 1), "ended"]);
    assert.is(connections.size, 0);
  });
}

test("a connection that libp2p announces without a verdict, or for another peer than was verified, is aborted", async () => {
  for (const [secured, other] of [[false, peer], [true, "12D3KooWOther"]] as const) {
    const listener = new Noting();
    const { connections, raw, own } = begun(listener, { secured });
    connections.opened(announced(raw, other).libp2p);
    assert.not(own.isOpen);
    await turns();
    assert.equal(raw.told, ["reset"]);
    assert.not(listener.heard.includes("opened"));
  }
  const stranger = announced(new WrittenStream());
  new Libp2pConnections(new Noting()).opened(stranger.libp2p);
  assert.equal(stranger.told, ["abort"]);
});

test("a connection that is announced twice is closed", async () => {
  const { connections, own, raw } = open(new Noting());
  connections.opened(announced(raw).libp2p);
  assert.not(own.isOpen);
  await turns();
  assert.equal(raw.told, ["reset"]);
});

test("a stream that a peer opens is read by the verdict; over a connection that closes it is reset unseen", () => {
  const { own } = open(new Noting());
  const seen: string[] = [];
  const receive = () => {
    const stream = new WrittenStream();
    own.receive(stream.stream, "/x", (_, { protocol }) => {
      seen.push(protocol);
      return { data: (bytes) => void seen.push(String(bytes)), ended: () => {}, closed: () => {} };
    });
    stream.onData(Uint8Array.of(1));
    return stream.told;
  };
  assert.equal([receive(), seen], [[], ["/x", "1"]]);
  own.close("gently", "enough");
  assert.equal([receive(), seen.length], [["reset"], 2]);
});

test("after a refusal nothing goes on: no pair is shown, no chain is read, nothing fails once more", async () => {
  const listener = new Noting("opening");
  const { own } = begun(listener);
  assert.is(own.secure(), undefined);
  assert.is(own.verify({ version: "TLSv1.3", chain: [] }), undefined);
  own.failed(new TlsFailed({ detail: "odd" }));
  await turns();
  assert.equal(listener.heard, ["opening", "ended"]);
});

test("no TLS begins on a connection that is refused", async () => {
  const listener = new Noting("opening");
  const { connections, raw } = begun(listener);
  const encrypter = mtls({ keyExchange: "classical", connections, now: () => 0 })({ logger: silentLogger });
  const outcome = await encrypter.secureInbound(raw.stream).then(() => "secured", (error: unknown) => error);
  assert.instance(outcome, ConnectionClosed);
  assert.equal([raw.sent, listener.heard.includes("securing")], [[], false]);
});

test("a close reports nothing inside the call; now cuts the grace of gently short", async () => {
  const listener = new Noting();
  const { own, raw, told } = open(listener);
  own.close("gently", "enough");
  assert.equal([own.isOpen, told], [false, []]);
  await turns();
  assert.equal([told, listener.ends], [["close"], []]);
  own.close("gently", "again");
  own.close("now", "now");
  assert.equal(listener.ends, []);
  await turns();
  assert.equal([told, raw.told], [["close", "abort"], ["reset"]]);
  assert.equal(listener.ends, [{ by: "us", detail: "enough" }]);
});

test("the refusal of the side that closes is not overwritten by what the close causes", async () => {
  const listener = new Noting();
  const { own } = begun(listener);
  own.secure();
  own.close("now", "the deadline has passed");
  own.failed(new TlsFailed({ detail: "the socket was destroyed" }));
  await turns();
  assert.equal(listener.heard, ["opening", "securing", "ended"]);
  assert.equal(listener.ends[0]?.by, "us");
});

test("a failure is reported once, and closes the connection though its listener does not", async () => {
  const listener = new Noting();
  const { own, raw } = begun(listener);
  own.failed(new TlsFailed({ detail: "odd" }));
  own.failed(new TlsFailed({ detail: "odd" }));
  await turns();
  assert.equal(listener.heard, ["opening", "failed tls-failed", "ended"]);
  assert.equal(raw.told, ["reset"]);
});

test("its streams close before a connection has ended", async () => {
  const listener = new Noting();
  const { own, raw } = open(listener);
  own.openStream("/x", { data: () => {}, ended: () => {}, closed: (how) => void listener.heard.push(`stream ${how}`) });
  raw.abort(new Error("lost"));
  await turns();
  assert.equal(listener.heard.slice(-2), ["stream connection", "ended"]);
});

test("a stream over a connection that is not open closes, later", async () => {
  const { own } = begun(new Noting());
  const ends: string[] = [];
  own.openStream("/x", { data: () => {}, ended: () => {}, closed: (how) => void ends.push(how) });
  assert.equal(ends, []);
  await turns();
  assert.equal(ends, ["connection"]);
});

test("a connection relays while a stream of circuits is open on it", () => {
  const { own, connection } = open(new Noting());
  assert.not(own.isRelaying);
  connection.streams.push({ protocol: "/libp2p/circuit/relay/0.2.0/hop", status: "closed" });
  connection.streams.push({ protocol: "/hypha-api/0.0.1", status: "open" });
  assert.not(own.isRelaying);
  connection.streams.push({ protocol: "/libp2p/circuit/relay/0.2.0/stop", status: "open" });
  assert.ok(own.isRelaying);
});

test("what breaks the multiplexer is reported on a verified connection only", () => {
  const listener = new Noting();
  begun(listener).own.broken("early");
  open(listener).own.broken("odd frames");
  assert.equal(listener.heard.filter((what) => what.startsWith("broken")), ["broken odd frames"]);
});

const ends: [name: string, end: (raw: WrittenStream) => void, code: string][] = [
  ["libp2p cannot read the negotiation", (raw) => raw.abort(named("InvalidMessageError", "odd")), "protocol-mismatch"],
  ["libp2p finds no protocol", (raw) => raw.abort(named("UnsupportedProtocolError", "odd")), "protocol-mismatch"],
  ["libp2p's words are of a line", (raw) => raw.abort(new Error("missing newline")), "protocol-mismatch"],
  ["libp2p gives it up for another reason", (raw) => raw.abort(new Error("odd")), "hung-up"],
  ["the peer resets it", (raw) => raw.onRemoteReset(), "hung-up"],
];
for (const [name, end, code] of ends) {
  test(`before it was open, ${name}: ${code}`, () => {
    const listener = new Noting();
    const { own, raw } = begun(listener);
    own.secure();
    end(raw);
    assert.is(listener.ends[0]?.refusal?.code, code);
  });
}

test("a wait for the last connection ends once none is left", async () => {
  const listener = new Noting();
  const { connections, own } = open(listener);
  let none = 0;
  connections.whenNone(() => none++);
  own.close("now", "enough");
  assert.is(none, 0);
  await turns();
  connections.whenNone(() => none++);
  assert.is(none, 2);
});

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

test.run();
