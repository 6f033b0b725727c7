/**
 * Writing of marks and of the lists that made them into the state directory: what a start finds where somebody put an
 * older list back.
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
import { readBytes } from "./read_whole.ts";
import { keptFolder, type KeptKind, keptPath, makeStateDirectory, marksPath, readMarks } from "./state_directory.ts";
import { writeWhole } from "./write_whole.ts";

/** The marks and lists to keep. Domains are named as marks name them. */
export interface KeepWork {
  readonly marks: CrlHighWaterMarks;
  /** The lists in force in each domain, as they were read. */
  readonly lists: ReadonlyMap<string, readonly HeldCrl[]>;
  /** Where a domain's lists come from. */
  readonly sources: ReadonlyMap<string, KeepSource>;
  /** What the kept files are known to hold, by their paths: hashes, joined by spaces. */
  readonly held: ReadonlyMap<string, string>;
}

/** A file of lists: its content where it is small, its path where a separate thread read it. */
export type KeepSource = { readonly bytes: Uint8Array } | { readonly path: string };

/** The state directory could not be written. */
export class KeepFailed extends Data.TaggedError("KeepFailed")<{
  readonly detail: string;
  /** What the kept files hold now, where some could be written. */
  readonly held?: ReadonlyMap<string, string>;
}> {
  override get message(): string {
    return this.detail;
  }
}

/**
 * Writes what changed: first the lists, then the marks, each file whole or not at all (aside, synced, renamed; 0600).
 * Marks never go back: those of another process that uses the same directory are read again and count.
 *
 * @returns What the kept files hold now, by their paths.
 */
export function keepTrust(
  stateDir: string,
  { marks, lists, sources, held }: KeepWork,
): Effect.Effect<ReadonlyMap<string, string>, KeepFailed, FileSystem | Path> {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    yield* makeStateDirectory(stateDir);
    const disk = yield* readMarks(stateDir);
    const merged = mergeMarks(disk.marks, marks);
    const holding = new Map(held);
    const stale: string[] = [];
    let failure: Error | undefined;
    for (const [domain, own] of lists) {
      const wanted = crlsToKeep(merged, domain, own).flatMap((each) => targetsOf(stateDir, domain, each));
      stale.push(
        ...wanted.filter(({ path, hashes }) => hashes.length === 0 && holding.has(path)).map(({ path }) => path),
      );
      const targets = wanted.filter(({ path, hashes }) => hashes.length > 0 && holding.get(path) !== hashes.join(" "));
      const source = sources.get(domain);
      if (targets.length === 0 || source === undefined) continue;
      const written = yield* Effect.result(keepCrls(keptFolder(stateDir, domain), source, targets));
      if (Result.isFailure(written)) failure ??= written.failure;
      else {for (const { path, hashes } of targets) {
          if (written.success.includes(path)) holding.set(path, hashes.join(" "));
        }}
    }
    // Also where a list could not be kept: a mark without its list lets an older list clear no certificate.
    const text = formatMarks(merged);
    const path = marksPath(stateDir);
    if (disk.problem !== undefined) yield* Effect.ignore(files.rename(path, `${path}.broken`));
    if (text !== disk.text && Object.keys(merged).length > 0) {
      yield* writeWhole([{ path, content: text, mode: 0o600 }], "replace");
    }
    for (const each of stale) {
      yield* files.remove(each, { force: true });
      holding.delete(each);
    }
    if (failure !== undefined) return yield* new KeepFailed({ detail: detailOf(failure), held: holding });
    return holding;
  }).pipe(
    Effect.mapError((error) => error instanceof KeepFailed ? error : new KeepFailed({ detail: detailOf(error) })),
  );
}

const detailOf = (error: Error): string => error instanceof PlatformError ? fileProblem(error) : error.message;

/** Without a complete list nothing is stale: what it was is worth keeping for as long as there is no newer. */
function targetsOf(stateDir: string, domain: string, { key, scope, ...kept }: KeptCrls): readonly KeepTarget[] {
  const target = (kind: KeptKind, hashes: readonly (string | undefined)[]) => ({
    path: keptPath(stateDir, { domain, key, scope, kind }),
    hashes: hashes.filter((hash) => hash !== undefined),
  });
  const targets = [target("complete", [kept.complete]), target("delta", [kept.delta]), target("other", kept.other)];
  return kept.complete === undefined ? targets.filter(({ hashes }) => hashes.length > 0) : targets;
}

const keepCrls = Effect.fnUntraced(
  function* (folder: string, source: KeepSource, targets: readonly KeepTarget[]) {
    yield* (yield* FileSystem).makeDirectory(folder, { recursive: true, mode: 0o700 });
    return yield* copyCrls(source, targets);
  },
);

/** Copies lists from the source file, or from the kept files if the source no longer has them. Returns the written targets. */
function copyCrls(source: KeepSource, targets: readonly KeepTarget[]) {
  return Effect.gen(function* () {
    if ("path" in source) return yield* keepApart({ source: source.path, targets });
    const finder = new CrlFinder(targets);
    finder.search(source.bytes);
    for (const { path } of targets.filter((target) => !finder.has(target))) {
      const options = { path, what: "kept list", bytesMax: crlBytesMax, key: "state_dir" };
      const kept = Effect.match(readBytes(options), { onSuccess: ({ bytes }) => bytes, onFailure: () => undefined });
      finder.search((yield* kept) ?? new Uint8Array(0));
    }
    const whole = targets.filter((target) => finder.has(target));
    yield* writeWhole(
      whole.map((target) => ({ path: target.path, content: finder.take(target), mode: 0o600 })),
      "replace",
    );
    return whole.map(({ path }) => path);
  });
}
