/**
 * A member in a process of its own that floods a node: so that the node's processor time is its process's. Takes its PKI and the
 * node's address as JSON on standard input, then a kind of flood and a count for each line, and prints each that is over.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes, randomUUID } from "node:crypto";
import process from "node:process";
import { createInterface } from "node:readline";
import { gossipsub, StrictSign } from "@libp2p/gossipsub";
import { identify, identifyPush } from "@libp2p/identify";
import type { Connection, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import {
  foreignProtocols,
  identification,
  madeUpAuthor,
  publication,
} from "../../scripts/attack/members/foreign_messages.ts";
import { prefixLength } from "../../transport/core/length_prefixed.ts";
import { kadProtocol } from "../../transport/core/wire.ts";
import { drained } from "../../transport/libp2p/drained.ts";
import { makeMtlsSecurity } from "../../transport/libp2p/mtls_security.ts";
import { libp2pKey } from "../../transport/libp2p/key.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { auditHeadsMax, encodeMessage, encodeWorkerRequest } from "../../transport/protocols/mod.ts";
import { ProtobufWriter } from "../../transport/protocols/protobuf.ts";
import { headMessage } from "../../actors/witness/held_head.ts";
import { headOf } from "./held_heads.ts";
import { framed, kadMessage, kadPeer } from "./kad_peers.ts";
import { identityOf, snapshotOf } from "./transports.ts";
import { aggregateSpec } from "./worker_world.ts";

const lines = createInterface({ input: process.stdin });
const commands = lines[Symbol.asyncIterator]();
const { node: given, trustPem, address } = JSON.parse((await commands.next()).value ?? "");
const chain = given.chain.map((hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16)));
const node = { ...given, der: chain[0], chain };
const identity = identityOf(node);
const security = makeMtlsSecurity({
  identity: () => identity,
  snapshot: snapshotOf({ trustPem } as Parameters<typeof snapshotOf>[0]),
  makeGate: makeGateFactory({ ports: { now: Date.now, report: () => {} } }),
  now: Date.now,
});
const libp2p = await createLibp2p({
  start: false,
  privateKey: await libp2pKey(identity),
  addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
  transports: [tcp()],
  connectionEncrypters: [security.encrypter],
  streamMuxers: [yamux()],
  connectionGater: { ...security.gater, denyDialMultiaddr: () => false },
  connectionMonitor: { enabled: false }, // its ping finds no place during a flood of pings, and would end the connection
  services: {
    identify: identify(),
    identifyPush: identifyPush(),
    pubsub: gossipsub({ globalSignaturePolicy: StrictSign, allowPublishToZeroTopicPeers: true }),
  },
});
await libp2p.start();
const connections: Connection[] = [await libp2p.dial(multiaddr(address))];
const { pubsub, identifyPush: pusher } = libp2p.services;
pubsub.subscribe(workerTopic);

/** What a push does once the service has waited for further changes. */
const undelayed = { push: (pusher as unknown as { sendPushMessage(): Promise<void> }).sendPushMessage.bind(pusher) };
const ended = (stream: Stream) => new Promise<void>((resolve) => stream.addEventListener("close", () => resolve()));

/** One stream after the other, so many at once: sends, ends, and reads to the end. */
async function exchanges(protocol: string, count: number, bytes?: Uint8Array): Promise<void> {
  const worker = async (nth: number) => {
    for (let at = nth; at < count; at += 8) {
      try {
        const stream = await connections[at % connections.length]!.newStream(protocol);
        stream.addEventListener("message", () => {});
        const over = ended(stream);
        const answered = new Promise<void>((resolve) => stream.addEventListener("remoteCloseWrite", () => resolve()));
        const hasEnded = stream.remoteWriteStatus === "closed";
        if (bytes === undefined && !hasEnded) await Promise.race([answered, over]);
        if (bytes !== undefined) stream.send(bytes);
        await stream.close();
        if (stream.status === "open") await over;
      } catch {
        // refused or reset: the next one
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, nth) => worker(nth)));
}

/** Questions in frames as large as they go, on one stream; over when all are answered, or the stream is. */
async function pipelined(count: number): Promise<void> {
  const stream = await connections[0]!.newStream(kadProtocol);
  let answers = 0;
  const over = new Promise<void>((resolve) => {
    stream.addEventListener("message", ({ data }) => {
      answers += data.byteLength;
      if (answers >= count * answerBytes) resolve();
    });
    stream.addEventListener("close", () => resolve());
  });
  const answerBytes = 8;
  const question = framed(kadMessage({ type: "FIND_NODE", key: randomBytes(32) }));
  const bytes = new Uint8Array(question.length * count);
  for (let at = 0; at < count; at++) bytes.set(question, at * question.length);
  for (let at = 0; at < bytes.length && stream.status === "open"; at += 16_384) {
    if (!stream.send(bytes.subarray(at, at + 16_384))) await stream.onDrain();
  }
  await stream.close();
  await over;
}

