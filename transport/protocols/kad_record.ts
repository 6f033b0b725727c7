/**
 * Kademlia messages and records as the existing nodes write them: with a publisher (field 666) and a time to live (777)
 * in the record, which the JavaScript library drops (libp2p specification: "kad-dht", RPC messages).
 *
 * @module
 */
import { Result } from "effect";
import { MalformedMessage } from "./malformed.ts";

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

const publisherField = 666;
const ttlField = 777;

// ── Protocol buffers, as little as is needed ────────────────────────────────────────────────────────────────────────

class Writer {
  readonly #bytes: number[] = [];
  varint(value: number): this {
    while (value > 0x7f) {
      this.#bytes.push((value % 0x80) | 0x80);
      value = Math.floor(value / 0x80);
    }
    this.#bytes.push(value);
    return this;
  }
  number(field: number, value: number | undefined): this {
    return value === undefined ? this : this.varint(field * 8).varint(value);
  }
  bytes(field: number, value: Uint8Array | undefined): this {
    if (value === undefined) return this;
    this.varint(field * 8 + 2).varint(value.byteLength);
    for (const byte of value) this.#bytes.push(byte);
    return this;
  }
  end(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

type Field = { readonly field: number; readonly value: number | Uint8Array };

class Malformed extends Error {}

function varint(bytes: Uint8Array, at: number): [value: number, next: number] {
  let value = 0;
  let factor = 1;
  for (let index = at; index < at + 10; index++) {
    const byte = bytes[index];
    if (byte === undefined) throw new Malformed("cut off inside a number");
    value += (byte & 0x7f) * factor;
    factor *= 0x80;
    if (byte < 0x80) {
      if (!Number.isSafeInteger(value)) throw new Malformed("number over 2^53");
      return [value, index + 1];
    }
  }
  throw new Malformed("number of more than ten bytes");
}

/** The fields of a message in their order. Unknown wire types are refused; unknown fields are the caller's to skip. */
function* fields(given: Uint8Array): Generator<Field> {
  // A plain view: a Buffer's slices would be Buffers.
  const bytes = new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  let at = 0;
  while (at < bytes.byteLength) {
    const [tag, afterTag] = varint(bytes, at);
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) {
      const [value, next] = varint(bytes, afterTag);
      yield { field, value };
      at = next;
    } else if (wire === 2) {
      const [length, start] = varint(bytes, afterTag);
      if (start + length > bytes.byteLength) throw new Malformed("cut off inside a field");
      yield { field, value: bytes.subarray(start, start + length) };
      at = start + length;
    } else if (wire === 1 || wire === 5) {
      at = afterTag + (wire === 1 ? 8 : 4);
      if (at > bytes.byteLength) throw new Malformed("cut off inside a field");
    } else throw new Malformed(`wire type ${wire}`);
  }
}

function bytesOf({ field, value }: Field): Uint8Array {
  if (typeof value === "number") throw new Malformed(`field ${field} is a number`);
  return value;
}

function numberOf({ field, value }: Field): number {
  if (typeof value !== "number") throw new Malformed(`field ${field} is not a number`);
  return value;
}

function guarded<A>(decode: () => A): Result.Result<A, MalformedMessage> {
  try {
    return Result.succeed(decode());
  } catch (error) {
    if (error instanceof Malformed) return Result.fail(new MalformedMessage({ path: "", reason: error.message }));
    throw error;
  }
}

// ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Writes a record; fields that are absent are left out. */
export function encodeKadRecord({ key, value, timeReceived, publisher, ttl }: KadRecord): Uint8Array {
  return new Writer()
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

function recordFrom(bytes: Uint8Array): KadRecord {
  const record: { -readonly [K in keyof KadRecord]?: KadRecord[K] } = {};
  for (const field of fields(bytes)) {
    if (field.field === 1) record.key = bytesOf(field);
    else if (field.field === 2) record.value = bytesOf(field);
    else if (field.field === 5) record.timeReceived = new TextDecoder().decode(bytesOf(field));
    else if (field.field === publisherField) record.publisher = bytesOf(field);
    else if (field.field === ttlField) record.ttl = numberOf(field);
  }
  const { key, value } = record;
  if (key === undefined || value === undefined) throw new Malformed("record without key or value");
  return { ...record, key, value };
}

// ── Messages ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Writes a message in the order of the existing nodes: type, cluster level, key, record, peers. */
export function encodeKadMessage(message: KadMessage): Uint8Array {
  const type = kadTypes.indexOf(message.type);
  const writer = new Writer()
    .number(1, type === 0 ? undefined : type)
    .number(10, message.clusterLevel)
    .bytes(2, message.key)
    .bytes(3, message.record === undefined ? undefined : encodeKadRecord(message.record));
  for (const peer of message.closer) writer.bytes(8, encodePeer(peer));
  for (const peer of message.providers) writer.bytes(9, encodePeer(peer));
  return writer.end();
}

function encodePeer({ id, addresses, connection }: KadPeer): Uint8Array {
  const writer = new Writer().bytes(1, id);
  for (const address of addresses) writer.bytes(2, address);
  return writer.number(3, connection).end();
}

/** Reads a message. */
export function decodeKadMessage(bytes: Uint8Array): Result.Result<KadMessage, MalformedMessage> {
  return guarded(() => {
    if (bytes.byteLength > kadMessageMaxBytes) throw new Malformed(`more than ${kadMessageMaxBytes} bytes`);
    const closer: KadPeer[] = [];
    const providers: KadPeer[] = [];
    const message: { -readonly [K in keyof KadMessage]?: KadMessage[K] } = {};
    for (const field of fields(bytes)) {
      if (field.field === 1) message.type = typeOf(numberOf(field));
      else if (field.field === 2) message.key = bytesOf(field);
      else if (field.field === 3) message.record = recordFrom(bytesOf(field));
      else if (field.field === 8) closer.push(peerFrom(bytesOf(field)));
      else if (field.field === 9) providers.push(peerFrom(bytesOf(field)));
      else if (field.field === 10) message.clusterLevel = numberOf(field);
    }
    return { ...message, type: message.type ?? "PUT_VALUE", closer, providers };
  });
}

function typeOf(value: number): KadMessage["type"] {
  const type = kadTypes[value];
  if (type === undefined) throw new Malformed(`message type ${value}`);
  return type;
}

function peerFrom(bytes: Uint8Array): KadPeer {
  const addresses: Uint8Array[] = [];
  let id: Uint8Array | undefined;
  let connection: number | undefined;
  for (const field of fields(bytes)) {
    if (field.field === 1) id = bytesOf(field);
    else if (field.field === 2) addresses.push(bytesOf(field));
    else if (field.field === 3) connection = numberOf(field);
  }
  if (id === undefined) throw new Malformed("peer without an id");
  return { id, addresses, ...(connection === undefined ? {} : { connection }) };
}
