/** What strangers do at the port: each is refused with its own code in time, and leaves nothing behind. */
import { Buffer } from "node:buffer";
import { connect, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hostileClient, hostileServer } from "../../scripts/attack/gate/hostile_tls.ts";
import { makeTestPki } from "../support/pki.ts";
import { descriptors, of, startTransport, type TestTransport, until } from "../support/transports.ts";

const test = suite("transportLogic and hostile peers");
const pki = await makeTestPki();
const a = await startTransport({ pki, name: "a" });
/** Its deadline is what ends strangers that wait; one that does something may be slower than that on a busy machine. */
const hasty = await startTransport({ pki, name: "hasty", handshakeTimeoutMs: 1_000 });
// It has no address, so that nobody dials it back and the number of sockets stays as it is.
const honest = await startTransport({ pki, name: "honest", listenAddresses: [] });
for (const { addresses: [address = ""] } of [a, hasty]) {
  for (let isDone = false, tries = 30; !isDone; tries--) {
    const { type } = await honest.ask({ type: "dial", id: address, target: { address } });
    isDone = type === "dial.done";
    assert.ok(isDone || tries > 0, "the honest peer is let in");
  }
}
hasty.facts.length = 0; // a dial that was too slow
a.send({ type: "serve", protocol: "/hypha-health/0.0.1" });
const before = descriptors();
const portOf = ({ addresses }: TestTransport) => Number((addresses[0] as string).split("/")[4]);

const frame = (text: string) => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)]);
const hello = Buffer.concat([frame("/multistream/1.0.0"), frame("/tls/1.0.0")]);

function dial(to: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(to, "127.0.0.1", () => resolve(socket));
    socket.on("error", reject);
  });
}

/** Negotiates `/tls/1.0.0` as a dialler; what came behind the answer. */
async function negotiate(socket: Socket): Promise<Buffer> {
  socket.write(hello);
  let read = Buffer.alloc(0);
  while (read.length < hello.length) {
    read = Buffer.concat([
      read,
      await new Promise<Buffer>((resolve) => socket.once("data", (b) => resolve(b as Buffer))),
    ]);
  }
  return read.subarray(hello.length);
}

/** What a stranger does on a fresh connection, and the code it gets. */
async function refused(attack: (socket: Socket) => unknown, code: string): Promise<void> {
  const victim = code === "handshake-timeout" ? hasty : a;
  const already = victim.facts.length;
  const socket = await dial(portOf(victim));
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.on("error", () => {});
  await attack(socket);
  const fact = await until(
    `a refusal ${code}`,
    () => victim.facts.slice(already).find((fact) => fact.type === "peer.refused"),
    30_000,
  );
  assert.is(fact.type === "peer.refused" && fact.refusal.code, code);
  socket.resume();
  await closed;
  assert.is(victim.facts.filter(of("peer.closed")).length, 0, "the honest peer was disturbed");
}

