/**
 * Watches files for their owner: decides when the owner reads them, and when it reports that they cannot be loaded.
 *
 * ```
 * running: watching ── touched, a poll found changes ─▶ settling ─▶ looking ── changed, and no longer changing ─▶ reading
 *            ▲ ▲                                            ▲         │ │                              (the owner reads)
 *            │ │                                            └─────────┘ │  still changing                          │ │
 *            │ └─────────────────── nothing new ────────────────────────┘                                          │ │
 *            ├────────────────────── loaded, or broken for longer than patienceMs ─────────────────────────────────┘ │
 *            └────────────────────────────────── doubting (reads again) ◀── freshly broken ──────────────────────────┘
 * ```
 *
 * The machine looks at the files (device, inode, size, times) whenever something in their folders changes, and slowly
 * without that, for file systems that report no changes. It asks for a reading once the files have stopped changing, so
 * that the owner never takes half a copied file for a whole one. Files that change together (a key and its certificate)
 * do not load in between: they are read again until they do, or until `patienceMs` has passed.
 *
 * The owner invokes the machine after its own first reading. It receives `files.changed` and answers each with
 * `files.read`, once. Every state accepts `files.reload` (SIGHUP), which asks for a reading at once.
 *
 * @module
 */
import { dirname } from "node:path";
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { assign, sendParent, setup } from "xstate";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { fromPoll, type Polled, type PollInput } from "./poll.ts";
import { signatureOf } from "./read_whole.ts";
import { watchFoldersLogic } from "./watch_folders.ts";

/** Times of the machine, in milliseconds. */
export interface WatchedFilesTiming {
  /** Files that stay the same this long have stopped changing. The owner reads a change after about twice this time. */
  readonly settleMs: number;
  /** How often the files are looked at without a change in their folders. */
  readonly pollMs: number;
  /** The same where the folders cannot be watched. */
  readonly pollUnwatchedMs: number;
  /** How long files may be broken before the owner reports it: the time between the copies of two files. */
  readonly patienceMs: number;
}

/** Input of the machine. */
export interface WatchedFilesInput {
  readonly ports: Ports;
  /** Paths of the files. */
  readonly paths: readonly string[];
  readonly timing: WatchedFilesTiming;
  /** What the files looked like when the owner read them; undefined: read them anyway. */
  readonly readAs: string | undefined;
}

/** A look at all files. */
export interface FilesLook {
  readonly signature: string;
  /** What each file looked like, by its path. */
  readonly files: ReadonlyMap<string, string>;
}

/** The owner's answer to `files.changed`. */
export interface FilesRead {
  readonly type: "files.read";
  /** What the files looked like before the owner read them. */
  readonly signature: string;
  /** Whether the owner uses what it read. */
  readonly isLoaded: boolean;
  /** Names what is wrong with the files: two readings with the same problem are reported once. */
  readonly problem: string | undefined;
  /** Time or a permission can correct the problem without a change of the files: each poll reads them again. */
  readonly mendsItself: boolean;
}

/** What the machine sends to its owner. */
export type WatchedFilesEvent =
  /** Read the files. */
  | { readonly type: "files.changed" }
  /** A look found the files as they were read. */
  | { readonly type: "files.unchanged" }
  /** Report the problem of the last reading: it is new, and it lasted. */
  | { readonly type: "files.broken" }
  /** The folders cannot be watched: the machine polls faster. */
  | { readonly type: "files.unwatched"; readonly error: unknown };

/** What the owner sends to the machine. */
export type WatchedFilesCommand = FilesRead | { readonly type: "files.reload" };

export interface WatchedFilesContext extends WatchedFilesInput {
  /** What the files looked like at the last look. */
  readonly seenAs: string | undefined;
  /** Looks since the files began to change. */
  readonly rounds: number;
  /** Something changed in the folders since the last look began. */
  readonly touched: boolean;
  readonly watched: boolean;
  /** Since when the files are broken, in milliseconds since the epoch. */
  readonly brokenSince: number | undefined;
  /** The problem that was reported last, and what the files looked like then. */
  readonly reportedAs: string | undefined;
}

