/** Which peers agree on the multiplexer inside TLS, which by multistream-select, and that both connect. */
import { Buffer } from "node:buffer";
import { connect as connectTcp, createServer, type Socket } from "node:net";
import { connect, createSecureContext, TLSSocket } from "node:tls";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { alpnProtocols, muxerAgreement } from "../../../transport/libp2p/early_muxer.ts";
import { makeMtlsSecurity } from "../../../transport/libp2p/mtls_security.ts";
import { libp2pKey } from "../../../transport/libp2p/key.ts";
import { earlyStreamsMax, nodeMuxer, silentLogger } from "../../../transport/libp2p/node.ts";
import type { GateEvent } from "../../../transport/port.ts";
import { makeTestPki } from "../../support/pki.ts";
import { identityOf, snapshotOf, until } from "../../support/transports.ts";

const test = suite("early muxer");
const pki = await makeTestPki();
const files = await pki.node("other");
const secureContext = createSecureContext({
  cert: identityOf(files).certPem,
  key: identityOf(files).keyPem,
  minVersion: "TLSv1.3",
});

/** A libp2p application with our encrypter. */
async function application(name: string, makeMuxer = yamux()) {
  const identity = identityOf(await pki.node(name));
  const said: GateEvent[] = [];
  const security = makeMtlsSecurity({
    identity: () => identity,
    snapshot: snapshotOf(pki),
    makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
    now: Date.now,
    onSaid: (event) => said.push(event),
  });
  const libp2p = await createLibp2p({
    privateKey: await libp2pKey(identity),
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
    transports: [tcp()],
    streamMuxers: [makeMuxer],
    connectionEncrypters: [security.encrypter],
    connectionGater: { ...security.gater, denyDialMultiaddr: () => false },
    logger: silentLogger,
  });
  return { libp2p, said };
}

const line = (text: string) => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)]);
const [header, tls, muxer] = [line("/multistream/1.0.0"), line("/tls/1.0.0"), line("/yamux/1.0.0")];
const ping = (flag: "syn" | "ack") => Buffer.from([0, 2, 0, flag === "syn" ? 1 : 2, 0, 0, 0, 0, 0, 0, 0, 7]);

/** Reads what a socket brings. */
class Reader {
  #read = Buffer.alloc(0);
  #ended = false;

