/**
 * The simple shapes of the network's messages: numbers, texts, identifiers.
 *
 * @module
 */
import { base58btc } from "multiformats/bases/base58";
import type { CborItem } from "./cbor_reader.ts";
import type { Peer, Uuid } from "./messages.ts";
import { type At, jsonKind, type Schema, struct } from "./schema.ts";

/** Text of at most `bytesMax` bytes of UTF-8, where that is given. */
export function text(bytesMax?: number): Schema<string> {
  const bounded = (value: string, at: At): string => {
    if (bytesMax !== undefined && new TextEncoder().encode(value).length > bytesMax) {
      return at.fail(`text of more than ${bytesMax} bytes`);
    }
    return value;
  };
  return {
    shape: bytesMax === undefined ? "text" : `text of at most ${bytesMax} bytes`,
    write: (out, value) => out.text(value),
    read: (item, at) => item.kind === "text" ? bounded(item.value, at) : at.fail(`expected text, got ${item.kind}`),
    fromJson: (value, at) =>
      typeof value === "string" ? bounded(value, at) : at.fail(`expected text, got ${jsonKind(value)}`),
    toJson: (value) => JSON.stringify(value),
  };
}

/** One of a closed list of names. */
export function oneOf<const Name extends string>(names: readonly Name[]): Schema<Name> {
  const known = (value: string, at: At): Name =>
    (names as readonly string[]).includes(value)
      ? value as Name
      : at.fail(`unknown name ${JSON.stringify(value.slice(0, 64))}`);
  const any = text();
  return {
    shape: { variants: names.map((name) => JSON.stringify(name)) },
    write: (out, value) => out.text(value),
    read: (item, at) => known(any.read(item, at), at),
    fromJson: (value, at) => known(any.fromJson(value, at), at),
    toJson: (value) => JSON.stringify(value),
  };
}

export const boolean: Schema<boolean> = {
  shape: "boolean",
  write: (out, value) => out.boolean(value),
  read: (item, at) => item.kind === "boolean" ? item.value : at.fail(`expected a boolean, got ${item.kind}`),
  fromJson: (value, at) => typeof value === "boolean" ? value : at.fail(`expected a boolean, got ${jsonKind(value)}`),
  toJson: (value) => String(value),
};

/** Raw bytes; in JSON a list of numbers, as the existing nodes' library has them. */
export const bytes: Schema<Uint8Array> = {
  shape: { list: "u8" },
  write: (out, value) => out.bytes(value),
  read: (item, at) => item.kind === "bytes" ? item.value.slice() : at.fail(`expected bytes, got ${item.kind}`),
  fromJson: (value, at) => {
    if (!Array.isArray(value)) return at.fail(`expected an array, got ${jsonKind(value)}`);
    return Uint8Array.from(value, (each, i) => u8.fromJson(each, at.key(i)));
  },
  toJson: (value) => JSON.stringify([...value]),
};

// ── Numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function integer(shape: string, min: number, max: number): Schema<number> {
  const bounded = (value: unknown, got: string, at: At): number =>
    typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max
      ? value
      : at.fail(`expected an integer from ${min} to ${max}, got ${got}`);
  return {
    shape,
    write: (out, value) => out.integer(value),
    read: (item, at) =>
      item.kind === "integer"
        ? bounded(item.value, String(item.value), at)
        : at.fail(`expected an integer, got ${item.kind}`),
    fromJson: (value, at) => bounded(value, typeof value === "number" ? String(value) : jsonKind(value), at),
    toJson: (value) => String(value),
  };
}

const u8 = integer("u8", 0, 0xff);
export const u32 = integer("u32", 0, 0xffff_ffff);
/** Up to 2^53 − 1: beyond it a number would not be exact, and nothing on this network counts so far. */
export const u64 = integer("u53", 0, Number.MAX_SAFE_INTEGER);
/** The existing nodes' step counts are signed; a negative one means nothing. */
export const i32NotNegative = integer("u31", 0, 0x7fff_ffff);

/** A finite 8-byte float. Prices, resources and rates that are NaN or infinite would break every comparison. */
export const f64: Schema<number> = {
  shape: "f64",
  write: (out, value) => out.f64(value),
  read: (item, at) => finite(float(item, 8, at), at),
  fromJson: (value, at) =>
    finite(typeof value === "number" ? value : at.fail(`expected a number, got ${jsonKind(value)}`), at),
  toJson: floatToJson,
};