/**
 * Looks at files that never stop changing before they are read as they are. Among them may be those of a partner organisation, whose
 * changes must not delay our own revocations for a second: seven looks and a reading take less, also with the longest pause that is drawn.
 */
export const settleRoundsMax = 7;

/**
 * Looks at files: each has a signature that changes with the file. Never fails. A file that does not answer holds up the others once, until
 * its deadline.
 */
export function lookAtFiles(paths: readonly string[]): Effect.Effect<FilesLook, never, FileSystem> {
  return Effect.map(
    Effect.forEach(paths, (path) => Effect.map(signatureOf(path), (signature) => [path, signature] as const)),
    (seen) => ({ signature: seen.map(([, signature]) => signature).join(" "), files: new Map(seen) }),
  );
}

const noLook: FilesLook = { signature: "", files: new Map() };

/** The folders of files, each once. */
const foldersOf = (paths: readonly string[]) => [...new Set(paths.map((path) => dirname(path)))];

const nameProblem = ({ problem, signature }: FilesRead) =>
  problem === undefined ? undefined : `${problem} ${signature}`;

const actors = {
  watchFolders: watchFoldersLogic,
  pollFiles: fromPoll(({ paths }: PollInput & { readonly paths: readonly string[] }) => lookAtFiles(paths)),
  lookAtFiles: fromEffect(
    "lookAtFiles",
    ({ paths }: EffectInput & { readonly paths: readonly string[] }) => lookAtFiles(paths),
  ),
};

const watch = setup({
  types: {
    input: {} as WatchedFilesInput,
    context: {} as WatchedFilesContext,
    events: {} as WatchedFilesCommand | EventsOf<typeof actors>,
  },
  actors,
  guards: {
    isAsRead: ({ context }, { seen }: Pick<Polled<FilesLook>, "seen">) =>
      seen === undefined || seen.signature === context.readAs,
    isRead: ({ context }, { signature }: FilesLook) => signature === context.readAs,
    hasSettled: ({ context }, { signature }: FilesLook) =>
      signature === context.seenAs || context.rounds >= settleRoundsMax,
    wasTouched: ({ context }) => context.touched,
    isLoaded: (_, { isLoaded }: FilesRead) => isLoaded,
    isReported: ({ context: { reportedAs } }, reading: FilesRead) =>
      reportedAs !== undefined && nameProblem(reading) === reportedAs,
    /** The files broke a moment ago: they may be half written. */
    isFresh: ({ context: { brokenSince, ports, timing } }) => {
      const forMs = brokenSince === undefined ? 0 : ports.now() - brokenSince;
      return forMs >= 0 && forMs < timing.patienceMs;
    },
  },
  actions: {
    markTouched: assign({ touched: true }),
    markSeen: assign(({ context }, { signature }: FilesLook) => ({ seenAs: signature, rounds: context.rounds + 1 })),
    markRested: assign({ rounds: 0, seenAs: undefined }),
    beginLook: assign({ touched: false }),
    markWatched: assign({ watched: true }),
    markUnwatched: assign({ watched: false }),
    noteRead: assign((_, { signature, mendsItself }: FilesRead) => ({ readAs: mendsItself ? undefined : signature })),
    noteBroken: assign(({ context }) => ({ brokenSince: context.brokenSince ?? context.ports.now() })),
    noteReported: assign((_, reading: FilesRead) => ({ brokenSince: undefined, reportedAs: nameProblem(reading) })),
    forgetBroken: assign({ brokenSince: undefined, reportedAs: undefined }),
    sendChanged: sendParent((): WatchedFilesEvent => ({ type: "files.changed" })),
    sendUnchanged: sendParent((): WatchedFilesEvent => ({ type: "files.unchanged" })),
    sendBroken: sendParent((): WatchedFilesEvent => ({ type: "files.broken" })),
    sendUnwatched: sendParent((_, { error }: { error: unknown }): WatchedFilesEvent => ({
      type: "files.unwatched",
      error,
    })),
  },
  delays: {
    settle: ({ context }) => context.timing.settleMs,
    doubt: ({ context: { timing } }) => Math.min(4 * timing.settleMs, timing.patienceMs),
  },
});

