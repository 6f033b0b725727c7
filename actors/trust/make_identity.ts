/**
 * A node's own key and certificate from their texts, for applications that keep them elsewhere than in files.
 *
 * @module
 */
import { Effect, Option, Result } from "effect";
import { bytes as bytesSize } from "effect/ByteSize";
import { type File, FileSystem, FileTypeId, makeNoop } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import type { NodeIdentity } from "../../transport/port.ts";
import type { LoadError } from "../files/load_error.ts";
import { loadIdentity } from "./load_identity.ts";
import { realNow } from "../runtime/real_ports.ts";

/** A certificate with its key. */
export interface IdentityPair {
  /** The node's certificate, then the intermediates above it: PEM, or whatever `cert_pem` of a configuration may hold. */
  readonly certPem: string | Uint8Array;
  /** Its private key: PKCS#8, PEM, not encrypted. */
  readonly keyPem: string | Uint8Array;
}

/** What else an identity is made of. */
export interface IdentityTerms {
  /** The time to check the certificate's dates for; now by default. */
  readonly at?: Date;
  /** Number of the pair, 1 by default; each new pair of an application has a higher one. */
  readonly generation?: number;
}

/**
 * Makes a node's identity, with the checks that a node makes of its own files: key and certificate belong together, the
 * certificate is valid today and signed by a CA. Self-signed certificates behind it are left out.
 *
 * Does not check whether peers trust the certificate ({@linkcode checkOwnChain} does), nor who can read the key.
 *
 * @param pair The texts; an error calls them `certPem` and `keyPem`.
 * @returns The identity, or the error with the text it is in and the line.
 *
 * @example A pair that was just issued
 * ```ts
 * import * as assert from "uvu/assert";
 * import { issue, makeIdentity } from "hypha-runtime";
 *
 * const period = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
 * const root = await issue.issueRoot({ commonName: "Root", ...period });
 * const node = await issue.issueNode({ commonName: "a.example", issuer: root, ...period });
 * const made = makeIdentity(node);
 * assert.is(made._tag === "Success" && made.success.name, "a.example");
 * const mixedUp = makeIdentity({ certPem: node.certPem, keyPem: root.keyPem });
 * assert.is(mixedUp._tag === "Failure" && mixedUp.failure.problem, "mismatch");
 * ```
 */
export function makeIdentity(pair: IdentityPair, terms: IdentityTerms = {}): Result.Result<NodeIdentity, LoadError> {
  const { at = new Date(realNow()), generation = 1 } = terms;
  const load = loadIdentity({ certPem: "certPem", keyPem: "keyPem", at, generation });
  const files = inMemory({ certPem: bytesOf(pair.certPem), keyPem: bytesOf(pair.keyPem) });
  return Effect.runSync(Effect.result(Effect.provideService(load, FileSystem, files)));
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  return typeof text === "string" ? new TextEncoder().encode(text) : text;
}

/** The files that `loadIdentity` opens, from memory: one way of reading a pair, wherever it comes from. */
function inMemory(files: Readonly<Record<string, Uint8Array>>): FileSystem {
  const find = (method: string, path: string) =>
    Effect.suspend(() => {
      const bytes = files[path];
      if (bytes !== undefined) return Effect.succeed(bytes);
      return Effect.fail(systemError({ _tag: "NotFound", module: "FileSystem", method, pathOrDescriptor: path }));
    });
  return makeNoop({
    stat: (path) => Effect.map(find("stat", path), infoOf),
    open: (path) => Effect.map(find("open", path), handleOf),
  });
}

function infoOf({ length }: Uint8Array): File.Info {
  const none = Option.none();
  const times = { mtime: none, atime: none, birthtime: none };
  const owner = { uid: none, gid: none, rdev: none, blksize: none, blocks: none, ino: none, nlink: none };
  return { ...times, ...owner, type: "File", dev: 0n, mode: 0o600, size: bytesSize(length) };
}

function handleOf(bytes: Uint8Array): File {
  let position = 0;
  return {
    [FileTypeId]: FileTypeId,
    stat: Effect.succeed(infoOf(bytes)),
    readAlloc: (size: number) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position, position + size);
        position += piece.length;
        return piece.length === 0 ? Option.none() : Option.some(piece);
      }),
  } as Partial<File> as File;
}