  constructor(socket: Socket) {
    socket.on("error", () => {}).on("close", () => this.#ended = true);
    socket.on("data", (bytes) => this.#read = Buffer.concat([this.#read, bytes as Buffer]));
  }

  #at(wanted: Uint8Array): number {
    return this.#read.indexOf(Buffer.from(wanted));
  }

  /** Waits for these bytes, and takes what came up to their end. */
  async take(what: string, wanted: Uint8Array): Promise<void> {
    await until(what, () => this.#at(wanted) >= 0 || this.#ended);
    assert.ok(this.#at(wanted) >= 0, `${what} came`);
    this.#read = this.#read.subarray(this.#at(wanted) + wanted.length);
  }
}

/** Dials with an offer and, once TLS is done, opens the multiplexer in one of the two ways, and pings. */
async function dialler(address: string, ALPNProtocols: string[] | undefined, opens: "frames" | "negotiation") {
  const raw = connectTcp(Number(/\/tcp\/(\d+)/.exec(address)?.[1]), "127.0.0.1");
  const before = new Reader(raw);
  raw.write(Buffer.concat([header, tls]));
  await before.take("the answer", tls);
  raw.removeAllListeners("data");
  const offer = ALPNProtocols === undefined ? {} : { ALPNProtocols };
  const socket = connect({ socket: raw, secureContext, rejectUnauthorized: false, servername: "", ...offer });
  const reader = new Reader(socket);
  const secure = new Promise<void>((resolve) => socket.once("secure", resolve).once("close", () => resolve()));
  await secure;
  if (socket.destroyed) return { socket, agreed: undefined };
  if (opens === "negotiation") {
    socket.write(Buffer.concat([header, muxer]));
    await reader.take("the multiplexer", muxer);
  }
  socket.write(ping("syn"));
  await reader.take("the pong", ping("ack"));
  return { socket, agreed: socket.alpnProtocol };
}

const offers: [what: string, offer: string[] | undefined, opens: "frames" | "negotiation", agreed: string | false][] = [
  ["offers what we do", ["/yamux/1.0.0", "libp2p"], "frames", "/yamux/1.0.0"],
  ["offers the multiplexer alone", ["/yamux/1.0.0"], "frames", "/yamux/1.0.0"],
  ["offers another multiplexer too", ["/mplex/6.7.0", "/yamux/1.0.0", "libp2p"], "frames", "/yamux/1.0.0"],
  ["offers another multiplexer only", ["/mplex/6.7.0", "libp2p"], "negotiation", "libp2p"],
  ["offers no ALPN, as existing nodes", undefined, "negotiation", false],
];
for (const [what, offer, opens, agreed] of offers) {
  test(`a dialler that ${what} connects, by ${opens}`, async () => {
    const { libp2p, said } = await application("listener");
    const dialled = await dialler(libp2p.getMultiaddrs()[0]!.toString(), offer, opens);
    assert.is(dialled.agreed, agreed);
    assert.ok(said.some(({ type }) => type === "gate.established"));
    dialled.socket.destroy();
    await libp2p.stop();
  });
}

test("a dialler that offers unknown protocols only is refused, with the same code on both runtimes", async () => {
  const { libp2p, said } = await application("listener");
  const { agreed } = await dialler(libp2p.getMultiaddrs()[0]!.toString(), ["h2", "/mplex/6.7.0"], "frames");
  assert.is(agreed, undefined);
  await until("the refusal", () => said.some(({ type }) => type === "gate.refused"));
  assert.equal(said.map((event) => event.type === "gate.refused" && event.refusal.code), ["protocol-mismatch"]);
  await libp2p.stop();
});

/** Listens with a choice; `verdict` is called once TLS is done, and the multiplexer answers after it, with `more` in one piece, `first` before it. */
async function listener(
  ALPNProtocols: string[] | undefined,
  verdict: (socket: TLSSocket) => Promise<unknown>,
  { first = Buffer.alloc(0), more = Buffer.alloc(0) } = {},
) {
  const sockets: Socket[] = [];
  const server = createServer(async (raw) => {
    sockets.push(raw);
    const before = new Reader(raw);
    await before.take("the proposal", tls);
    raw.pause();
    raw.removeAllListeners("data");
    raw.write(Buffer.concat([header, tls]));
    const choice = ALPNProtocols === undefined ? {} : { ALPNProtocols };
    const options = { isServer: true, requestCert: true, rejectUnauthorized: false, secureContext, ...choice };
    const socket = new TLSSocket(raw, options);
    socket.on("error", () => {});
    await new Promise<void>((resolve) => socket.once("secure", resolve));
    const reader = new Reader(socket);
    await verdict(socket);
    if (socket.destroyed) return;
    if (socket.alpnProtocol !== "/yamux/1.0.0") {
      await reader.take("the multiplexer", muxer);
      socket.write(Buffer.concat([header, muxer]));
    }
    await reader.take("the ping", ping("syn").subarray(0, 8));
    socket.write(Buffer.concat([first, ping("ack").subarray(0, 8), Buffer.alloc(4), more]));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: multiaddr(
      `/ip4/127.0.0.1/tcp/${(server.address() as { port: number }).port}/p2p/${identityOf(files).peer}`,
    ),
    stop: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const choices: [what: string, choice: string[] | undefined, negotiates: boolean][] = [
  ["agrees on the multiplexer", ["/yamux/1.0.0", "libp2p"], false],
  ["agrees on libp2p alone", ["libp2p"], true],
  ["ignores the offer, as existing nodes", undefined, true],
];
for (const [what, choice, negotiates] of choices) {
  test(`a listener that ${what} is connected to`, async () => {
    const { libp2p, said } = await application("dialler");
    const { address, stop } = await listener(choice, () => Promise.resolve());
    const steps: string[] = [];
    const connection = await libp2p.dial(address, { onProgress: ({ type }) => steps.push(type) });
    assert.is(connection.multiplexer, "/yamux/1.0.0");
    assert.is(steps.includes("upgrader:multiplex-outbound-connection"), negotiates);
    assert.equal(said.map(({ type }) => type), ["gate.verified", "gate.established"]);
    await libp2p.stop();
    stop();
  });
}

test("a dial ends when the listener has let the dialler in, not before", async () => {
  const { libp2p } = await application("dialler");
  const verdict = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const { address, stop } = await listener([...alpnProtocols], () => {
    asked.resolve();
    return verdict.promise;
  });
  let dialled = false;
  const dial = libp2p.dial(address).then(() => dialled = true);
  await asked.promise;
  await new Promise((resolve) => setTimeout(resolve, 100)); // nothing tells that a dial does not end
  assert.not.ok(dialled);
  verdict.resolve();
  await dial;
  await libp2p.stop();
  stop();
});

test("a listener that agreed and turns the dialler away fails its dial", async () => {
  const { libp2p, said } = await application("dialler");
  const { address, stop } = await listener([...alpnProtocols], (socket) => Promise.resolve(socket.destroy()));
  const outcome = await libp2p.dial(address).then(() => "connected", () => "refused");
  assert.is(outcome, "refused");
  await until("the end", () => said.length === 2);
  assert.is(said[0]?.type, "gate.verified");
  assert.is(said[1]?.type === "gate.refused" && said[1].refusal.code, "hung-up");
  await libp2p.stop();
  stop();
});

const stream = (nth: number) => Buffer.from([0, 1, 0, 1, 0, 0, nth >> 7, 2 * nth & 255, 0, 0, 0, 0]);
const ends: [what: string, more: Buffer<ArrayBuffer>][] = [
  ["ends its multiplexer with its answer", Buffer.from([0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
  ["opens eleven streams with its answer", Buffer.concat(Array.from({ length: 11 }, (_, at) => stream(at + 1)))],
];
for (const [what, more] of ends) {
  test(`bug: a dial succeeded to a listener that ${what}: the connection carried nothing`, async () => {
    const { libp2p, said } = await application("dialler");
    const { address, stop } = await listener([...alpnProtocols], () => Promise.resolve(), { more });
    assert.is(await libp2p.dial(address).then(() => "connected", () => "refused"), "refused");
    await until("the end", () => said.length === 2);
    assert.equal(said.map(({ type }) => type), ["gate.verified", "gate.refused"]);
    assert.equal(libp2p.getConnections(), []);
    await libp2p.stop();
    stop();
  });
}

test("bug: a dial failed to a listener that had more than ten streams to open at once; a node takes 128", async () => {
  for (const [count, outcome] of [[earlyStreamsMax, "connected"], [earlyStreamsMax + 1, "refused"]] as const) {
    const { libp2p, said } = await application("dialler", nodeMuxer() as ReturnType<typeof yamux>);
    const first = Buffer.concat(Array.from({ length: count }, (_, at) => stream(at + 1)));
    const { address, stop } = await listener([...alpnProtocols], () => Promise.resolve(), { first });
    assert.is(await libp2p.dial(address).then(() => "connected", () => "refused"), outcome, `${count} streams`);
    await until("both events", () => said.length === 2);
    const last = outcome === "connected" ? "gate.established" : "gate.refused";
    assert.equal(said.map(({ type }) => type), ["gate.verified", last]);
    await libp2p.stop();
    stop();
  }
  assert.is(earlyStreamsMax, 128);
});

test("two of ours agree inside TLS, and ask for nothing after it", async () => {
  const [a, b] = await Promise.all([application("a"), application("b")]);
  const steps: string[] = [];
  const connection = await a.libp2p.dial(b.libp2p.getMultiaddrs()[0]!, { onProgress: ({ type }) => steps.push(type) });
  assert.ok(steps.includes("upgrader:encrypt-outbound-connection"));
  assert.not.ok(steps.includes("upgrader:multiplex-outbound-connection"));
  assert.ok(b.said.some(({ type }) => type === "gate.established"), "the dial ends after the listener's verdict");
  await connection.close();
  await Promise.all([a.libp2p.stop(), b.libp2p.stop()]);
});

test("what was agreed on is read from the socket; a protocol that was not offered is none of ours", () => {
  assert.is(muxerAgreement("/yamux/1.0.0"), "yamux");
  for (const none of ["libp2p", false, null, undefined] as const) assert.is(muxerAgreement(none), "negotiation");
  for (const unknown of ["h2", "/mplex/6.7.0", ""]) assert.is(muxerAgreement(unknown), "unknown");
});

test.run();