type Looked = { readonly event: { readonly value: FilesLook } };
const look = ({ event }: Looked) => event.value;
type PolledFiles = { readonly event: Polled<FilesLook> };
const polled = ({ event: { seen } }: PolledFiles) => ({ seen });
/** After `isAsRead`, which takes the looks that broke off. */
const polledLook = ({ event: { seen } }: PolledFiles) => seen ?? noLook;
const reading = ({ event }: { readonly event: FilesRead }) => event;
const failure = ({ event }: { readonly event: { readonly error: unknown } }) => ({ error: event.error });
const unwatched = ["markUnwatched", { type: "sendUnwatched", params: failure }] as const;

/** The watch as a machine. */
export const watchedFilesMachine = watch.createMachine({
  id: "watchedFiles",
  context: ({ input }) => ({
    ...input,
    seenAs: undefined,
    rounds: 0,
    touched: false,
    watched: true,
    brokenSince: undefined,
    reportedAs: undefined,
  }),
  initial: "running",
  states: {
    /** Entered anew after each reading with news: watches a folder that was replaced, and looks once more. */
    running: {
      entry: "markWatched",
      invoke: {
        src: "watchFolders",
        input: ({ context: { ports, paths } }) => ({ ports, folders: foldersOf(paths) }),
      },
      on: {
        "files.reload": { target: ".reading", reenter: true, actions: "forgetBroken" },
        "files.touched": { actions: "markTouched" },
        "watch.failed": { actions: unwatched },
      },
      initial: "watching",
      states: {
        watching: {
          entry: "markRested",
          always: { guard: "wasTouched", target: "settling" },
          invoke: {
            src: "pollFiles",
            input: ({ context: { ports, paths, watched, timing } }) => ({
              ports,
              paths,
              everyMs: watched ? timing.pollMs : timing.pollUnwatchedMs,
            }),
          },
          on: {
            "files.touched": { target: "settling" },
            "polled": [
              { guard: { type: "isAsRead", params: polled }, actions: "sendUnchanged" },
              { target: "settling", actions: { type: "markSeen", params: polledLook } },
            ],
            /** Entered anew, so that the faster poll begins now. */
            "watch.failed": { target: "watching", reenter: true, actions: unwatched },
          },
        },
        settling: { after: { settle: "looking" } },
        looking: {
          entry: "beginLook",
          invoke: { src: "lookAtFiles", input: ({ context: { ports, paths } }) => ({ ports, paths }) },
          on: {
            "effect.done.lookAtFiles": [
              { guard: { type: "isRead", params: look }, target: "watching", actions: "sendUnchanged" },
              { guard: { type: "hasSettled", params: look }, target: "reading" },
              { target: "settling", actions: { type: "markSeen", params: look } },
            ],
            "effect.failed.lookAtFiles": { target: "watching", actions: "sendUnchanged" },
          },
        },
        reading: {
          entry: "sendChanged",
          on: {
            "files.read": [
              {
                guard: { type: "isLoaded", params: reading },
                target: "#watchedFiles.running",
                reenter: true,
                actions: [{ type: "noteRead", params: reading }, { type: "noteReported", params: reading }],
              },
              {
                guard: "isFresh",
                target: "doubting",
                actions: [{ type: "noteRead", params: reading }, "noteBroken"],
              },
              {
                guard: { type: "isReported", params: reading },
                target: "watching",
                actions: [{ type: "noteRead", params: reading }, { type: "noteReported", params: reading }],
              },
              {
                target: "#watchedFiles.running",
                reenter: true,
                actions: [
                  { type: "noteRead", params: reading },
                  { type: "noteReported", params: reading },
                  "sendBroken",
                ],
              },
            ],
          },
        },
        doubting: { after: { doubt: "reading" } },
      },
    },
  },
});
