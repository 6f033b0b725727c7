/**
 * Writing of marks and of the lists that made them into the state directory: what a start finds where an older list
 * was put back.
 *
 * @module
 */
import { Data, Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { PlatformError } from "effect/PlatformError";
import { crlBytesMax, type HeldCrl } from "../../pki/crl.ts";
import { type CrlHighWaterMarks, mergeMarks } from "../../pki/crl_marks.ts";
import { crlsToKeep, type KeptCrls } from "../../pki/crl_union.ts";
import { fileProblem } from "./file_problem.ts";
import { CrlFinder, type KeepTarget } from "./crl_finder.ts";
import { formatMarks } from "./marks_text.ts";
import { keepApart } from "./read_crls.ts";
import { readBytes, signatureOf } from "./read_whole.ts";
import { keptFolder, type KeptKind, keptPath, makeStateDirectory, marksPath, readMarks } from "./state_directory.ts";
import { replaceWhole, writeWhole } from "./write_whole.ts";

/** The marks and lists to keep. Domains are named as marks name them. */
export interface KeepWork {
  readonly marks: CrlHighWaterMarks;
  /** The lists in force in each domain, as they were read. */
  readonly lists: ReadonlyMap<string, readonly HeldCrl[]>;
  /** Where a domain's lists come from. */
  readonly sources: ReadonlyMap<string, KeepSource>;
  /** What the kept files are known to hold, by their paths. */
  readonly held: ReadonlyMap<string, HeldFile>;
}

/** What a kept file holds. */
export interface HeldFile {
  /** SHA-256 of its lists, joined by spaces. */
  readonly hashes: string;
  /** What it looked like then (`signatureOf`): another program may have replaced it since. */
  readonly signature: string;
}

/** A file of lists: its content where it is small, its path where a separate thread read it. */
export type KeepSource = { readonly bytes: Uint8Array } | { readonly path: string };

/** What earlier work wrote, and who is told of each file right before it is in place; undefined: it is removed. */
export interface KeepLedger {
  readonly written: ReadonlyMap<string, HeldFile>;
  readonly onKept: (domain: string, path: string, held: HeldFile | undefined) => void;
}

/** The state directory could not be written. */
export class KeepFailed extends Data.TaggedError("KeepFailed")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail;
  }
}

/**
 * Writes what changed: first the lists, then the marks, each file whole or not at all (aside, synced, renamed; 0600).
 * Marks never go back: those of another process that uses the same directory are read again and count. A file that looks
 * otherwise than it is known is left alone, also where it was replaced meanwhile: it holds what the network brought and the trust
 * store has not read yet.
 */
export function keepTrust(
  stateDir: string,
  { marks, lists, sources, held }: KeepWork,
  { written, onKept }: KeepLedger,
): Effect.Effect<void, KeepFailed, FileSystem | Path> {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    yield* makeStateDirectory(stateDir);
    const disk = yield* readMarks(stateDir);
    const merged = mergeMarks(disk.marks, marks);
    const stale: [domain: string, path: string, signature: string][] = [];
    let failure: Error | undefined;
    for (const [domain, own] of lists) {
      const wanted = crlsToKeep(merged, domain, own).flatMap((each) => targetsOf(stateDir, domain, each));
      const targets: KeepTarget[] = [];
      for (const target of wanted) {
        const { path, hashes } = target;
        const signature = yield* signatureOf(path);
        const known = [held.get(path), written.get(path)].find((each) => each?.signature === signature);
        if (signature !== "NotFound" && known === undefined) continue;
        if (hashes.length === 0 && signature !== "NotFound") stale.push([domain, path, signature]);
        else if (hashes.length > 0 && (signature === "NotFound" || known?.hashes !== hashes.join(" "))) {
          targets.push({ ...target, before: signature });
        }
      }
      const source = sources.get(domain);
      if (targets.length === 0 || source === undefined) continue;
      const note = (path: string, file: HeldFile) => onKept(domain, path, file);
      const kept = yield* Effect.result(keepCrls(keptFolder(stateDir, domain), source, targets, note));
      if (Result.isFailure(kept)) failure ??= kept.failure;
    }
    // Also where a list could not be kept: a mark without its list lets an older list clear no certificate.
    const text = formatMarks(merged);
    const path = marksPath(stateDir);
    if (disk.problem !== undefined) yield* Effect.ignore(files.rename(path, `${path}.broken`));
    if (text !== disk.text && Object.keys(merged).length > 0) {
      yield* writeWhole([{ path, content: text, mode: 0o600 }], "replace");
    }
    for (const [domain, each, signature] of stale) {
      if ((yield* signatureOf(each)) !== signature) continue;
      onKept(domain, each, undefined);
      yield* files.remove(each, { force: true });
    }
    if (failure !== undefined) return yield* new KeepFailed({ detail: detailOf(failure) });
  }).pipe(
    Effect.mapError((error) => error instanceof KeepFailed ? error : new KeepFailed({ detail: detailOf(error) })),
  );
}