/** A 4-byte float, rounded to that; may be NaN, as a loss may. JSON knows no NaN and takes null for it. */
export const f32: Schema<number> = {
  shape: "f32",
  write: (out, value) => out.f32(value),
  read: (item, at) => Math.fround(float(item, 4, at)),
  fromJson: (value, at) => {
    if (value === null) return NaN;
    return typeof value === "number" ? Math.fround(value) : at.fail(`expected a number, got ${jsonKind(value)}`);
  },
  toJson: floatToJson,
};

function finite(value: number, at: At): number {
  return Number.isFinite(value) ? value : at.fail(`expected a finite number, got ${value}`);
}

function float(item: CborItem, widthBytes: 4 | 8, at: At): number {
  if (item.kind === "integer" && at.buffered && at.floats === "exact") return Number(item.value);
  if (item.kind !== "float") return at.fail(`expected a float, got ${item.kind}`);
  const taken = at.floats === "shortest" || item.widthBytes === widthBytes || (at.buffered && item.widthBytes !== 2);
  return taken ? item.value : at.fail(`expected a float of ${widthBytes} bytes, got ${item.widthBytes}`);
}

/**
 * A float as the existing nodes write it in JSON: shortest digits, always a decimal point or an exponent, positional from
 * 1e-5 up to 1e16.
 */
function floatToJson(value: number): string {
  if (!Number.isFinite(value)) return "null";
  const [mantissa, exponent] = value.toExponential().split("e") as [string, string];
  const power = Number(exponent);
  if (value !== 0 && (power < -5 || power >= 16)) return `${mantissa}e${power}`;
  if (Object.is(value, -0)) return "-0.0";
  return Number.isInteger(value) ? `${BigInt(value)}.0` : String(value);
}

// ── Identifiers ─────────────────────────────────────────────────────────────────────────────────────────────────────

const uuidText = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** 16 bytes; in memory and in JSON the hyphenated text. */
export const uuid: Schema<Uuid> = {
  shape: "uuid",
  write: (out, value) => {
    if (!uuidText.test(value)) throw new TypeError("Cannot encode message: not a UUID");
    out.bytes(Uint8Array.from(value.replaceAll("-", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)));
  },
  read: (item, at) => {
    if (item.kind !== "bytes") return at.fail(`expected a UUID's 16 bytes, got ${item.kind}`);
    if (item.value.length !== 16) return at.fail(`expected a UUID's 16 bytes, got ${item.value.length}`);
    const hex = Array.from(item.value, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  },
  fromJson: (value, at) => {
    if (typeof value !== "string" || !uuidText.test(value)) return at.fail("expected a UUID as hyphenated text");
    return value.toLowerCase();
  },
  toJson: (value) => JSON.stringify(value),
};

/** Base58 of the longest PeerID (42 identity bytes and a head of two) has 60 characters; decoding is quadratic. */
const peerTextMax = 64;
const identityCode = 0x00;
const sha256Code = 0x12;
/** The longest key that stands in a PeerID itself rather than as its hash (libp2p, "Peer Ids"). */
const inlineKeyMaxBytes = 42;

/** A PeerID: its multihash as bytes; in memory and in JSON its base58 text. Inside a reference the text is taken too. */
export const peer: Schema<Peer> = {
  shape: "peer",
  write: (out, value) => {
    const bytes = multihashOf(value);
    if (bytes === undefined) throw new TypeError("Cannot encode message: not a PeerID");
    out.bytes(bytes);
  },
  read: (item, at) => {
    at.counts.peers += 1;
    if (item.kind === "text" && at.buffered) return peer.fromJson(item.value, at);
    if (item.kind !== "bytes") return at.fail(`expected a PeerID's bytes, got ${item.kind}`);
    return isPeerMultihash(item.value) ? base58btc.baseEncode(item.value) : at.fail("not a PeerID");
  },
  fromJson: (value, at) => {
    if (typeof value !== "string") return at.fail(`expected a PeerID as text, got ${jsonKind(value)}`);
    return multihashOf(value) === undefined ? at.fail("not a PeerID") : value;
  },
  toJson: (value) => JSON.stringify(value),
};

function isPeerMultihash(bytes: Uint8Array): boolean {
  const [code, length] = bytes;
  if (length !== bytes.length - 2) return false;
  return code === identityCode ? length <= inlineKeyMaxBytes : code === sha256Code && length === 32;
}

function multihashOf(peerText: string): Uint8Array | undefined {
  if (peerText.length > peerTextMax) return undefined;
  try {
    const bytes = base58btc.baseDecode(peerText);
    return isPeerMultihash(bytes) ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** A point in time. */
export const instant = struct<{ readonly secs_since_epoch: number; readonly nanos_since_epoch: number }>({
  secs_since_epoch: u64,
  nanos_since_epoch: u32,
});
