/**
 * Watches the folders of kept and learned lists, and sends its owner what they hold.
 *
 * ```
 * idle (without a state directory)
 * running: watching (polls) ── touched ─▶ settling ─▶ looking ─▶ watching
 *                                            ▲           └─ touched meanwhile ─▶ settling
 * ```
 *
 * Lists are written aside and renamed into place: one look after a short pause is enough. A folder that cannot be watched is looked at
 * more often, and watched as soon as it can be; the keeper of lists reports what is wrong with it.
 *
 * @module
 */
import { Effect } from "effect";
import { assign, sendParent, setup } from "xstate";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { fromPoll, type Polled, type PollInput } from "./poll.ts";
import { keptFolder, lookAtKept } from "./state_directory.ts";
import { watchFoldersLogic } from "./watch_folders.ts";
import type { WatchedFilesTiming } from "./watched_files.ts";

/** Input of the machine. */
export interface WatchedCrlsInput {
  readonly ports: Ports;
  /** Undefined: there is nothing to watch. */
  readonly stateDir: string | undefined;
  /** Trust domains, as marks name them. */
  readonly domains: readonly string[];
  readonly timing: Omit<WatchedFilesTiming, "patienceMs">;
}

/** What the machine sends to its owner after each look. */
export interface LearnedSeen {
  readonly type: "learned.seen";
  /** What each file looks like, by its path. */
  readonly files: ReadonlyMap<string, string>;
}

export interface WatchedCrlsContext extends WatchedCrlsInput {
  readonly watched: boolean;
  /** Something changed in the folders since the look began: it goes on, so that no writer starves it. */
  readonly touched: boolean;
}

/** What each list in the folders looks like, by its path. Never fails. */
const lookAtLists = ({ stateDir, domains }: Looking) =>
  Effect.map(
    stateDir === undefined ? Effect.succeed([]) : lookAtKept(stateDir, domains),
    (seen): ReadonlyMap<string, string> => new Map(seen.map(({ path, signature }) => [path, signature] as const)),
  );

const actors = {
  watchFolders: watchFoldersLogic,
  pollLists: fromPoll((input: PollInput & Looking) => lookAtLists(input)),
  lookAtLists: fromEffect("lookAtLists", (input: EffectInput & Looking) => lookAtLists(input)),
};

export type Looking = Pick<WatchedCrlsInput, "stateDir" | "domains">;

const watch = setup({
  types: {
    input: {} as WatchedCrlsInput,
    context: {} as WatchedCrlsContext,
    events: {} as EventsOf<typeof actors>,
  },
  actors,
  guards: {
    brokeOff: (_, { seen }: { readonly seen: unknown }) => seen === undefined,
    isUnwatched: ({ context }) => !context.watched,
    wasTouched: ({ context }) => context.touched,
    hasFolders: ({ context }) => context.stateDir !== undefined,
  },
  actions: {
    markWatched: assign({ watched: true }),
    markTouched: assign({ touched: true }),
    beginLook: assign({ touched: false }),
    markUnwatched: assign({ watched: false }),
    sendSeen: sendParent((_, { files }: { files: ReadonlyMap<string, string> }): LearnedSeen => ({
      type: "learned.seen",
      files,
    })),
  },
  delays: {
    settle: ({ context }) => context.timing.settleMs,
  },
});

const sendSeen = {
  type: "sendSeen",
  params: ({ event }: { readonly event: { readonly value: ReadonlyMap<string, string> } }) => ({ files: event.value }),
} as const;
type PolledLists = { readonly event: Polled<ReadonlyMap<string, string>> };
const polled = ({ event: { seen } }: PolledLists) => ({ seen });
const sendPolled = {
  type: "sendSeen",
  params: ({ event: { seen = new Map() } }: PolledLists) => ({ files: seen }),
} as const;

/** The watch as a machine. */
export const watchedCrlsMachine = watch.createMachine({
  id: "watchedCrls",
  context: ({ input }) => ({ ...input, watched: true, touched: false }),
  initial: "beginning",
  states: {
    beginning: { always: [{ guard: "hasFolders", target: "running" }, { target: "idle" }] },
    idle: {},
    running: {
      entry: "markWatched",
      invoke: {
        src: "watchFolders",
        input: ({ context: { ports, stateDir = "", domains } }) => ({
          ports,
          folders: domains.map((domain) => keptFolder(stateDir, domain)),
        }),
      },
      on: { "watch.failed": { actions: "markUnwatched" } },
      initial: "watching",
      states: {
        watching: {
          invoke: {
            src: "pollLists",
            input: ({ context: { ports, stateDir, domains, watched, timing } }) => ({
              ports,
              stateDir,
              domains,
              everyMs: watched ? timing.pollMs : timing.pollUnwatchedMs,
            }),
          },
          on: {
            "files.touched": "settling",
            "polled": [
              { guard: { type: "brokeOff", params: polled } },
              { guard: "isUnwatched", target: "#watchedCrls.running", reenter: true, actions: sendPolled },
              { actions: sendPolled },
            ],
            /** Entered anew, so that the faster poll begins now. */
            "watch.failed": { target: "watching", reenter: true, actions: "markUnwatched" },
          },
        },
        settling: { after: { settle: "looking" } },
        looking: {
          entry: "beginLook",
          invoke: {
            src: "lookAtLists",
            input: ({ context: { ports, stateDir, domains } }) => ({ ports, stateDir, domains }),
          },
          on: {
            "files.touched": { actions: "markTouched" },
            "effect.done.lookAtLists": [
              { guard: "isUnwatched", target: "#watchedCrls.running", reenter: true, actions: sendSeen },
              { guard: "wasTouched", target: "settling", actions: sendSeen },
              { target: "watching", actions: sendSeen },
            ],
            "effect.failed.lookAtLists": "watching",
          },
        },
      },
    },
  },
});