async function published(count: number): Promise<void> {
  for (let each = 0; each < count; each++) {
    const message = encodeWorkerRequest({
      id: randomUUID(),
      spec: { resources: { gpu: 1, cpu: 1, storage: 1, memory: 1 }, executor: [] },
      timeout: { secs_since_epoch: Math.ceil(Date.now() / 1_000) + 5, nanos_since_epoch: 0 },
      bid: 1,
    });
    await pubsub.publish(workerTopic, message);
  }
}

/** Messages that never end: so many streams, each with so many bytes. */
async function unfinished(protocol: string, count: number, bytes: number): Promise<void> {
  const piece = new Uint8Array(bytes);
  const length = bytes + 1; // which never comes
  piece.set([(length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, ((length >> 14) & 0x7f) | 0x80, length >> 21]);
  for (let each = 0; each < count; each++) {
    const connection = connections[each % connections.length]!;
    try {
      const stream = await connection.newStream(protocol, { maxOutboundStreams: count });
      stream.addEventListener("message", () => {});
      stream.send(piece);
    } catch {
      // too many
    }
  }
}

const hop = "/libp2p/circuit/relay/0.2.0/hop";

/** The relay's answer to a request on a new stream, which stays open. */
async function answered(request: Uint8Array): Promise<Stream> {
  const stream = await connections[0]!.newStream(hop);
  const answer = new Promise<void>((resolve) => stream.addEventListener("message", () => resolve(), { once: true }));
  stream.send(request);
  await answer;
  return stream;
}

function connectTo(peer: string): Uint8Array {
  const id = peerIdFromString(peer).toMultihash().bytes;
  return Uint8Array.of(id.length + 6, 0x08, 0x01, 0x12, id.length + 2, 0x0a, id.length, ...id);
}

/** So many megabytes through a circuit to itself, whose far end reads nothing; over where no more is taken for a second. */
async function unreadCircuit(megabytes: number): Promise<void> {
  let isMade = false;
  await libp2p.handle("/libp2p/circuit/relay/0.2.0/stop", (stream) => {
    isMade = true;
    stream.addEventListener("message", () => stream.pause());
    stream.send(Uint8Array.of(4, 0x08, 0x01, 0x20, 0x64)); // STATUS, OK
  });
  await answered(Uint8Array.of(2, 0x08, 0x00)); // RESERVE
  const stream = await answered(connectTo(libp2p.peerId.toString()));
  if (!isMade) process.exit(1); // there is nothing to flood
  const piece = new Uint8Array(65_536);
  for (let sent = 0; sent < megabytes * 1_048_576; sent += piece.length) {
    const stopped = AbortSignal.timeout(1_000);
    if (!stream.send(piece)) await drained(stream, stopped);
  }
}

/** Circuits to a peer, eight at once, each given up as soon as the relay has answered. */
async function circuits(count: number, to = ""): Promise<void> {
  const connect = connectTo(to);
  const worker = async (nth: number) => {
    for (let at = nth; at < count; at += 8) {
      try {
        const stream = await connections[0]!.newStream(hop, { maxOutboundStreams: 64 });
        const answered = new Promise<void>((resolve) => stream.addEventListener("message", () => resolve()));
        const over = ended(stream);
        stream.send(connect);
        await Promise.race([answered, over]);
        stream.abort(new Error("given up"));
      } catch {
        // refused: the next one
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, (_, nth) => worker(nth)));
}

/** Frames as large as gossipsub reads them, with as many small messages as go in, whose signatures are invalid; until the stream ends. */
async function unpaidGossip(): Promise<void> {
  const stream = await connections[0]!.newStream(foreignProtocols.gossip);
  const message = new ProtobufWriter().bytes(1, new Uint8Array(38)).bytes(2, new Uint8Array(20))
    .bytes(3, new Uint8Array(8)).bytes(4, Buffer.from(workerTopic)).bytes(5, new Uint8Array(64)).end();
  const writer = new ProtobufWriter();
  for (let each = 0; each < 800; each++) writer.bytes(2, message);
  const frame = prefixLength(writer.end());
  while (stream.status === "open") {
    if (!stream.send(frame)) await drained(stream);
  }
}

/** Large messages, 30 at once, each requested three times, while the streams that bring them are not read; until the stream ends. */
async function unreadGossip(): Promise<void> {
  const connection = connections[0]!;
  for (const stream of connection.streams) {
    if (stream.direction === "inbound" && stream.protocol.startsWith("/meshsub/")) stream.pause();
  }
  const stream = await connection.newStream(foreignProtocols.gossip);
  const author = madeUpAuthor();
  const sends = async (bytes: Uint8Array) => {
    if (!stream.send(bytes)) await drained(stream);
  };
  while (stream.status === "open") {
    const wanted = new ProtobufWriter();
    for (let each = 0; each < 30; each++) {
      const frame = publication(author, workerTopic, [randomBytes(120_000)]);
      // Behind the message's number come its topic and its signature. Its id: its author's key, and the number.
      const numberEnd = frame.length - 66 - 2 - workerTopic.length;
      wanted.bytes(1, Buffer.concat([author.multihash.subarray(2), frame.subarray(numberEnd - 8, numberEnd)]));
      await sends(frame);
    }
    const iwant = new ProtobufWriter().bytes(2, wanted.end()).end();
    const request = prefixLength(new ProtobufWriter().bytes(3, iwant).end());
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (let each = 0; each < 3; each++) await sends(request);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const health = "/hypha-health/0.0.1";
const api = "/hypha-api/0.0.1";
const progress = "/hypha-progress/0.0.1";
const crl = "/hypha-crl/1";
const audit = "/hypha-audit/1";
const floods: Readonly<Record<string, (count: number, to?: string) => Promise<void>>> = {
  request: (count) => exchanges(health, count, encodeMessage(health, "request", {})),
  "job for 250 peers": (count) => {
    const spec = aggregateSpec(Array.from({ length: 250 }, (_, each) => kadPeer(each)), randomUUID(), kadPeer(250));
    return exchanges(api, count, encodeMessage(api, "request", { DispatchJob: { id: randomUUID(), spec } }));
  },
  "request of 8,000 keys": (count) => {
    const keys = Array.from({ length: 8_000 }, (_, each) => [0x64, ...Buffer.from(String(each).padStart(4)), 0]);
    return exchanges(health, count, Uint8Array.from([0xb9, 8_000 >> 8, 8_000 & 0xff, ...keys.flat()]));
  },
  "8,000 metrics": (count) => {
    const metrics = Object.fromEntries(Array.from({ length: 8_000 }, (_, each) => [`metric ${each}`, each]));
    const message = { job_id: randomUUID(), progress: { metrics: { round: 1, metrics } } };
    return exchanges(progress, count, encodeMessage(progress, "request", message));
  },
  "crl piece": (count) =>
    exchanges(crl, count, encodeMessage(crl, "request", { Pull: { sha256: "00".repeat(32), offset: 0 } })),
  "audit proof": (count) =>
    exchanges(audit, count, encodeMessage(audit, "request", { Prove: { origin: "a/audit/b", old: 700, new: null } })),
  "audit heads": (count) => {
    const head = { ...headMessage(headOf("a/audit/b", 3)), chain };
    return exchanges(audit, count, encodeMessage(audit, "request", { Held: Array(auditHeadsMax).fill(head) }));
  },
  kad: pipelined,
  gossip: published,
  push: async (count) => {
    for (let each = 0; each < count; each++) await undelayed.push();
  },
  "push of 200 addresses": (count) => exchanges("/ipfs/id/push/1.0.0", count, identification(200)),
  identify: (count) => exchanges("/ipfs/id/1.0.0", count),
  ping: (count) => exchanges("/ipfs/ping/1.0.0", count, new Uint8Array(32)),
  relay: (count) => exchanges(hop, count, Uint8Array.of(2, 8, 0)),
  bytes: (count) => exchanges("/hypha-tensor-stream/push", count, new Uint8Array(1_048_576)),
  connections: async (count) => {
    for (let each = 0; each < count; each++) connections.push(await libp2p.dial(multiaddr(address), { force: true }));
  },
  circuits,
  "unread circuit": unreadCircuit,
  "gossip not affordable": unpaidGossip,
  "gossip not read": unreadGossip,
  hops: (count) => unfinished(hop, count, 3_900_000),
};

console.log("connected");
process.on("uncaughtException", () => {}); // the other side resets what it likes
process.on("unhandledRejection", () => {});
for await (const line of { [Symbol.asyncIterator]: () => commands }) {
  const { kind, count, to } = JSON.parse(line);
  await floods[kind]?.(count, to).catch(() => {});
  console.log(`${kind} over`);
}
process.exit(0);