const detailOf = (error: Error): string => error instanceof PlatformError ? fileProblem(error) : error.message;

/** Without a complete list nothing is stale: what it was is worth keeping for as long as there is no newer. */
function targetsOf(
  stateDir: string,
  domain: string,
  { key, scope, ...kept }: KeptCrls,
): readonly Omit<KeepTarget, "before">[] {
  const target = (kind: KeptKind, hashes: readonly (string | undefined)[]) => ({
    path: keptPath(stateDir, { domain, key, scope, kind }),
    hashes: hashes.filter((hash) => hash !== undefined),
  });
  const targets = [target("complete", [kept.complete]), target("delta", [kept.delta]), target("other", kept.other)];
  return kept.complete === undefined ? targets.filter(({ hashes }) => hashes.length > 0) : targets;
}

const keepCrls = Effect.fnUntraced(
  function* (
    folder: string,
    source: KeepSource,
    targets: readonly KeepTarget[],
    note: (path: string, file: HeldFile) => void,
  ) {
    yield* (yield* FileSystem).makeDirectory(folder, { recursive: true, mode: 0o700 });
    const announce = (signatures: ReadonlyMap<string, string>) => {
      for (const { path, hashes } of targets) {
        const signature = signatures.get(path);
        if (signature !== undefined) note(path, { hashes: hashes.join(" "), signature });
      }
    };
    if ("path" in source) announce(yield* copyApart(source.path, targets));
    else yield* copyCrls(source.bytes, targets, announce);
  },
);

/** Copies lists from a file's bytes, or from the kept files if these no longer have them. */
function copyCrls(
  bytes: Uint8Array,
  targets: readonly KeepTarget[],
  announce: (signatures: ReadonlyMap<string, string>) => void,
) {
  return Effect.gen(function* () {
    const finder = new CrlFinder(targets);
    finder.search(bytes);
    for (const { path } of targets.filter((target) => !finder.has(target))) {
      const options = { path, what: "kept list", bytesMax: crlBytesMax, key: "state_dir" };
      const kept = Effect.match(readBytes(options), { onSuccess: ({ bytes }) => bytes, onFailure: () => undefined });
      finder.search((yield* kept) ?? new Uint8Array(0));
    }
    const whole = targets.filter((target) => finder.has(target));
    return yield* replaceWhole(
      whole.map((target) => ({
        path: target.path,
        content: finder.take(target),
        mode: 0o600,
        before: target.before,
      })),
      announce,
    );
  });
}

/** The same in a separate thread. A file that was replaced right after is not said to be written: the trust store reads it. */
function copyApart(source: string, targets: readonly KeepTarget[]) {
  return Effect.gen(function* () {
    const signatures = new Map<string, string>();
    for (const { path, inode } of yield* keepApart({ source, targets })) {
      const signature = yield* signatureOf(path);
      if (signature.split("/")[1] === inode) signatures.set(path, signature);
    }
    return signatures;
  });
}
