/**
 * The files of enrolment: the pair and the trust that a node uses, and the key that a request under way is about.
 *
 * The key is on disk before a CA is asked, so that a lost answer loses nothing: the same token, or the same certificate, is asked
 * again for the same key and gets the same answer. Another key would be taken for another node.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { Effect, Option, Result, Schema } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { LoadError } from "../files/load_error.ts";
import { readPem, type Wanted } from "../files/read_pem.ts";
import { readWhole, type WholeFile } from "../files/read_whole.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import { writeWhole } from "../files/write_whole.ts";
import type { Services } from "../runtime/ports.ts";
import { certBytesMax, keyBytesMax } from "../trust/load_identity.ts";
import { trustBytesMax } from "../trust/load_trust.ts";
import { type EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** The key that a request under way is about. */
export interface NextKey {
  /** The token, or the certificate that is renewed: another one gets a key of its own. */
  readonly purpose: string;
  /** PKCS#8, PEM; empty where the key is in hardware. */
  readonly keyPem: string;
}

/** What lies in the files; undefined where there is none. */
export interface HeldFiles {
  readonly certPem: string | undefined;
  readonly keyPem: string | undefined;
  readonly trustPem: string | undefined;
  /** The certificate of the identity in hardware. */
  readonly identityPem?: string | undefined;
  /** When the key was written, in milliseconds since the epoch. */
  readonly keyWrittenAt: number | undefined;
  readonly next: NextKey | undefined;
}

/** What is written: files that stay as they are are undefined. */
export type NewFiles = Partial<Record<(typeof written)[number], string>>;
/** In the order of their renames. */
const written = ["trustPem", "identityPem", "certPem", "keyPem"] as const;

/** The port: {@linkcode enrolmentFiles}, or one in memory. */
export interface EnrolmentStore {
  /** Fails where a file is there and cannot be read: it may hold the pair in force. */
  readonly read: Effect.Effect<HeldFiles, EnrolmentRefused, Services>;
  /** Writes trust, certificate and key aside, then renames them in this order: all or none. */
  readonly write: (files: NewFiles) => Effect.Effect<void, EnrolmentRefused, Services>;
  /** Keeps the key of a request. */
  readonly writeNext: (next: NextKey) => Effect.Effect<void, EnrolmentRefused, Services>;
  /** Removes it: its certificate is in place. */
  readonly forgetNext: Effect.Effect<void, never, Services>;
}

/**
 * Writes files, unless another has changed them since they were read.
 *
 * @param before What the new files follow from.
 * @returns Whether they were written.
 */
export function writeOver(
  store: EnrolmentStore,
  before: HeldFiles,
  files: NewFiles,
): Effect.Effect<boolean, EnrolmentRefused, Services> {
  return Effect.gen(function* () {
    const now = yield* store.read;
    if (written.some((name) => now[name] !== before[name])) return false;
    yield* store.write(files);
    return true;
  });
}

/** Where the files lie. */
export interface EnrolmentPaths {
  readonly certPem: string;
  readonly keyPem: string;
  readonly trustPem: string;
  /** The certificate of the identity in hardware, where there is one: then the folders of the pair are made where they are missing. */
  readonly identityPem?: string | undefined;
  /** The state directory; without one a request's key is not kept, and no other key can be asked for. */
  readonly stateDir: string | undefined;
}

/** Path of the key of a request under way. */
export const nextKeyPath = (stateDir: string): string => join(stateDir, "enrolment.json");

const nextSchema = Schema.fromJsonString(
  Schema.Struct({ version: Schema.Literal(1), purpose: Schema.String, key_pem: Schema.String }),
);

/** The port over real files. */
export function enrolmentFiles({ certPem, keyPem, trustPem, identityPem, stateDir }: EnrolmentPaths): EnrolmentStore {
  const paths = { trustPem, identityPem: identityPem ?? "", certPem, keyPem };
  // They may be on a file system in memory, which is empty after each start of the machine.
  const folders = identityPem === undefined ? [] : [...new Set([dirname(certPem), dirname(keyPem)])];
  return {
    read: Effect.gen(function* () {
      return {
        certPem: yield* textOf(certPem, "certificate", "cert_pem", certBytesMax),
        keyPem: yield* textOf(keyPem, "private key", "key_pem", keyBytesMax),
        trustPem: yield* textOf(trustPem, "certificate", "trust_pem", trustBytesMax),
        identityPem: identityPem === undefined
          ? undefined
          : yield* textOf(identityPem, "certificate", "membership.identity_cert_pem", certBytesMax),
        keyWrittenAt: yield* writtenAt(keyPem),
        next: stateDir === undefined ? undefined : yield* readNext(stateDir),
      };
    }),
    write: (files) => {
      const whole = written.flatMap((name) => {
        const content = files[name];
        const mode = name === "keyPem" ? { mode: 0o600 } : {};
        return content === undefined ? [] : [{ path: paths[name], content, ...mode }];
      });
      const made = Effect.forEach(folders, makeStateDirectory, { discard: true });
      return Effect.mapError(Effect.andThen(made, writeWhole(whole, "replace")), unwritable);
    },
    writeNext: ({ purpose, keyPem: key_pem }) => {
      if (stateDir === undefined) return Effect.fail(enrolmentRefused("files-unwritable", "there is no state_dir"));
      const content = `${JSON.stringify({ version: 1, purpose, key_pem })}\n`;
      const file = { path: nextKeyPath(stateDir), content, mode: 0o600 };
      return Effect.mapError(
        Effect.andThen(makeStateDirectory(stateDir), writeWhole([file], "replace")),
        unwritable,
      );
    },
    forgetNext: stateDir === undefined
      ? Effect.void
      : Effect.ignore(Effect.flatMap(FileSystem, (files) => files.remove(nextKeyPath(stateDir), { force: true }))),
  };
}

const unwritable = ({ message }: Error) => enrolmentRefused("files-unwritable", message);

/** The text of a file; undefined where there is none. */
function textIn(
  file: Effect.Effect<WholeFile, LoadError, FileSystem>,
): Effect.Effect<string | undefined, EnrolmentRefused, FileSystem> {
  return Effect.matchEffect(file, {
    onSuccess: ({ text }) => Effect.succeed(text),
    onFailure: ({ problem, message }) =>
      problem === "missing" ? Effect.undefined : Effect.fail(enrolmentRefused("files-unreadable", message)),
  });
}

function textOf(path: string, wanted: Wanted, key: string, bytesMax: number) {
  return textIn(readPem({ path, what: wanted, bytesMax, key, wanted }));
}

function writtenAt(path: string): Effect.Effect<number | undefined, never, FileSystem> {
  return Effect.match(Effect.flatMap(FileSystem, (files) => files.stat(path)), {
    onSuccess: ({ mtime }) => Option.getOrUndefined(Option.map(mtime, (date) => date.getTime())),
    onFailure: () => undefined,
  });
}

/** A file that holds no key is as good as none: then a new key is made, and a CA that has seen the other one says so. */
function readNext(stateDir: string): Effect.Effect<NextKey | undefined, EnrolmentRefused, FileSystem> {
  const file = { path: nextKeyPath(stateDir), what: "key of a request", bytesMax: 2 * keyBytesMax, key: "state_dir" };
  return Effect.map(textIn(readWhole(file)), (text) => {
    const read = Schema.decodeUnknownResult(nextSchema)(text);
    if (Result.isFailure(read)) return undefined;
    return { purpose: read.success.purpose, keyPem: read.success.key_pem };
  });
}
