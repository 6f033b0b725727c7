/**
 * Kademlia messages and records as the existing nodes write them: with a publisher (field 666) and a time to live (777)
 * in the record, which the JavaScript library drops (libp2p specification: "kad-dht", RPC messages).
 *
 * @module
 */
import { Result } from "effect";
import { MalformedMessage } from "./malformed.ts";
import { bytesOf, MalformedProtobuf, numberOf, protobufFields, ProtobufWriter } from "./protobuf.ts";

/** A record of the DHT. */
export interface KadRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** RFC 3339 text; the existing nodes leave it out. */
  readonly timeReceived?: string;
  /** The multihash of the PeerID that published it. */
  readonly publisher?: Uint8Array;
  /** Seconds. */
  readonly ttl?: number;
}

/** A peer as Kademlia messages name it. */
export interface KadPeer {
  readonly id: Uint8Array;
  readonly addresses: readonly Uint8Array[];
  readonly connection?: number;
}

/** Message types (libp2p specification: "kad-dht"). */
export const kadTypes = ["PUT_VALUE", "GET_VALUE", "ADD_PROVIDER", "GET_PROVIDERS", "FIND_NODE", "PING"] as const;

/** A Kademlia message, without its length prefix. */
export interface KadMessage {
  readonly type: (typeof kadTypes)[number];
  readonly clusterLevel?: number;
  readonly key?: Uint8Array;
  readonly record?: KadRecord;
  readonly closer: readonly KadPeer[];
  readonly providers: readonly KadPeer[];
}

/** Largest message that is read, in bytes: what the existing nodes allow is 16 KiB; a record of ours fits easily. */
export const kadMessageMaxBytes = 65_536;
/** Peers in a message, and fields in it and its peers and records, at most: an answer names 20 peers (Kademlia's k). */
export const kadPeersMax = 64;
export const kadFieldsMax = 4_096;

const publisherField = 666;
const ttlField = 777;

function guarded<A>(decode: () => A): Result.Result<A, MalformedMessage> {
  try {
    return Result.succeed(decode());
  } catch (error) {
    if (error instanceof MalformedProtobuf) {
      return Result.fail(new MalformedMessage({ path: "", reason: error.message }));
    }
    throw error;
  }
}

// ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Writes a record; fields that are absent are left out. */
export function encodeKadRecord({ key, value, timeReceived, publisher, ttl }: KadRecord): Uint8Array {
  return new ProtobufWriter()
    .bytes(1, key)
    .bytes(2, value)
    .bytes(5, timeReceived === undefined ? undefined : new TextEncoder().encode(timeReceived))
    .bytes(publisherField, publisher)
    .number(ttlField, ttl)
    .end();
}

/** Reads a record. Fields it does not know are skipped; key and value must be there. */
export function decodeKadRecord(bytes: Uint8Array): Result.Result<KadRecord, MalformedMessage> {
  return guarded(() => recordFrom(bytes));
}

function recordFrom(bytes: Uint8Array, bound?: { left: number }): KadRecord {
  const record: { -readonly [K in keyof KadRecord]?: KadRecord[K] } = {};
  for (const field of protobufFields(bytes, bound)) {
    if (field.field === 1) record.key = bytesOf(field);
    else if (field.field === 2) record.value = bytesOf(field);
    else if (field.field === 5) record.timeReceived = new TextDecoder().decode(bytesOf(field));
    else if (field.field === publisherField) record.publisher = bytesOf(field);
    else if (field.field === ttlField) record.ttl = numberOf(field);
  }
  const { key, value } = record;
  if (key === undefined || value === undefined) throw new MalformedProtobuf("record without key or value");
  return { ...record, key, value };
}

// ── Messages ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Writes a message in the order of the existing nodes: type, cluster level, key, record, peers. */
export function encodeKadMessage(message: KadMessage): Uint8Array {
  const type = kadTypes.indexOf(message.type);
  const writer = new ProtobufWriter()
    .number(1, type === 0 ? undefined : type)
    .number(10, message.clusterLevel)
    .bytes(2, message.key)
    .bytes(3, message.record === undefined ? undefined : encodeKadRecord(message.record));
  for (const peer of message.closer) writer.bytes(8, encodePeer(peer));
  for (const peer of message.providers) writer.bytes(9, encodePeer(peer));
  return writer.end();
}

function encodePeer({ id, addresses, connection }: KadPeer): Uint8Array {
  const writer = new ProtobufWriter().bytes(1, id);
  for (const address of addresses) writer.bytes(2, address);
  return writer.number(3, connection).end();
}

/** Reads a message. */
export function decodeKadMessage(bytes: Uint8Array): Result.Result<KadMessage, MalformedMessage> {
  return guarded(() => {
    if (bytes.byteLength > kadMessageMaxBytes) throw new MalformedProtobuf(`more than ${kadMessageMaxBytes} bytes`);
    const closer: KadPeer[] = [];
    const providers: KadPeer[] = [];
    const message: { -readonly [K in keyof KadMessage]?: KadMessage[K] } = {};
    const bound = { left: kadFieldsMax };
    for (const field of protobufFields(bytes, bound)) {
      if (field.field === 1) message.type = typeOf(numberOf(field));
      else if (field.field === 2) message.key = bytesOf(field);
      else if (field.field === 3) message.record = recordFrom(bytesOf(field), bound);
      else if (field.field === 8) closer.push(peerFrom(bytesOf(field), bound));
      else if (field.field === 9) providers.push(peerFrom(bytesOf(field), bound));
      else if (field.field === 10) message.clusterLevel = numberOf(field);
      if (closer.length + providers.length > kadPeersMax) throw new MalformedProtobuf(`more than ${kadPeersMax} peers`);
    }
    return { ...message, type: message.type ?? "PUT_VALUE", closer, providers };
  });
}

function typeOf(value: number): KadMessage["type"] {
  const type = kadTypes[value];
  if (type === undefined) throw new MalformedProtobuf(`message type ${value}`);
  return type;
}

function peerFrom(bytes: Uint8Array, bound: { left: number }): KadPeer {
  const addresses: Uint8Array[] = [];
  let id: Uint8Array | undefined;
  let connection: number | undefined;
  for (const field of protobufFields(bytes, bound)) {
    if (field.field === 1) id = bytesOf(field);
    else if (field.field === 2) addresses.push(bytesOf(field));
    else if (field.field === 3) connection = numberOf(field);
  }
  if (id === undefined) throw new MalformedProtobuf("peer without an id");
  return { id, addresses, ...(connection === undefined ? {} : { connection }) };
}
