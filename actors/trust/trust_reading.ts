/**
 * A reading of the trust store: of all files, or of those in the state directory alone.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { heldCrls } from "../../pki/held_crls.ts";
import type { LearnedFiles } from "../files/read_learned.ts";
import { isDue } from "../files/read_learned.ts";
import type { LoadError } from "../files/load_error.ts";
import { type FilesLook, type FilesRead, lookAtFiles } from "../files/watched_files.ts";
import type { EffectInput } from "../runtime/effect_actor.ts";
import type { Report } from "../runtime/ports.ts";
import { countVouched, withKept } from "./kept_trust.ts";
import {
  filesOf,
  loadLearned,
  loadTrust,
  type TrustLoaded,
  type TrustPaths,
  type TrustSources,
  type TrustTerms,
} from "./load_trust.ts";
import { warn } from "./trust_reports.ts";
import type { TrustStoreContext } from "./trust_store.ts";

type Outcome = Result.Result<TrustLoaded, readonly LoadError[]>;

/** A reading of all files: what they looked like before it, and what came of it. */
export interface FilesReading extends FilesLook {
  readonly scope: "all";
  readonly outcome: Outcome;
  readonly reports: readonly Report[];
}

/** A reading of the lists in the state directory; its outcome is undefined where nothing in them is new to the store. */
export interface LearnedReading {
  readonly scope: "learned";
  readonly learned: LearnedFiles;
  readonly outcome: Outcome | undefined;
  readonly reports: readonly Report[];
}

/** Either reading. */
export type Reading = FilesReading | LearnedReading;

/** What was loaded so far. */
export interface KnownTrust {
  readonly sources: TrustSources;
  /** What each file looked like when it loaded last, by its path. */
  readonly loadedAs: ReadonlyMap<string, string>;
}

/** What is to be read, and what is known. */
export interface ReadingInput extends EffectInput {
  readonly paths: TrustPaths;
  readonly terms: TrustTerms;
  readonly known: KnownTrust;
  readonly wants: Reading["scope"];
}

/** The input of the next reading. */
export function readingOf(context: TrustStoreContext): ReadingInput {
  const { ports, paths, sources, loadedAs, wants } = context;
  return { ports, paths, terms: nextTerms(context), known: { sources, loadedAs }, wants };
}

/** Reads what is wanted. */
export function readTrust({ paths, terms, known, wants }: ReadingInput): Effect.Effect<Reading, never, FileSystem> {
  return wants === "all" ? readAll(paths, terms, known) : readLearnedAlone(paths, terms, known.sources);
}

const readAll = (paths: TrustPaths, terms: TrustTerms, { sources, loadedAs }: KnownTrust) =>
  Effect.gen(function* () {
    const looked = yield* lookAtFiles(filesOf(paths));
    const loaded = loadTrust(paths, terms, sources).pipe(
      Effect.mapError((error): readonly LoadError[] => [error]),
      Effect.filterOrFail(
        ({ broken, previous }) => broken.length === 0 || isNews(looked.files, { previous, loadedAs }),
        ({ broken }) => broken,
      ),
    );
    return { ...looked, scope: "all", reports: [], outcome: yield* Effect.result(loaded) } satisfies Reading;
  });

function readLearnedAlone(paths: TrustPaths, terms: TrustTerms, sources: TrustSources) {
  return Effect.gen(function* () {
    // The bundles loaded before: they have authorities.
    const { files: learned, reports } = yield* Effect.orDie(loadLearned(paths, terms, sources));
    const read = { scope: "learned", learned, reports } as const;
    if (!isLearnedNews(learned, terms)) return { ...read, outcome: undefined } satisfies Reading;
    const loaded = loadTrust(paths, { ...terms, learned }, sources, "learned").pipe(
      Effect.mapError((error): readonly LoadError[] => [error]),
    );
    return { ...read, outcome: yield* Effect.result(loaded) } satisfies Reading;
  });
}

/** Whether a file that was read just now has a list that is not in force. */
function isLearnedNews(learned: LearnedFiles, { learned: before, seenLists }: TrustTerms): boolean {
  return [...learned].some(([path, file]) => {
    const inForce = seenLists?.get(file.domain) ?? [];
    return file !== before?.get(path) &&
      file.lists.some((list) => inForce.every(({ sha256 }) => sha256 !== list.sha256));
  });
}

/** Lists whose files hold them no longer: their bytes are to be fetched again. */
export interface CrlsLost {
  readonly type: "crls.lost";
  /** SHA-256 of those in force, hexadecimal. */
  readonly sha256: readonly string[];
  /** Files that hold no list that can be used: what was in them may not have been read yet. */
  readonly torn: readonly string[];
}

type Before = Pick<TrustStoreContext, "learned" | "kept" | "snapshot" | "onDisk">;

/** SHA-256 of the newest lists in force after a reading, and of those that the files of the state directory hold. */
function hashesAfter({ learned, kept, snapshot: before }: Before, reading: Reading) {
  const made = reading.outcome === undefined ? undefined : Result.getOrUndefined(reading.outcome);
  const snapshot = made?.snapshot ?? before;
  const read = made?.learned ?? (reading.scope === "learned" ? reading.learned : learned);
  // What the keeper wrote meanwhile may have been replaced before the reading.
  const files = [...read.values(), ...withKept(read, kept).values()];
  return {
    inForce: new Set(snapshot === undefined ? [] : heldCrls(snapshot).held.map(({ sha256 }) => sha256)),
    inFiles: new Set(files.flatMap(({ hashes }) => hashes)),
  };
}

