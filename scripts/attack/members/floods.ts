/**
 * Floods: each sends one kind of work as fast as the node takes it, until its time is over or the connection is closed.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { kadProtocol } from "../../../transport/core/wire.ts";
import { prefixLength } from "../../../transport/core/length_prefixed.ts";
import { encodeKadMessage, type KadMessage } from "../../../transport/protocols/kad_record.ts";
import { workerTopic } from "../../../transport/protocols/messages.ts";
import { inboundStreamsMax } from "../../../transport/libp2p/node.ts";
import { encodeMessage } from "../../../transport/protocols/mod.ts";
import { yamux } from "../gate/members.ts";
import { pause } from "./attack.ts";
import {
  control,
  foreignProtocols,
  hopTo,
  identification,
  madeUpAuthor,
  madeUpPeer,
  publication,
  reserve,
  subscription,
} from "./foreign_messages.ts";
import { exchange, openStream, pour, wireBelow } from "./raw_member.ts";

/** Sends for a time; resolves with the number of messages. */
export type Flood = (connection: Connection, forMs: number) => Promise<number>;

/** Whether a flood goes on. */
const going = (connection: Connection, end: number) => connection.status === "open" && performance.now() < end;

/** Streams that are begun and left silent, more than the multiplexer takes: libp2p gives them up after ten seconds. */
const silentStreams = { count: 2 * inboundStreamsMax, everyMs: 5_000 };

/** Data frames of the muxer on streams that were never opened, below the muxer, and {@linkcode silentStreams}. */
const strayFrames: Flood = async (connection, forMs) => {
  const end = performance.now() + forMs;
  let sent = 0;
  let [stream, nextSilentAt] = [2_000_001, 0];
  const fate = await openStream(connection, foreignProtocols.ping).catch(() => undefined);
  if (fate === undefined) return sent; // other floods have all streams
  const frames = function* () {
    while (going(connection, end)) {
      if (performance.now() >= nextSilentAt) {
        nextSilentAt = performance.now() + silentStreams.everyMs;
        yield Buffer.concat(Array.from({ length: silentStreams.count }, () => yamux("window", "syn", stream += 2, 0)));
      }
      yield framesOfNoStream();
      sent += 64;
    }
  };
  await Promise.race([pour(wireBelow(fate.stream), frames()), pause(forMs + 500)]);
  return sent;
};

/** Pours a piece again and again on streams of a protocol; a stream that was ended is replaced. */
const pouring = (protocol: string, streams: number, messages: number, piece: () => Uint8Array): Flood =>
async (
  connection,
  forMs,
) => {
  const end = performance.now() + forMs;
  let sent = 0;
  const one = async () => {
    while (going(connection, end)) {
      try {
        const { stream } = await openStream(connection, protocol);
        const pieces = function* () {
          while (going(connection, end)) {
            sent += messages;
            yield piece();
          }
        };
        await pour(stream, pieces());
        stream.abort(new Error("enough"));
      } catch {
        await pause(5); // the node did not take the stream
      }
    }
  };
  await Promise.race([Promise.all(Array.from({ length: streams }, one)), pause(forMs + 500)]);
  return sent;
};

/** Opens a stream for each message. */
const repeating = (protocol: string, parallel: number, bytes: () => Uint8Array): Flood => async (connection, forMs) => {
  const end = performance.now() + forMs;
  let sent = 0;
  const one = async () => {
    while (going(connection, end)) {
      sent += 1;
      if (await exchange(connection, protocol, bytes(), 1_000) === undefined) await pause(1);
    }
  };
  await Promise.race([Promise.all(Array.from({ length: parallel }, one)), pause(forMs + 500)]);
  return sent;
};

const kad = (message: Partial<KadMessage> & Pick<KadMessage, "type">) =>
  prefixLength(encodeKadMessage({ closer: [], providers: [], ...message }));
const repeated = (count: number, one: () => Uint8Array) => Buffer.concat(Array.from({ length: count }, one));

/** Makes something when it is needed first: only attackers need it. */
const once = <T>(make: () => T): () => T => {
  let made: T | undefined;
  return () => made ??= make();
};

const kadQuestions = once(() => repeated(300, () => kad({ type: "FIND_NODE", key: randomBytes(32) })));
const kadRecord = () => {
  const key = randomBytes(16);
  return kad({ type: "PUT_VALUE", key, record: { key, value: new Uint8Array(16_000) } });
};
const kadRecords = once(() => repeated(16, kadRecord));
/** Each is sent once in a while: a node knows a message again. */
const publications = Array.from({ length: 40 }, () => once(() => repeated(50, publishes)));
const author = once(madeUpAuthor);
const publishes = () => publication(author(), workerTopic, [randomBytes(64)]);
const controls = once(() => repeated(4, () => control(workerTopic, 400)));
const subscriptions = once(() => repeated(500, () => subscription(randomBytes(8).toString("hex"))));
const identity = once(() => identification(200));
/** An odd number is one of the dialler's own streams. */
const framesOfNoStream = once(() =>
  Buffer.concat(Array.from({ length: 64 }, () => [yamux("data", "none", 1_000_001, 1_024), Buffer.alloc(1_024)]).flat())
);
const question = encodeMessage("/hypha-health/0.0.1", "request", {});

/** The head of a pull that claims a header of almost a megabyte, and part of it. */
const longHeader = Buffer.concat([Buffer.from([0xf0, 0xff, 0x0e, 0, 0, 0, 0, 0]), Buffer.alloc(262_144, 0x20)]);
let turn = 0;

/** The floods, by name. */
export const floods: Readonly<Record<string, Flood>> = {
  "kad-questions": pouring(kadProtocol, 8, 300, kadQuestions),
  "kad-bytes": pouring(kadProtocol, 8, 16, kadRecords),
  "identify": repeating(foreignProtocols.identify, 16, () => new Uint8Array()),
  "identify-push": repeating(foreignProtocols.identifyPush, 16, identity),
  "pings": pouring(foreignProtocols.ping, 4, 2_048, () => new Uint8Array(65_536)),
  "gossip-messages": pouring(foreignProtocols.gossip, 1, 50, () => publications[turn++ % publications.length]!()),
  "gossip-control": pouring(foreignProtocols.gossip, 1, 1_600, controls),
  "gossip-subscriptions": pouring(foreignProtocols.gossip, 1, 500, subscriptions),
  "reservations": repeating(foreignProtocols.hop, 16, () => reserve),
  "circuits": repeating(foreignProtocols.hop, 16, () => hopTo(madeUpPeer())),
  "requests": repeating("/hypha-health/0.0.1", 32, () => question),
  "streams": repeating("/hypha-api/0.0.1", 32, () => new Uint8Array()),
  "stray-frames": strayFrames,
  "pulls": pouring("/hypha-tensor-stream/pull", 8, 1, () => longHeader),
};
