/**
 * Reading of the lists in the state directory: those that an earlier run kept, and those that the network brought. A file that
 * looks as before is not read again.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Certificate } from "../../pki/certificate.ts";
import { crlBytesMax, type HeldCrl } from "../../pki/crl.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { hashOf } from "../../pki/crl_splitter.ts";
import { admitLearned, type LearnedTerms } from "../../pki/learned_crls.ts";
import type { Policy } from "../../pki/trust.ts";
import type { Report } from "../runtime/ports.ts";
import { apartBytesMin, hashApart, readCrls } from "./read_crls.ts";
import type { SeenFile } from "./state_directory.ts";

/** A file of lists, as it was read. */
export interface LearnedFile extends Pick<SeenFile, "domain" | "signature"> {
  /** SHA-256 of each list in it, hexadecimal; none where it cannot be used. */
  readonly hashes: readonly string[];
  /** The lists that count. */
  readonly lists: readonly HeldCrl[];
  /** When a list in it that is dated ahead comes into force, in milliseconds since the epoch. */
  readonly dueAt: number | undefined;
  /** Whether all of it could be used; else it is read again with another bundle. */
  readonly isWhole: boolean;
}

/** Files of lists, by their paths. */
export type LearnedFiles = ReadonlyMap<string, LearnedFile>;

/** What the lists of a domain are read for. */
export interface LearnedFor extends Omit<LearnedTerms, "key"> {
  readonly cas: readonly Certificate[];
  readonly policy: Policy;
  /** Lists in memory: a file that holds one of them alone is not parsed again. */
  readonly known: readonly HeldCrl[];
  /** The files as they were read before. */
  readonly before: LearnedFiles;
  /** `start`: a file that is torn or no list is removed. `running`: a process may be writing it; what was read before counts. */
  readonly when: "start" | "running";
  /** Whether files that could not be used are tried again. */
  readonly retry: "unusable" | "none";
}

/** Files that were read. */
export interface LearnedRead {
  readonly files: LearnedFiles;
  readonly reports: readonly Report[];
}

/** Reads the files of a domain. Never fails: a file that cannot be used is passed over, with a warning. */
export function readLearned(
  seen: readonly SeenFile[],
  terms: LearnedFor,
): Effect.Effect<LearnedRead, never, FileSystem> {
  return Effect.gen(function* () {
    const files = new Map<string, LearnedFile>();
    const reports: Report[] = [];
    for (const file of seen) {
      const old = terms.before.get(file.path);
      if (old !== undefined && isCurrent(old, file, terms)) {
        files.set(file.path, old);
        continue;
      }
      const read = yield* Effect.result(readOne(file, terms));
      if (Result.isSuccess(read)) files.set(file.path, admit(file, read.success, terms));
      else {
        const { report, isRemoved } = yield* putAside(file, read.failure, terms.when);
        if (!isRemoved) files.set(file.path, unusable(file));
        // A second look with another bundle says nothing new.
        if (old?.signature !== file.signature) reports.push(report);
      }
    }
    return { files, reports };
  });
}

function isCurrent(old: LearnedFile, { signature }: SeenFile, { at, retry }: LearnedFor): boolean {
  return old.signature === signature && (old.isWhole || retry === "none") && !isDue(old, at.getTime());
}

/** Whether a list in a file, dated ahead when it was read, is in force by now. */
export function isDue({ dueAt }: LearnedFile, now: number): boolean {
  return dueAt !== undefined && dueAt <= now;
}

function admit({ domain, key, signature }: SeenFile, found: readonly HeldCrl[], terms: LearnedFor): LearnedFile {
  const { lists, dueAt, strangers } = admitLearned(found, { ...terms, key });
  const hashes = found.map(({ sha256 }) => sha256 ?? "");
  return { domain, signature, hashes, lists, dueAt, isWhole: strangers === 0 };
}

const unusable = ({ domain, signature }: SeenFile): LearnedFile => ({
  ...{ domain, signature, hashes: [], lists: [], dueAt: undefined },
  isWhole: false,
});

function readOne({ path, key }: SeenFile, terms: Pick<LearnedFor, "cas" | "policy" | "known">) {
  return Effect.gen(function* () {
    const { policy, known } = terms;
    // The file is named for the key that signed. A partner's bundle may have many CAs of one name, and each try costs a signature.
    const cas = terms.cas.filter((ca) => markKey(ca) === key);
    const options = { path, what: "kept list", bytesMax: crlBytesMax, key: "state_dir" };
    const twinOf = (hash: string | undefined) =>
      hash === undefined ? undefined : known.find(({ sha256 }) => sha256 === hash);
    const size = yield* sizeOf(path);
    const mayBeKnown = size >= apartBytesMin && known.some(({ sizeBytes }) => sizeBytes === size);
    const twin = mayBeKnown ? twinOf(yield* hashApart(path, crlBytesMax)) : undefined;
    if (twin !== undefined) return [twin];
    const source = yield* readCrls(options, { cas, policy });
    if (typeof source !== "string" && !(source instanceof Uint8Array)) return source.map(({ list }) => list);
    const bytes = typeof source === "string" ? Buffer.from(source) : source;
    const same = twinOf(hashOf(bytes));
    if (same !== undefined) return [same];
    const reader = new CrlReader({ cas, profile: policy.profile, sizeBytes: bytes.length });
    reader.push(bytes);
    return (yield* Effect.fromResult(reader.finish())).map(({ list }) => list);
  });
}

/** 0 where the file cannot be looked at: the reading itself tells why. */
function sizeOf(path: string) {
  return Effect.flatMap(
    FileSystem,
    (files) => Effect.match(files.stat(path), { onSuccess: ({ size }) => Number(size), onFailure: () => 0 }),
  );
}

function putAside(
  { path }: SeenFile,
  error: Error & { readonly _tag: string },
  when: LearnedFor["when"],
) {
  const isRemoved = error._tag === "TrustError" && when === "start";
  const message = error._tag !== "TrustError"
    ? `Cannot use what was kept before: ${error.message}`
    : `${path} holds no list that can be used, and ${isRemoved ? "was removed" : "is passed over"}: ${error.message}`;
  const report: Report = { level: "warn", event: "state.broken", message, fields: { file: path } };
  const remove = Effect.flatMap(FileSystem, (files) => Effect.ignore(files.remove(path, { force: true })));
  return Effect.as(isRemoved ? remove : Effect.void, { report, isRemoved });
}