const rows: [name: string, attack: (socket: Socket) => unknown, code: string][] = [
  ["random bytes", (s) => s.write(Buffer.from("9f3a07c455aa00ff13", "hex")), "protocol-mismatch"],
  ["a short HTTP request", (s) => s.write("GET / HTTP/1.1\r\n\r\n"), "protocol-mismatch"],
  [
    "TLS without multistream-select",
    (s) => connectTls({ socket: s, rejectUnauthorized: false }).on("error", () => {}),
    "protocol-mismatch",
  ],
  [
    "the preamble, and something else",
    (s) => s.write(Buffer.concat([hello.subarray(0, 20), Buffer.from("GET / HTTP")])),
    "handshake-timeout",
  ],
  ["silence", () => {}, "handshake-timeout"],
  ["half the preamble, then silence", (s) => s.write(hello.subarray(0, 9)), "handshake-timeout"],
  [
    "half a ClientHello, then silence",
    (s) => s.write(Buffer.concat([hello, Buffer.from("16030102000100", "hex")])),
    "handshake-timeout",
  ],
  ["a hang-up", (s) => s.destroy(), "hung-up"],
  ["a hang-up after the preamble", async (s) => (await negotiate(s), s.destroy()), "hung-up"],
  [
    "random bytes in place of TLS",
    async (s) => (await negotiate(s), s.write(Buffer.alloc(64, 0x55))),
    "protocol-mismatch",
  ],
  ["HTTP in place of TLS", async (s) => (await negotiate(s), s.write("GET / HTTP/1.1\r\n\r\n")), "protocol-mismatch"],
  ["TLS 1.2", async (s) => {
    await negotiate(s);
    connectTls({ socket: s, rejectUnauthorized: false, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" }).on(
      "error",
      () => {},
    );
  }, "tls-version"],
  ["TLS without a certificate", async (s) => {
    await negotiate(s);
    connectTls({ socket: s, rejectUnauthorized: false, minVersion: "TLSv1.3" }).on("error", () => {});
  }, "no-certificate"],
  ["TLS with an empty Certificate message", async (s) => {
    const ahead = await negotiate(s);
    void hostileClient(s, { chain: [], keyPem: "" }, { ahead });
  }, "no-certificate"],
];
for (const [name, attack, code] of rows) test(`${name}: ${code}`, () => refused(attack, code));

test("a certificate that is no X.509, with its key: tls-failed, and nothing is thrown", async () => {
  const member = await pki.node("malformed");
  for (const octet of [4, 8, 10]) {
    const leaf = Buffer.from(member.chain[0] as Uint8Array);
    leaf[octet] = (leaf[octet] as number) ^ 0x40;
    await refused(async (socket) => {
      const ahead = await negotiate(socket);
      const then = Buffer.concat([frame("/multistream/1.0.0"), frame("/yamux/1.0.0")]);
      const outcome = await hostileClient(socket, { ...member, chain: [leaf] }, { ahead, then });
      assert.is(outcome.applicationBytes, 0);
    }, "tls-failed");
  }
});

test("a certificate without its key, dialling: tls-failed", async () => {
  const [victim, thief] = [await pki.node("victim"), await pki.node("thief")];
  await refused(async (socket) => {
    const ahead = await negotiate(socket);
    const then = Buffer.concat([frame("/multistream/1.0.0"), frame("/yamux/1.0.0")]);
    const outcome = await hostileClient(socket, { chain: victim.chain, keyPem: thief.keyPem }, { ahead, then });
    assert.is(outcome.sent, true);
    assert.is(outcome.applicationBytes, 0, "the muxer answered a peer without a verdict");
  }, "tls-failed");
});

test("the same handshake with the right key is let in: the hostile end speaks real TLS", async () => {
  const member = await pki.node("member");
  const refusals = () => hasty.facts.flatMap((fact) => of("peer.refused")(fact) ?? []);
  // On a busy machine TLS itself may take longer than the deadline: then it is done again.
  for (let tries = 30; refusals().at(-1)?.peer?.name !== "member"; tries--) {
    assert.ok(tries > 0, "it is let in");
    const already = refusals().length;
    const socket = await dial(portOf(hasty));
    const answered = negotiate(socket).then((ahead) => hostileClient(socket, member, { ahead }));
    answered.catch(() => {}); // refused in the middle of it
    // Verified, then waiting for the muxer: the gate's deadline ends that too.
    await until("a refusal", () => refusals().length > already, 30_000);
    socket.destroy();
  }
  assert.is(refusals().at(-1)?.refusal.code, "handshake-timeout");
});

test("a certificate without its key, listening: tls-failed at the dialler", async () => {
  const [victim, thief] = [await pki.node("victim"), await pki.node("thief")];
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      socket.write(hello);
      void hostileServer(socket, { chain: victim.chain, keyPem: thief.keyPem });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const dialler = await startTransport({ pki, name: "dialler", keyExchange: "classical" });
  const { port } = server.address() as { port: number };
  const answer = await dialler.ask({ type: "dial", id: "1", target: { address: `/ip4/127.0.0.1/tcp/${port}` } });
  assert.is(answer.type === "dial.failed" && answer.refusal.code, "tls-failed");
  assert.is((await dialler.fact(of("peer.refused"))).refusal.code, "tls-failed");
  await dialler.stop();
  server.close();
});

test("an HTTP server that is dialled: protocol-mismatch", async () => {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const answer = await honest.ask({ type: "dial", id: "2", target: { address: `/ip4/127.0.0.1/tcp/${port}` } });
  assert.is(answer.type === "dial.failed" && answer.refusal.code, "protocol-mismatch");
  server.close();
});

test("every descriptor is released", async () => {
  // Sixteen strangers were here. Deno opens a pair of sockets for itself at some time after its start.
  await until("descriptors back", () => descriptors() <= before + 2, 10_000);
});

test("the honest peer was served throughout", async () => {
  const question = { type: "request", id: "h", peer: a.peer, protocol: "/hypha-health/0.0.1", message: {} } as const;
  const answer = honest.ask({ ...question, timeoutMs: 30_000 });
  const { exchange } = await a.fact(of("request.received"));
  a.send({ type: "respond", exchange, message: { healthy: true } });
  assert.is((await answer).type, "response");
  await Promise.all([a.stop(), hasty.stop(), honest.stop()]);
});

test.run();
