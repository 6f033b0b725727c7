/**
 * Names of keys in PKCS#11 tokens (RFC 7512): `pkcs11:token=acme;object=ca?module-path=/usr/lib/x.so&pin-source=file:/etc/pin`.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";

/** Longest URI, in characters. */
export const pkcs11UriCharactersMax = 4_096;
/** Longest value of an attribute, in octets. PKCS#11 has 32 for labels of tokens; paths of Linux have 4,095. */
export const pkcs11ValueBytesMax = 1_024;

/** The PIN of a token, or the file whose first line it is. */
export type PinSource = { readonly value: string } | { readonly file: string };

/** A key in a token. What is absent matches all. */
export interface Pkcs11Uri {
  /** The shared library that speaks to the token: an absolute path. */
  readonly module: string;
  /** Which token: at least one of these is there. */
  readonly token: {
    readonly label?: string | undefined;
    readonly serial?: string | undefined;
    readonly slotId?: number | undefined;
  };
  /** Label of the key (CKA_LABEL). */
  readonly object: string | undefined;
  /** Identifier of the key (CKA_ID), hexadecimal. */
  readonly id: string | undefined;
  readonly pin: PinSource | undefined;
}

/** The text is not the URI of a key. */
export class Pkcs11UriError extends Data.TaggedError("Pkcs11UriError")<{
  readonly problem: "too-long" | "malformed" | "unknown-attribute" | "repeated-attribute" | "missing" | "not-allowed";
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot read pkcs11 URI: ${this.detail}`;
  }
}

/** Whether the name of a key is a URI, not the path of a file, which messages show. One behind blanks is meant as a URI, and refused. */
export function isPkcs11Uri(text: string): boolean {
  return /^\s*pkcs11:/i.test(text);
}

const pathAttributes = ["token", "serial", "slot-id", "object", "id", "type"] as const;
const queryAttributes = ["module-path", "pin-source", "pin-value"] as const;

/**
 * Reads the URI of a private key.
 *
 * An attribute that is not known is refused: to ignore it could select another key. `type` must be `private` where it is given.
 *
 * @returns Each attribute decoded. An error shows no value: one of them may be the PIN.
 */
export function parsePkcs11Uri(text: string): Result.Result<Pkcs11Uri, Pkcs11UriError> {
  if (text.length > pkcs11UriCharactersMax) {
    return refuse("too-long", `it has more than ${pkcs11UriCharactersMax} characters`);
  }
  if (!/^pkcs11:/i.test(text)) return refuse("malformed", "it does not begin with pkcs11:");
  const [path = "", query = "", ...more] = text.slice("pkcs11:".length).split("?");
  if (more.length > 0) return refuse("malformed", "it has more than one question mark");
  return Result.gen(function* () {
    const inPath = yield* readAttributes(path, ";", pathAttributes);
    const inQuery = yield* readAttributes(query, "&", queryAttributes);
    const type = inPath.get("type");
    if (type !== undefined && textOf(type) !== "private") {
      return yield* refuse("not-allowed", "type is not private: the URI must name a private key");
    }
    const token = yield* tokenOf(inPath);
    const [object, id] = [inPath.get("object"), inPath.get("id")];
    if (object === undefined && id === undefined) {
      return yield* refuse("missing", "it names no key: add object= or id=");
    }
    const module = textOf(inQuery.get("module-path"));
    if (module === undefined) {
      return yield* refuse("missing", "it names no module: add ?module-path=/PATH/TO/MODULE.so");
    }
    if (!module.startsWith("/")) return yield* refuse("not-allowed", "module-path is not an absolute path");
    return { module, token, object: textOf(object), id: id && hexOf(id), pin: yield* pinOf(inQuery) };
  });
}

function refuse(problem: Pkcs11UriError["problem"], detail: string): Result.Result<never, Pkcs11UriError> {
  return Result.fail(new Pkcs11UriError({ problem, detail }));
}

/** The attributes of one part of the URI: decoded octets by name. */
function readAttributes(
  text: string,
  separator: string,
  known: readonly string[],
): Result.Result<ReadonlyMap<string, Uint8Array>, Pkcs11UriError> {
  const read = new Map<string, Uint8Array>();
  if (text === "") return Result.succeed(read);
  for (const part of text.split(separator)) {
    const [, name = "", value = ""] = /^([a-z-]{1,40})=(.*)$/s.exec(part) ?? [];
    if (name === "") return refuse("malformed", `a part is not NAME=VALUE; parts are separated by "${separator}"`);
    if (!known.includes(name)) {
      return refuse("unknown-attribute", `the attribute ${name} is not supported here; these are: ${known.join(", ")}`);
    }
    if (read.has(name)) return refuse("repeated-attribute", `the attribute ${name} stands there twice`);
    const octets = decodePercent(value);
    if (octets === undefined) return refuse("malformed", `${name} has a character that must be written as %XX`);
    if (octets.length === 0) return refuse("malformed", `${name} is empty`);
    if (octets.length > pkcs11ValueBytesMax) {
      return refuse("too-long", `${name} has more than ${pkcs11ValueBytesMax} octets`);
    }
    if (name !== "id" && textOf(octets) === undefined) {
      return refuse("malformed", `${name} is not UTF-8 without control characters`);
    }
    read.set(name, octets);
  }
  return Result.succeed(read);
}

/** Unreserved characters, and the reserved ones that RFC 7512 §2.3 allows; everything else is written as %XX. */
const plain = /^[A-Za-z0-9\-._~:[\]@!$'()*+,=/|]$/;

function decodePercent(text: string): Uint8Array | undefined {
  const octets: number[] = [];
  for (let index = 0; index < text.length; index++) {
    const character = text[index]!;
    if (character === "%") {
      const digits = text.slice(index + 1, index + 3);
      if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return undefined;
      octets.push(Number.parseInt(digits, 16));
      index += 2;
    } else if (plain.test(character)) octets.push(character.charCodeAt(0));
    else return undefined;
  }
  return Uint8Array.from(octets);
}

function textOf(octets: Uint8Array | undefined): string | undefined {
  if (octets === undefined) return undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
    // deno-lint-ignore no-control-regex
    return /[\u0000-\u001f\u007f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

function hexOf(octets: Uint8Array): string {
  return Array.from(octets, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

function tokenOf(attributes: ReadonlyMap<string, Uint8Array>): Result.Result<Pkcs11Uri["token"], Pkcs11UriError> {
  const [label, serial, slot] = ["token", "serial", "slot-id"].map((name) => textOf(attributes.get(name)));
  if (label === undefined && serial === undefined && slot === undefined) {
    return refuse("missing", "it names no token: add token=, serial= or slot-id=");
  }
  if (slot !== undefined && !/^\d{1,15}$/.test(slot)) return refuse("malformed", "slot-id is not a decimal number");
  return Result.succeed({ label, serial, slotId: slot === undefined ? undefined : Number(slot) });
}

/** RFC 7512 §2.4: a program as the source of a PIN (`|COMMAND`) is not allowed here. */
function pinOf(attributes: ReadonlyMap<string, Uint8Array>): Result.Result<PinSource | undefined, Pkcs11UriError> {
  const [value, source] = [textOf(attributes.get("pin-value")), textOf(attributes.get("pin-source"))];
  if (value !== undefined && source !== undefined) {
    return refuse("not-allowed", "pin-value and pin-source exclude each other");
  }
  if (value !== undefined) return Result.succeed({ value });
  if (source === undefined) return Result.succeed(undefined);
  const path = /^file:(?:\/\/(?=\/))?(.*)$/s.exec(source)?.[1] ?? source;
  if (!path.startsWith("/")) return refuse("not-allowed", "pin-source is not file: and an absolute path");
  return Result.succeed({ file: path });
}
