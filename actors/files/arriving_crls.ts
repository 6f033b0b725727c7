/**
 * Revocation lists that came from peers or by HTTP, in the state directory: gathered aside, verified, moved into place.
 *
 * ```
 * state_dir/crls/.incoming/SHA256          pieces so far
 * state_dir/crls/.incoming/SHA256-fetched  by HTTP, whole: pieces may come meanwhile
 * state_dir/crls/DOMAIN/…                  verified lists (`state_directory.ts`)
 * ```
 *
 * A list gets into place only with the signature of the key that it is asked for. What it then means is the trust store's to decide.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { Data, Effect, Option } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { PlatformError } from "effect/PlatformError";
import type { Certificate } from "../../pki/certificate.ts";
import { compareNumbers, crlBytesMax, type HeldCrl, keyOfCrl } from "../../pki/crl.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { scopeName } from "../../pki/crl_scope.ts";
import type { Policy } from "../../pki/trust.ts";
import { isThere } from "./is_there.ts";
import { readCrls } from "./read_crls.ts";
import { readBytes } from "./read_whole.ts";
import { type KeptKind, keptPath, makeStateDirectory } from "./state_directory.ts";
import { writeWhole } from "./write_whole.ts";

/** Bytes that are read from a file at once. */
const chunkBytes = 256 * 1024;
/** Bytes of lists that contradict others, in one file. */
const otherBytesMax = crlBytesMax;

/** A key whose lists a node takes. */
export interface CrlIssuer {
  /** The trust domain, as marks name it. */
  readonly domain: string;
  /** SHA-256 of the key, lower-case hexadecimal. */
  readonly key: string;
  readonly certificate: Certificate;
  readonly policy: Policy;
}

/** A list that was verified and lies in its place. */
export interface LearnedCrl {
  readonly domain: string;
  /** SHA-256 of the key that signed it. */
  readonly key: string;
  readonly scope: string;
  readonly kind: KeptKind;
  readonly number: string;
  readonly baseNumber: string | undefined;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly thisUpdate: Date;
  readonly path: string;
}

/** What became of a list that had arrived. */
export type CrlArrival =
  | { readonly type: "taken"; readonly crl: LearnedCrl }
  /** Its `thisUpdate` lies ahead: it stays aside. */
  | { readonly type: "ahead"; readonly until: Date }
  /** There is a newer one, or it is there already. */
  | { readonly type: "old" }
  /** Its bytes are there no longer. */
  | { readonly type: "lost" }
  /** It is not what was asked for, or nothing that its issuer signed. */
  | { readonly type: "wrong"; readonly detail: string };

