/**
 * Owns the TrustSnapshot: loads it, watches the files it comes from, announces what is new.
 *
 * ```
 * loading ─▶ running: resting ── files.changed, learned.seen ─▶ reading ─▶ resting
 *    │                resting ── files.unchanged, and time or a peer's path changed something ─▶ reviewing ─▶ resting
 *    ▼
 *  failed
 * ```
 *
 * `actors/files/watched_files.ts` watches the files and says when to read them. Where a file does not load, its previous
 * content stays in force, the store reports that, and the file is read again when it changes, or on `trust.reload`
 * (SIGHUP), which every state of `running` accepts. Changes of the other files are taken meanwhile; where nothing changed in
 * them, or they do not go together, the previous snapshot stays in force.
 *
 * `actors/files/watched_crls.ts` watches the lists in the state directory: those that the network brought. When one of them changes,
 * it alone is read. No fault of these files ends a start or takes a list out of force.
 *
 * Sends its parent `trust.loaded` or `trust.failed` first, and `trust.changed` ever after. The end of a list's grace
 * changes what is trusted too: the snapshot is announced again, so that connections are verified again.
 *
 * @module
 */
import { Result } from "effect";
import { assign, enqueueActions, sendParent, sendTo, setup } from "xstate";
import type { HeldCrl } from "../../pki/crl.ts";
import type { CrlHighWaterMarks } from "../../pki/crl_marks.ts";
import type { Policy, TrustSnapshot } from "../../pki/trust.ts";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { LearnedFile, LearnedFiles } from "../files/read_learned.ts";
import { type LearnedSeen, watchedCrlsMachine } from "../files/watched_crls.ts";
import { type WatchedFilesCommand, type WatchedFilesEvent, watchedFilesMachine } from "../files/watched_files.ts";
import { countVouched, keeperInput, keepWork, noteKept, noteVouched } from "./kept_trust.ts";
import { crlKeeperLogic, type CrlsKept } from "./crl_keeper.ts";
import { domainsOfPaths, filesOf, noSources, type TrustPaths } from "./load_trust.ts";
import type { Ports } from "../runtime/ports.ts";
import { isReviewDue, ranOut, reportBroken, reportLoaded, review } from "./trust_reports.ts";
import {
  brokenOff,
  type CrlsLost,
  filesRead,
  isLearnedDue,
  isLearnedNew,
  type KnownTrust,
  lostBy,
  type Reading,
  readingOf,
  readTrust,
  taken,
} from "./trust_reading.ts";

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
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  | CrlsLost;

/** The events of the store. */
export type TrustStoreEvent =
  /** Read the files again, changed or not (SIGHUP). */
  | { readonly type: "trust.reload" }
  | WatchedFilesEvent
  | LearnedSeen
  | CrlsKept
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
  /** The files of lists in the state directory, as they were read or written. */
  readonly learned: LearnedFiles;
  /** Of these, the files that the keeper wrote (or removed) since the last reading ended. */
  readonly kept: ReadonlyMap<string, LearnedFile | undefined>;
  /** SHA-256 of lists in force that were in a file of the state directory: they belong there. */
  readonly onDisk: ReadonlySet<string>;
  /** What the next reading is about: all files, or those of the state directory alone. */
  readonly wants: "all" | "learned";
  /** Files of the state directory changed during a reading. */
  readonly isLearnedWaiting: boolean;
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

const actors = {
  watchedFiles: watchedFilesMachine,
  watchedCrls: watchedCrlsMachine,
  keeper: crlKeeperLogic,
  readTrust: fromEffect("readTrust", readTrust),
};

