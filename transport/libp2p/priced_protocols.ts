/**
 * What streams of libp2p's own protocols cost the peer that opens them, and how much of them is held before it is understood.
 *
 * A service reads its messages by itself, some of them up to 4 MiB for each stream. What arrives is counted here before the service
 * sees it: a stream on which more comes than its protocol has to say is reset.
 *
 * @module
 */
import type { Connection, Stream, StreamHandler } from "@libp2p/interface";
import type { Uint8ArrayList } from "uint8arraylist";
import { relayFactor } from "../core/admission.ts";
import { priceOf, type Work } from "../core/prices.ts";
import type { WireListener } from "../core/wire.ts";
import type { PeerText } from "../port.ts";
import { need, needMethods } from "./moved_internal.ts";

/** Who pays. */
export type Payer = Pick<WireListener, "charge" | "refund" | "inTurn" | "giveUp">;

interface Row {
  readonly work: Work;
  /** What may come on a stream, in bytes; of a circuit: before it begins. */
  readonly bytesMax: number;
  /** A relay opens such streams for its members: it pays a sixteenth, as admission lets in sixteen times as many of its connections. */
  readonly by?: "relay";
  /** The stream may become a circuit, whose octets no member pays for: the bytes by which its request and the answer say so. */
  readonly circuit?: { readonly connects: readonly number[]; readonly agrees: readonly number[] };
}

/** The longest beginning of a request that is looked at: its length, and its first field. */
const headBytes = 8;
/** One message of identify is no longer, as libp2p reads it by default. A push may be a series of ten: none of ours is. */
const identifyBytesMax = 8_192;
/** Requests of the relay and of its circuits are a few hundred bytes. */
const relayBytesMax = 4_096;

/**
 * By protocol. A circuit begins with a `CONNECT` that is answered with `OK` (libp2p specification: "circuit-relay v2"); the type is
 * the first field of each request, the status the last one of the answer.
 */
const rows: Readonly<Record<string, Row>> = {
  "/ipfs/id/1.0.0": { work: "identify", bytesMax: 4_096 },
  "/ipfs/id/push/1.0.0": { work: "push", bytesMax: identifyBytesMax },
  "/libp2p/dcutr": { work: "dcutr", bytesMax: 65_536 },
  "/libp2p/circuit/relay/0.2.0/hop": {
    work: "relay",
    bytesMax: relayBytesMax,
    circuit: { connects: [0x08, 0x01], agrees: [0x28, 0x64] },
  },
  "/libp2p/circuit/relay/0.2.0/stop": {
    work: "relay",
    bytesMax: relayBytesMax,
    by: "relay",
    circuit: { connects: [0x08, 0x00], agrees: [0x20, 0x64] },
  },
};
/** libp2p's ping. A node that does not serve it answers that. */
export const pingProtocol = "/ipfs/ping/1.0.0";
/** Pings that may wait for an answer while the connection has no room for it, in bytes; a ping has 32. */
export const pingBytesWaitingMax = 1_024;

/** What arrives on a stream and what leaves it, before its user sees it. */
interface Watchable {
  /** What came with the negotiation. */
  readonly readBuffer: { subarray(): Uint8Array };
  onData(bytes: Uint8Array | Uint8ArrayList): void;
  send(bytes: Uint8Array | Uint8ArrayList): boolean;
}

/** The handler of a protocol. */
export interface PricedHandlers {
  /** Takes a stream in the moment in which it is opened. */
  readonly atOnce: StreamHandler;
  /** Takes one that waited for its turn. */
  readonly later: StreamHandler;
}

/**
 * Charges each stream of a protocol before its handler takes it. A handler that signs or verifies takes its stream when it is the
 * peer's turn: a member may open all its streams with one piece of bytes. Gossip is charged by its messages (`priced_gossip.ts`).
 */
