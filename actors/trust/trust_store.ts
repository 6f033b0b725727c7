/**
 * Owns the TrustSnapshot: loads it, watches the files it comes from, announces what is new.
 *
 * ```
 * loading ─▶ running: resting ── files.changed ─▶ reading ─▶ resting
 *    │                resting ── files.unchanged ─▶ reviewing ─▶ resting
 *    ▼
 *  failed
 * ```
 *
 * `actors/files/watched_files.ts` watches the files and says when to read them. Where a file does not load, its previous
 * content stays in force, the store reports that, and the file is read again when it changes, or on `trust.reload`
 * (SIGHUP), which every state of `running` accepts. Changes of the other files are taken meanwhile; where nothing changed in
 * them, or they do not go together, the previous snapshot stays in force.
 *
 * Sends its parent `trust.loaded` or `trust.failed` first, and `trust.changed` ever after. The end of a list's grace
 * changes what is trusted too: the snapshot is announced again, so that connections are verified again.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { assign, sendParent, sendTo, setup } from "xstate";
import type { HeldCrl } from "../../pki/crl.ts";
import type { CrlHighWaterMarks } from "../../pki/crl_marks.ts";
import type { Policy, TrustSnapshot } from "../../pki/trust.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import {
  type FilesLook,
  type FilesRead,
  lookAtFiles,
  type WatchedFilesCommand,
  type WatchedFilesEvent,
  watchedFilesMachine,
} from "../files/watched_files.ts";
import { countVouched, keeperInput, keepWork, noteVouched } from "./kept_trust.ts";
import { crlKeeperLogic } from "./crl_keeper.ts";
import type { LoadError } from "../files/load_error.ts";
import {
  filesOf,
  loadTrust,
  noSources,
  type TrustLoaded,
  type TrustPaths,
  type TrustSources,
  type TrustTerms,
} from "./load_trust.ts";
import type { Ports } from "../runtime/ports.ts";
import { ranOut, reportBroken, reportLoaded, review, warn } from "./trust_reports.ts";

/** Input of the trust store. */
export interface TrustStoreInput extends TrustPaths {
  /** Clock, log and files. */
  readonly ports: Ports;
  /** What may be trusted. */
  readonly policy: Policy;
  /** Directory of marks and lists from an earlier run, and for a later one; undefined: neither. */
  readonly stateDir?: string | undefined;
  /** Times, for tests; in milliseconds. */
  readonly timing?: Partial<TrustTiming>;
}

/** Times of the store, in milliseconds. */
export interface TrustTiming {
  /** Files that stay the same this long have stopped changing. A change is in force after about twice this time. */
  readonly settleMs: number;
  /** How often the files are looked at without a change in their folders. */
  readonly pollMs: number;
  /** The same where the folders cannot be watched. */
  readonly pollUnwatchedMs: number;
  /** When marks and lists that could not be kept are written again; {@linkcode keepRetryMs} where undefined. */
  readonly keepRetryMs?: number;
}

/** A revocation may take one second from the renamed file to the closed connection: these times use a part of it. */
export const defaultTiming: TrustTiming = { settleMs: 50, pollMs: 5_000, pollUnwatchedMs: 500 };

/** What the store sends its parent. */
export type TrustEvent =
  | { readonly type: "trust.loaded"; readonly snapshot: TrustSnapshot }
  | { readonly type: "trust.failed"; readonly error: unknown }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot };

/** A reading: what the files looked like before it, and what came of it. */
export interface Reading extends FilesLook {
  readonly outcome: Result.Result<TrustLoaded, readonly LoadError[]>;
}

/** What was loaded so far. */
export interface KnownTrust {
  readonly sources: TrustSources;
  /** What each file looked like when it loaded last, by its path. */
  readonly loadedAs: ReadonlyMap<string, string>;
}

/** The events of the store. */
export type TrustStoreEvent =
  /** Read the files again, changed or not (SIGHUP). */
  | { readonly type: "trust.reload" }
  | WatchedFilesEvent
  | EventsOf<typeof actors>;

export interface TrustStoreContext extends KnownTrust {
  readonly ports: Ports;
  readonly paths: TrustPaths;
  readonly policy: Policy;
  readonly timing: TrustTiming;
  readonly snapshot: TrustSnapshot | undefined;
  readonly stateDir: string | undefined;
  readonly crlMarks: CrlHighWaterMarks;
  /** The current lists, by `domainKey`; undefined before the first reading. */
  readonly seenLists: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
  /** What the kept files held when the state directory was opened. */
  readonly held: ReadonlyMap<string, string>;
  /** Number of current lists with a verified signature, by the last count. */
  readonly vouched: number;
  /** What the files looked like when they were last read; undefined: each poll reads them again. */
  readonly readAs: string | undefined;
  /** When the snapshot was last announced: lists whose grace ended since then change what is trusted. */
  readonly announcedAt: number;
  /** Current warnings: each is reported once. */
  readonly warned: ReadonlySet<string>;
  readonly reviewedAt: number;
  /** Why the last reading brought nothing; empty where it did. */
  readonly errors: readonly unknown[];
}