const store = setup({
  types: {
    input: {} as TrustStoreInput,
    context: {} as TrustStoreContext,
    events: {} as TrustStoreEvent,
  },
  actors,
  guards: {
    loads: (_, { reading: { outcome } }: { reading: Reading }) => outcome !== undefined && Result.isSuccess(outcome),
    /** Nothing in the state directory is new to the store. */
    bringsNothing: (_, { reading }: { reading: Reading }) => reading.outcome === undefined,
    isLearnedNew: ({ context }, { files }: Pick<LearnedSeen, "files">) => isLearnedNew(context, files),
    isLearnedDue: ({ context }) => isLearnedDue(context),
    isLearnedWaiting: ({ context }) => context.isLearnedWaiting,
    ranOut: ({ context }) => ranOut(context),
    isReviewDue: ({ context }) =>
      isReviewDue(context) || ranOut(context) || countVouched(context.seenLists) !== context.vouched,
    isVouched: ({ context }) => countVouched(context.seenLists) !== context.vouched,
  },
  actions: {
    take: assign(({ context }, { reading }: { reading: Reading }) => taken(context, reading)),
    markAll: assign({ wants: "all" }),
    markLearned: assign({ wants: "learned", isLearnedWaiting: false }),
    markLearnedWaiting: assign({ isLearnedWaiting: true }),
    noteKept: assign(({ context }, event: CrlsKept) => noteKept(context, event)),
    sendLost: enqueueActions(({ context, enqueue, self }, { reading }: { reading: Reading }) => {
      const lost = lostBy(context, reading);
      const { _parent: parent } = self;
      if (lost !== undefined && parent !== undefined) enqueue.sendTo(parent, lost);
    }),
    reportState: ({ context }, { reading }: { reading: Reading }) => {
      for (const report of reading.reports) context.ports.report(report);
    },
    takeError: assign((_, { error }: { error: unknown }) => ({ errors: [error] })),
    tellFiles: sendTo("files", (_, command: WatchedFilesCommand) => command),
    tellRead: enqueueActions(({ enqueue }, { reading }: { reading: Reading }) => {
      if (reading.scope === "all") enqueue.sendTo("files", filesRead(reading));
    }),
    review: assign(({ context }) => review(context)),
    keep: sendTo("keeper", ({ context }) => keepWork(context)),
    /** The signature of a list was verified meanwhile, on a peer's path: the list makes its mark. */
    noteVouched: assign(({ context }) => noteVouched(context)),
    /** The same trust with the next generation: time changed its verdicts. */
    renew: assign(({ context }) => ({
      announcedAt: context.ports.now(),
      snapshot: context.snapshot && { ...context.snapshot, generation: context.snapshot.generation + 1 },
    })),
    reportLoaded: ({ context }, { reading: { outcome } }: { reading: Reading }) => {
      if (outcome !== undefined && Result.isSuccess(outcome)) reportLoaded(context, outcome.success);
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
const failure = ({ event }: FailEvent) => ({ error: event.error });
const seen = ({ event }: { readonly event: LearnedSeen }) => ({ files: event.files });
const tellBrokenOff = { type: "tellFiles", params: ({ event }: FailEvent) => brokenOff(event) } as const;

const readFiles = store.createStateConfig({
  invoke: {
    src: "readTrust",
    input: ({ context }) => readingOf(context),
  },
});

/** The trust store as a machine. */
export const trustStoreMachine = store.createMachine({
  id: "trustStore",
  context: ({ input: { ports, policy, trustPem, crlsPem, crls, ownName, domains, stateDir, timing } }) => ({
    ports,
    policy,
    paths: { trustPem, crlsPem, crls, ownName, domains },
    timing: { ...defaultTiming, ...timing },
    snapshot: undefined,
    stateDir,
    crlMarks: {},
    seenLists: undefined,
    learned: new Map(),
    kept: new Map(),
    onDisk: new Set(),
    wants: "all",
    isLearnedWaiting: false,
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
            guard: { type: "loads", params: reading },
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
      invoke: [
        {
          id: "files",
          src: "watchedFiles",
          input: ({ context: { ports, paths, timing, readAs } }) => ({
            ports,
            paths: filesOf(paths),
            timing: { ...timing, patienceMs: 0 },
            readAs,
          }),
        },
        {
          id: "learned",
          src: "watchedCrls",
          input: ({ context: { ports, paths, timing, stateDir } }) => ({
            ports,
            stateDir,
            domains: domainsOfPaths(paths),
            timing,
          }),
        },
      ],
      on: {
        "trust.reload": { actions: { type: "tellFiles", params: { type: "files.reload" } } },
        // Lists that a peer's path has vouched for are kept before their file is read again: it may hold older ones now.
        "files.changed": [
          { guard: "isVouched", target: ".reading", actions: ["markAll", "noteVouched", "keep"] },
          { target: ".reading", actions: "markAll" },
        ],
        "files.broken": { actions: "reportBroken" },
        "files.unwatched": { actions: { type: "reportUnwatched", params: failure } },
        "crls.kept": { actions: { type: "noteKept", params: ({ event }) => event } },
      },
      initial: "resting",
      states: {
        resting: {
          always: { guard: "isLearnedWaiting", target: "reading", actions: "markLearned" },
          on: {
            "files.unchanged": [
              { guard: "isLearnedDue", target: "reading", actions: "markLearned" },
              { guard: "isReviewDue", target: "reviewing" },
            ],
            "learned.seen": {
              guard: { type: "isLearnedNew", params: seen },
              target: "reading",
              actions: "markLearned",
            },
          },
        },
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
            "files.changed": { target: "reading", reenter: true, actions: "markAll" },
            // The reading goes on: others may write there as often as they like.
            "learned.seen": { guard: { type: "isLearnedNew", params: seen }, actions: "markLearnedWaiting" },
            "effect.done.readTrust": [
              {
                guard: { type: "bringsNothing", params: reading },
                target: "reviewing",
                actions: [
                  { type: "sendLost", params: reading },
                  { type: "take", params: reading },
                  { type: "reportState", params: reading },
                  "keep",
                ],
              },
              {
                guard: { type: "loads", params: reading },
                target: "resting",
                actions: [
                  { type: "sendLost", params: reading },
                  { type: "take", params: reading },
                  { type: "reportState", params: reading },
                  { type: "reportLoaded", params: reading },
                  "sendChanged",
                  "keep",
                  { type: "tellRead", params: reading },
                ],
              },
              {
                target: "reviewing",
                actions: [{ type: "take", params: reading }, { type: "tellRead", params: reading }],
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