/** Of the lists in force, those that were in a file of the state directory at some time. */
function onDiskAfter(context: Before, reading: Reading): ReadonlySet<string> {
  const { inForce, inFiles } = hashesAfter(context, reading);
  return new Set([...context.onDisk, ...inFiles].filter((hash) => inForce.has(hash)));
}

/** The lists that stay in force although a reading finds their files torn, replaced or gone, and the torn files; undefined: none. */
export function lostBy(context: Before, reading: Reading): CrlsLost | undefined {
  const { inFiles } = hashesAfter(context, reading);
  const sha256 = [...onDiskAfter(context, reading)].filter((hash) => !inFiles.has(hash));
  const files = reading.scope === "learned" ? [...reading.learned] : [];
  const torn = files.filter(([, { hashes, isWhole }]) => hashes.length === 0 && !isWhole).map(([path]) => path);
  return sha256.length + torn.length === 0 ? undefined : { type: "crls.lost", sha256, torn };
}

/** Whether the state directory looks otherwise than it was read. */
export function isLearnedNew({ learned }: TrustStoreContext, files: ReadonlyMap<string, string>): boolean {
  return files.size !== learned.size ||
    [...files].some(([path, signature]) => learned.get(path)?.signature !== signature);
}

/** Whether a learned list that was dated ahead is in force by now. */
export function isLearnedDue({ learned, ports }: TrustStoreContext): boolean {
  return [...learned.values()].some((file) => isDue(file, ports.now()));
}

/** Whether a file that loads has changed. */
function isNews(
  files: FilesLook["files"],
  { previous, loadedAs }: Pick<TrustLoaded, "previous"> & Pick<KnownTrust, "loadedAs">,
): boolean {
  return [...files].some(([path, signature]) => !previous.has(path) && loadedAs.get(path) !== signature);
}

/** The terms of the next snapshot. */
function nextTerms({ policy, snapshot, crlMarks, seenLists, stateDir, learned, ports }: TrustStoreContext): TrustTerms {
  const generation = (snapshot?.generation ?? 0) + 1;
  return { policy, crlMarks, seenLists, stateDir, learned, generation, at: new Date(ports.now()) };
}

/**
 * What the watch learns of a reading. A file that may not be read is tried again at each poll: a permission that is given
 * back changes nothing that a look sees.
 */
export function filesRead({ signature, outcome }: FilesReading): FilesRead {
  const problems = Result.isFailure(outcome) ? outcome.failure : outcome.success.broken;
  return {
    type: "files.read",
    signature,
    isLoaded: Result.isSuccess(outcome),
    problem: problems.length === 0 ? undefined : problems.map(({ file, problem }) => `${file} ${problem}`).join(" "),
    mendsItself: problems.some(({ problem }) => problem === "unreadable"),
  };
}

/** The same where the reading itself broke off: the next poll tries again. */
export const brokenOff = ({ error }: { readonly error: unknown }): FilesRead => ({
  type: "files.read",
  signature: "",
  isLoaded: false,
  problem: String(error),
  mendsItself: true,
});

/** What each file looked like when it loaded last. */
function loadedAs(before: KnownTrust["loadedAs"], files: FilesLook["files"], { previous }: TrustLoaded) {
  const old = [...previous].map((file) => [file, before.get(file) ?? ""] as const);
  return new Map([...files, ...old]);
}

/** What the store knows after a reading. */
export function taken(context: TrustStoreContext, reading: Reading): Partial<TrustStoreContext> {
  return { ...takenBy(context, reading), onDisk: onDiskAfter(context, reading) };
}

function takenBy(context: TrustStoreContext, reading: Reading): Partial<TrustStoreContext> {
  if (reading.scope === "learned") {
    const { learned, outcome } = reading;
    if (outcome !== undefined && Result.isSuccess(outcome)) return takenOf(context, outcome.success);
    return { learned: withKept(learned, context.kept), kept: new Map() };
  }
  const { signature, mendsItself } = filesRead(reading);
  const readAs = mendsItself ? undefined : signature;
  if (Result.isFailure(reading.outcome)) return { readAs, errors: reading.outcome.failure };
  const made = reading.outcome.success;
  return {
    ...takenOf(context, made),
    sources: made.sources,
    loadedAs: loadedAs(context.loadedAs, reading.files, made),
    readAs,
    errors: [],
  };
}

function takenOf(context: TrustStoreContext, made: TrustLoaded): Partial<TrustStoreContext> {
  return {
    snapshot: made.snapshot,
    crlMarks: made.crlMarks,
    seenLists: made.lists,
    learned: withKept(made.learned, context.kept),
    kept: new Map(),
    vouched: countVouched(made.lists),
    announcedAt: context.ports.now(),
    reviewedAt: context.ports.now(),
    warned: warn(context, made.warnings),
  };
}