export function priced(protocol: string, { atOnce, later }: PricedHandlers, payer: Payer): StreamHandler {
  const row = Object.hasOwn(rows, protocol) ? rows[protocol] : undefined;
  return (stream: Stream, connection: Connection) => {
    const peer = connection.remotePeer.toString();
    const share = row?.by === "relay" ? relayFactor : 1;
    payer.charge(peer, priceOf("stream") / share);
    if (row !== undefined) {
      watch(stream, row, (bytes) => payer.refund(peer, priceOf("bytes", bytes)));
      const turn = { peer, stream, us: priceOf(row.work) / share, payer };
      return inItsTurn(turn, (isLater) => (isLater ? later : atOnce)(stream, connection));
    }
    if (protocol === pingProtocol) {
      payer.charge(peer, priceOf("ping"));
      watchPings(stream);
    }
    return atOnce(stream, connection);
  };
}

/** Work on a stream, and who pays. */
interface Turn {
  readonly peer: PeerText;
  readonly stream: Stream;
  readonly us: number;
  readonly payer: Payer;
}

/** Resolves when the handler is done. Where the stream ends first, the handler does not take it, and nothing is charged. */
function inItsTurn({ peer, stream, us, payer }: Turn, take: (isLater: boolean) => void | Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const endsFirst = () => {
    payer.giveUp(peer, stream);
    resolve();
  };
  stream.addEventListener("close", endsFirst, { once: true });
  let isLater = false;
  payer.inTurn(peer, stream, us, () => {
    stream.removeEventListener("close", endsFirst);
    resolve((async () => await take(isLater))());
  });
  isLater = true;
  return promise;
}

function watchable(stream: Stream): Stream & Watchable {
  const known = stream as Stream & Watchable;
  needMethods(known, "@libp2p/utils", "stream", ["onData", "send"]);
  needMethods(need(known.readBuffer, "@libp2p/utils", "readBuffer in a stream"), "@libp2p/utils", "readBuffer", [
    "subarray",
  ]);
  return known;
}

function watch(given: Stream, { bytesMax, circuit }: Row, carried: (bytes: number) => void): void {
  const stream = watchable(given);
  const { onData, send } = stream;
  let head = stream.readBuffer.subarray().slice(0, headBytes);
  let arrived = stream.readBufferLength;
  let isCircuit = false;
  stream.onData = (data) => {
    if (isCircuit) carried(data.byteLength);
    else {
      if (head.length < headBytes) {
        head = Uint8Array.of(...head, ...data.subarray().subarray(0, headBytes - head.length));
      }
      arrived += data.byteLength;
      if (arrived > bytesMax) return stream.abort(new Error(`more than ${bytesMax} bytes`));
    }
    onData.call(stream, data);
  };
  if (circuit === undefined) return;
  stream.send = (data) => {
    // What is sent first is the answer.
    stream.send = send;
    isCircuit = begins(head, circuit.connects) && ends(data.subarray(), circuit.agrees);
    return send.call(stream, data);
  };
}

/**
 * A peer that takes no answer to its pings is not read on. A ping may come while the connection is full of a transfer to the same
 * peer: libp2p ends a connection whose ping is reset, so it waits.
 */
function watchPings(given: Stream): void {
  const stream = watchable(given);
  const { onData } = stream;
  let waiting = 0;
  stream.onData = (data) => {
    waiting = stream.writableNeedsDrain ? waiting + data.byteLength : 0;
    if (waiting > pingBytesWaitingMax) return stream.abort(new Error("it takes no answers"));
    onData.call(stream, data);
  };
}

/** Whether a message, behind its length, begins with these bytes. */
function begins(message: Uint8Array, bytes: readonly number[]): boolean {
  const from = message.findIndex((byte) => byte < 0x80) + 1;
  return bytes.every((byte, at) => message[from + at] === byte);
}

function ends(message: Uint8Array, bytes: readonly number[]): boolean {
  return bytes.every((byte, at) => message[message.length - bytes.length + at] === byte);
}