const read = (paths: TrustPaths, terms: TrustTerms, { sources, loadedAs }: KnownTrust) =>
  Effect.gen(function* () {
    const looked = yield* lookAtFiles(filesOf(paths));
    const loaded = loadTrust(paths, terms, sources).pipe(
      Effect.mapError((error): readonly LoadError[] => [error]),
      Effect.filterOrFail(
        ({ broken, previous }) => broken.length === 0 || isNews(looked.files, { previous, loadedAs }),
        ({ broken }) => broken,
      ),
    );
    return { ...looked, outcome: yield* Effect.result(loaded) } satisfies Reading;
  });

/** Whether a file that loads has changed. */
function isNews(
  files: FilesLook["files"],
  { previous, loadedAs }: Pick<TrustLoaded, "previous"> & Pick<KnownTrust, "loadedAs">,
): boolean {
  return [...files].some(([path, signature]) => !previous.has(path) && loadedAs.get(path) !== signature);
}

/** The terms of the next snapshot. */
function nextTerms({ policy, snapshot, crlMarks, seenLists, stateDir, ports }: TrustStoreContext): TrustTerms {
  const generation = (snapshot?.generation ?? 0) + 1;
  return { policy, crlMarks, seenLists, stateDir, generation, at: new Date(ports.now()) };
}

/**
 * What the watch learns of a reading. A file that may not be read is tried again at each poll: a permission that is given
 * back changes nothing that a look sees.
 */