/** The state directory could not be read or written. */
export class CrlNotStored extends Data.TaggedError("CrlNotStored")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot store revocation list: ${this.detail}`;
  }
}

const stored = <A, R>(effect: Effect.Effect<A, Error, R>): Effect.Effect<A, CrlNotStored, R> =>
  Effect.mapError(
    effect,
    (error) => error instanceof CrlNotStored ? error : new CrlNotStored({ detail: error.message }),
  );

const incomingFolder = (stateDir: string) => join(stateDir, "crls", ".incoming");
/** Where the pieces of a list are gathered. */
export const incomingPath = (stateDir: string, sha256: string): string => join(incomingFolder(stateDir), sha256);
const fetchedName = (sha256: string) => `${sha256}-fetched`;

/** Makes the folder for lists that arrive, and removes what an earlier run left in it. */
export function clearIncoming(stateDir: string): Effect.Effect<void, CrlNotStored, FileSystem> {
  return stored(Effect.gen(function* () {
    const files = yield* FileSystem;
    const folder = incomingFolder(stateDir);
    yield* makeIncoming(stateDir);
    for (const name of yield* files.readDirectory(folder)) yield* files.remove(join(folder, name), { force: true });
  }));
}

const makeIncoming = Effect.fnUntraced(function* (stateDir: string) {
  yield* makeStateDirectory(stateDir);
  yield* (yield* FileSystem).makeDirectory(incomingFolder(stateDir), { recursive: true, mode: 0o700 });
});

/** Puts a piece at its offset, behind which nothing stays: a write that broke off before is overwritten. The first one makes the folder. */
export function addPiece(
  stateDir: string,
  { sha256, offset, bytes }: { readonly sha256: string; readonly offset: number; readonly bytes: Uint8Array },
): Effect.Effect<void, CrlNotStored, FileSystem> {
  const path = incomingPath(stateDir, sha256);
  return stored(Effect.scoped(Effect.gen(function* () {
    const files = yield* FileSystem;
    if (offset === 0 && !(yield* isThere(dirname(path)))) yield* makeIncoming(stateDir);
    const file = yield* files.open(path, { flag: offset === 0 ? "w" : "r+", mode: 0o600 });
    const { size } = yield* file.stat;
    if (Number(size) < offset) yield* new CrlNotStored({ detail: `${path} has ${size} bytes, not ${offset}` });
    yield* file.truncate(offset);
    yield* file.seek(BigInt(offset), "start");
    yield* file.writeAll(bytes);
  })));
}

/** Names a list that was fetched: its SHA-256 was not known before it was whole. */
export function nameIncoming(
  stateDir: string,
  before: string,
  sha256: string,
): Effect.Effect<void, CrlNotStored, FileSystem> {
  const [from, to] = [incomingPath(stateDir, before), incomingPath(stateDir, fetchedName(sha256))];
  return stored(Effect.flatMap(FileSystem, (files) => files.rename(from, to)));
}

/** Removes what arrived of a list. */
export function dropIncoming(stateDir: string, sha256: string): Effect.Effect<void, never, FileSystem> {
  const paths = [sha256, fetchedName(sha256)].map((name) => incomingPath(stateDir, name));
  return Effect.forEach(paths, removeFile, { discard: true });
}

const removeFile = (path: string) =>
  Effect.ignore(Effect.flatMap(FileSystem, (files) => files.remove(path, { force: true })));

/** What {@linkcode takeCrl} compares a list with. */
export interface CrlTerms {
  readonly stateDir: string;
  /** SHA-256 of the list. */
  readonly sha256: string;
  /** Bytes that arrived. */
  readonly sizeBytes: number;
  /** It was fetched by HTTP, into a file of its own. */
  readonly isFetched?: boolean | undefined;
  /** The node has this list: what arrived is removed. */
  readonly isHeld?: boolean | undefined;
  /** The key that must have signed it. */
  readonly issuer: CrlIssuer;
  /** The newest list that the node has in its place, complete or delta. */
  readonly newest: (list: { readonly scope: string; readonly kind: "complete" | "delta" }) => string | undefined;
  /** The number of the delta that is in force on the complete list of a scope. */
  readonly effective: (scope: string) => string | undefined;
  readonly at: Date;
}

/**
 * Verifies a list that has arrived, and moves it into its place. What is wrong or old is removed. A list with the number of
 * one that the node has, and other content, is put beside it: its entries count too.
 */
export function takeCrl(terms: CrlTerms): Effect.Effect<CrlArrival, CrlNotStored, FileSystem | Path> {
  const { stateDir, sha256, isFetched = false, isHeld = false, issuer, at } = terms;
  const path = incomingPath(stateDir, isFetched ? fetchedName(sha256) : sha256);
  return stored(Effect.gen(function* () {
    if (!(yield* isThere(path))) return { type: isHeld ? "old" : "lost" } as const;
    const read = isHeld ? undefined : yield* readVerified(path, terms);
    const arrival = read === undefined
      ? { type: "old" } as const
      : typeof read === "string"
      ? { type: "wrong", detail: read } as const
      : judge(read, terms);
    if (arrival.type === "wrong" || arrival.type === "old") yield* removeFile(path);
    if (arrival.type !== "fits") return arrival;
    const { list, scope, kind } = arrival;
    if (list.thisUpdate > at) return { type: "ahead", until: list.thisUpdate } as const;
    const target = keptPath(stateDir, { domain: issuer.domain, key: issuer.key, scope, kind });
    yield* (yield* FileSystem).makeDirectory(dirname(target), { recursive: true, mode: 0o700 });
    yield* kind === "other" ? addOther(path, target) : moveInto(path, target);
    const { number, baseNumber, sizeBytes, thisUpdate } = list;
    const { domain, key } = issuer;
    const crl = { domain, key, scope, kind, number, baseNumber, sha256, sizeBytes, thisUpdate, path: target };
    return { type: "taken", crl } as const;
  }));
}

/** A list with what a list that travels must have. */
type NumberedCrl = HeldCrl & { readonly number: string; readonly sizeBytes: number };

/** The list in a file, or why it is none that was asked for. */
function readVerified(path: string, terms: CrlTerms) {
  const { sha256, sizeBytes: arrived, issuer: { certificate, key, policy } } = terms;
  const cas = [certificate];
  const options = { path, what: "revocation list", bytesMax: crlBytesMax, key: "state_dir" };
  const verify = Effect.gen(function* () {
    const source = yield* readCrls(options, { cas, policy });
    const located = source instanceof Uint8Array
      ? yield* Effect.fromResult(parse(source, { cas, policy }))
      : typeof source === "string"
      ? []
      : source;
    const [first, ...more] = located.map(({ list }) => list);
    if (first === undefined || more.length > 0) return "it is not one list";
    if (first.sha256 !== sha256) return "it has another SHA-256";
    const { number, sizeBytes } = first;
    if (number === undefined || sizeBytes !== arrived) return "it has no number, or is not DER";
    return keyOfCrl(first) === key ? { ...first, number, sizeBytes } : "its issuer did not sign it";
  });
  return Effect.catchTag(verify, "TrustError", ({ message }) => Effect.succeed(message));
}

function parse(bytes: Uint8Array, { cas, policy }: { readonly cas: readonly Certificate[]; readonly policy: Policy }) {
  const reader = new CrlReader({ cas, profile: policy.profile, sizeBytes: bytes.length });
  reader.push(bytes);
  return reader.finish();
}

function judge(list: NumberedCrl, { sha256, newest, effective }: CrlTerms) {
  const scope = scopeName(list.scope);
  const kind = list.baseNumber === undefined ? "complete" : "delta";
  // It would take the place of the delta's base, and clear what that revokes where it contradicts both.
  if (kind === "complete" && effective(scope) === list.number) return { type: "old", sha256 } as const;
  const held = newest({ scope, kind });
  const order = held === undefined ? 1 : compareNumbers(list.number, held);
  if (order < 0) return { type: "old", sha256 } as const;
  return { type: "fits", list, scope, kind: order === 0 ? "other" as const : kind } as const;
}

const moveInto = Effect.fnUntraced(function* (from: string, to: string) {
  const files = yield* FileSystem;
  yield* Effect.scoped(Effect.flatMap(files.open(from, { flag: "r" }), (file) => file.sync));
  yield* files.rename(from, to);
  yield* Effect.ignore(Effect.scoped(Effect.flatMap(files.open(dirname(to), { flag: "r" }), (file) => file.sync)));
});

const addOther = Effect.fnUntraced(function* (from: string, to: string) {
  const files = yield* FileSystem;
  const options = { what: "revocation list", bytesMax: otherBytesMax, key: "state_dir" };
  const { bytes } = yield* readBytes({ ...options, path: from });
  const before = yield* Effect.match(readBytes({ ...options, path: to }), {
    onSuccess: (read) => read.bytes,
    onFailure: () => new Uint8Array(0),
  });
  const content = before.length + bytes.length > otherBytesMax ? bytes : Buffer.concat([before, bytes]);
  yield* writeWhole([{ path: to, content, mode: 0o600 }], "replace");
  yield* files.remove(from, { force: true });
});

/** A piece of a list's file, and what the file looked like. */
export interface CrlPiece {
  readonly bytes: Uint8Array;
  /** Changes with the file: `unchanged` of the next piece. */
  readonly signature: string;
}

/**
 * Reads a piece of a list. The file may hold a newer list by now: where it does not look as it did, it is read whole and hashed first.
 *
 * @returns Undefined where the file holds another list.
 */
export function readPiece(
  { path, sha256, offset, unchanged, sizeBytes }: {
    readonly path: string;
    readonly sha256: string;
    readonly offset: number;
    readonly unchanged: string | undefined;
    /** Of the list, where it is known: a file of another size is not read. */
    readonly sizeBytes?: number;
  },
  pieceBytes: number,
): Effect.Effect<CrlPiece | undefined, PlatformError, FileSystem> {
  return Effect.scoped(Effect.gen(function* () {
    const file = yield* (yield* FileSystem).open(path, { flag: "r" });
    const look = yield* file.stat;
    const signature = signatureOf(look);
    if (sizeBytes !== undefined && Number(look.size) !== sizeBytes) return undefined;
    if (signature !== unchanged && (yield* hashFile(file)) !== sha256) return undefined;
    yield* file.seek(BigInt(offset), "start");
    return { signature, bytes: yield* readUpTo(file, pieceBytes) };
  }));
}

function signatureOf({ dev, ino, size, mtime }: File.Info): string {
  const changedAt = Option.match(mtime, { onSome: (at) => at.getTime(), onNone: () => "-" });
  return `${dev}/${Option.getOrElse(ino, () => "-")}/${size}/${changedAt}`;
}

const hashFile = Effect.fnUntraced(function* (file: File) {
  const hash = createHash("sha256");
  for (;;) {
    const chunk = Option.getOrUndefined(yield* file.readAlloc(chunkBytes));
    if (chunk === undefined || chunk.length === 0) return hash.digest("hex");
    hash.update(chunk);
  }
});

function readUpTo(file: File, bytes: number): Effect.Effect<Uint8Array, PlatformError> {
  return Effect.gen(function* () {
    const chunks: Uint8Array[] = [];
    for (let left = bytes; left > 0;) {
      const chunk = Option.getOrUndefined(yield* file.readAlloc(left));
      if (chunk === undefined || chunk.length === 0) break;
      chunks.push(chunk);
      left -= chunk.length;
    }
    return Buffer.concat(chunks);
  });
}
