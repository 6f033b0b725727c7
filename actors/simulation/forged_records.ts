/**
 * Messages of Kademlia that carry records, as hostile members ask and answer them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { peerIdFromString } from "@libp2p/peer-id";
import { Result } from "effect";
import { base58btc } from "multiformats/bases/base58";
import { MessageReader, prefixLength } from "../../transport/core/length_prefixed.ts";
import { kadProtocol, type StreamListener, type WireConnection, type WireStream } from "../../transport/core/wire.ts";
import type { PeerText } from "../../transport/port.ts";
import {
  decodeKadMessage,
  encodeKadMessage,
  type KadMessage,
  kadMessageMaxBytes,
  type KadRecord,
} from "../../transport/protocols/kad_record.ts";
import { forgedSlices } from "./check_members.ts";
import type { HostileMember } from "./hostile_member.ts";

/** The key of the run's data set. */
export const datasetKey = new TextEncoder().encode("digits");
/** A value that decodes: what does not is found out by itself. No data set of a run has so many slices. */
export const liarsValue = new TextEncoder().encode(`{"num_slices":${forgedSlices}}`);

/** Sends one message to a node; `done` receives the record of its answer. */
export function askForRecord(
  { hostile }: HostileMember,
  connection: WireConnection,
  message: KadMessage,
  done: (record: KadRecord | undefined) => void = () => {},
): void {
  if (!connection.isOpen) return;
  hostile.exchange(connection, kadProtocol, prefixLength(encodeKadMessage(message)), ({ bytes }) => {
    done(messageIn(bytes)?.record);
  });
}

/** Puts a record. */
export function put(record: KadRecord): KadMessage {
  return { type: "PUT_VALUE", key: record.key, record, closer: [], providers: [] };
}

/** Looks a key up. */
export function get(key: Uint8Array): KadMessage {
  return { type: "GET_VALUE", key, closer: [], providers: [] };
}

function messageIn(bytes: Uint8Array): KadMessage | undefined {
  const reader = new MessageReader(kadMessageMaxBytes);
  reader.append(bytes);
  const message = reader.next();
  return message instanceof Uint8Array ? Result.getOrUndefined(decodeKadMessage(message)) : undefined;
}

/** Reads one message and answers it; what gets no answer is ended. */
export function answering(stream: WireStream, answer: (message: KadMessage) => KadMessage | undefined): StreamListener {
  const chunks: Uint8Array[] = [];
  let isAnswered = false;
  return {
    data: (bytes) => {
      if (isAnswered) return;
      chunks.push(bytes);
      const message = messageIn(Buffer.concat(chunks));
      if (message === undefined) return;
      isAnswered = true;
      const reply = answer(message);
      stream.end(reply === undefined ? undefined : prefixLength(encodeKadMessage(reply)));
    },
    ended: () => {},
    closed: () => {},
  };
}

/** A PeerID as records name their publisher. */
export const multihashOf = (peer: PeerText): Uint8Array => peerIdFromString(peer).toMultihash().bytes;

/** The publisher that a record names. */
export function peerOf({ publisher }: KadRecord): PeerText | undefined {
  if (publisher === undefined) return undefined;
  return base58btc.baseEncode(publisher);
}