function filesRead({ signature, outcome }: Reading): FilesRead {
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
const brokenOff = ({ error }: { readonly error: unknown }): FilesRead => ({
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

const actors = {
  watchedFiles: watchedFilesMachine,
  keeper: crlKeeperLogic,
  readTrust: fromEffect(
    "readTrust",
    ({ paths, terms, known }: EffectInput & { paths: TrustPaths; terms: TrustTerms; known: KnownTrust }) =>
      read(paths, terms, known),
  ),
};

const store = setup({
  types: {
    input: {} as TrustStoreInput,
    context: {} as TrustStoreContext,
    events: {} as TrustStoreEvent,
  },
  actors,
  guards: {
    loads: (_, { outcome }: { outcome: Reading["outcome"] }) => Result.isSuccess(outcome),
    ranOut: ({ context }) => ranOut(context),
    isVouched: ({ context }) => countVouched(context.seenLists) !== context.vouched,
  },
  actions: {
    take: assign(({ context }, { reading }: { reading: Reading }) => {
      const { signature, mendsItself } = filesRead(reading);
      const readAs = mendsItself ? undefined : signature;
      if (Result.isFailure(reading.outcome)) return { readAs, errors: reading.outcome.failure };
      const made = reading.outcome.success;
      return {
        snapshot: made.snapshot,
        crlMarks: made.crlMarks,
        seenLists: made.lists,
        held: context.seenLists === undefined ? made.held : context.held,
        vouched: countVouched(made.lists),
        sources: made.sources,
        loadedAs: loadedAs(context.loadedAs, reading.files, made),
        readAs,
        announcedAt: context.ports.now(),
        reviewedAt: context.ports.now(),
        warned: warn(context, made.warnings),
        errors: [],
      };
    }),
    takeError: assign((_, { error }: { error: unknown }) => ({ errors: [error] })),
    tellFiles: sendTo("files", (_, command: WatchedFilesCommand) => command),
    review: assign(({ context }) => review(context)),
    keep: sendTo("keeper", ({ context }) => keepWork(context)),
    /** The signature of a list was verified meanwhile, on a peer's path: the list makes its mark. */
    noteVouched: assign(({ context }) => noteVouched(context)),
    /** The same trust with the next generation: time changed its verdicts. */
    renew: assign(({ context }) => ({
      announcedAt: context.ports.now(),
      snapshot: context.snapshot && { ...context.snapshot, generation: context.snapshot.generation + 1 },
    })),
    reportLoaded: ({ context }, { reading }: { reading: Reading }) => {
      if (Result.isSuccess(reading.outcome)) reportLoaded(context, reading.outcome.success);
    },
    reportBroken: ({ context }) => {
      for (const error of context.errors) reportBroken(context, error);
    },
    reportUnwatched: ({ context }, { error }: { error: unknown }) =>
      context.ports.report({
        level: "warn",
        event: "trust.unwatched",
        message:
          `Cannot watch the folders of trust_pem and crls_pem, looking every ${context.timing.pollUnwatchedMs} ms instead`,
        fields: { error: String(error) },
      }),
    sendLoaded: sendParent(({ context }) => ({ type: "trust.loaded", snapshot: context.snapshot })),
    sendChanged: sendParent(({ context }) => ({ type: "trust.changed", snapshot: context.snapshot })),
    sendFailed: sendParent(({ context }) => ({ type: "trust.failed", error: context.errors[0] })),
  },
});

type ReadEvent = { readonly event: { readonly value: Reading } };
type FailEvent = { readonly event: { readonly error: unknown } };
const reading = ({ event }: ReadEvent) => ({ reading: event.value });
const outcome = ({ event }: ReadEvent) => ({ outcome: event.value.outcome });
const failure = ({ event }: FailEvent) => ({ error: event.error });
const answer = ({ event }: ReadEvent) => filesRead(event.value);
const tellBrokenOff = { type: "tellFiles", params: ({ event }: FailEvent) => brokenOff(event) } as const;

const readFiles = store.createStateConfig({
  invoke: {
    src: "readTrust",
    input: ({ context }) => ({
      ports: context.ports,
      paths: context.paths,
      terms: nextTerms(context),
      known: { sources: context.sources, loadedAs: context.loadedAs },
    }),
  },
});

/** The trust store as a machine. */
export const trustStoreMachine = store.createMachine({
  id: "trustStore",
  context: ({ input: { ports, policy, trustPem, crlsPem, ownName, domains, stateDir, timing } }) => ({
    ports,
    policy,
    paths: { trustPem, crlsPem, ownName, domains },
    timing: { ...defaultTiming, ...timing },
    snapshot: undefined,
    stateDir,
    crlMarks: {},
    seenLists: undefined,
    held: new Map(),
    vouched: 0,
    sources: noSources,
    loadedAs: new Map(),
    readAs: undefined,
    announcedAt: 0,
    warned: new Set(),
    reviewedAt: 0,
    errors: [],
  }),
  invoke: { id: "keeper", src: "keeper", input: ({ context }) => keeperInput(context) },
  initial: "loading",
  states: {
    loading: {
      ...readFiles,
      on: {
        "effect.done.readTrust": [
          {
            guard: { type: "loads", params: outcome },
            target: "running",
            actions: [
              { type: "take", params: reading },
              { type: "reportLoaded", params: reading },
              "sendLoaded",
              "keep",
            ],
          },
          { target: "failed", actions: [{ type: "take", params: reading }, "sendFailed"] },
        ],
        "effect.failed.readTrust": {
          target: "failed",
          actions: [{ type: "takeError", params: failure }, "sendFailed"],
        },
      },
    },
    running: {
      invoke: {
        id: "files",
        src: "watchedFiles",
        input: ({ context: { ports, paths, timing, readAs } }) => ({
          ports,
          paths: filesOf(paths),
          timing: { ...timing, patienceMs: 0 },
          readAs,
        }),
      },
      on: {
        "trust.reload": { actions: { type: "tellFiles", params: { type: "files.reload" } } },
        // Lists that a peer's path has vouched for are kept before their file is read again: it may hold older ones now.
        "files.changed": [
          { guard: "isVouched", target: ".reading", actions: ["noteVouched", "keep"] },
          { target: ".reading" },
        ],
        "files.broken": { actions: "reportBroken" },
        "files.unwatched": { actions: { type: "reportUnwatched", params: failure } },
      },
      initial: "resting",
      states: {
        resting: { on: { "files.unchanged": { target: "reviewing" } } },
        reviewing: {
          entry: "review",
          always: [
            { guard: "isVouched", target: "reviewing", reenter: true, actions: ["noteVouched", "keep"] },
            { guard: "ranOut", target: "resting", actions: ["renew", "sendChanged"] },
            { target: "resting" },
          ],
        },
        reading: {
          ...readFiles,
          on: {
            "files.changed": { target: "reading", reenter: true },
            "effect.done.readTrust": [
              {
                guard: { type: "loads", params: outcome },
                target: "resting",
                actions: [
                  { type: "take", params: reading },
                  { type: "reportLoaded", params: reading },
                  "sendChanged",
                  "keep",
                  { type: "tellFiles", params: answer },
                ],
              },
              {
                target: "reviewing",
                actions: [{ type: "take", params: reading }, { type: "tellFiles", params: answer }],
              },
            ],
            "effect.failed.readTrust": {
              target: "reviewing",
              actions: [{ type: "takeError", params: failure }, tellBrokenOff],
            },
          },
        },
      },
    },
    failed: { type: "final" },
  },
});
