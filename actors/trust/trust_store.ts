/**
 * Owns the TrustSnapshot: loads it, watches the files it comes from, announces what is new.
 *
 * ```
 * loading ─▶ running: watching ── touched ─▶ settling ─▶ looking ── changed, and no longer changing ─▶ reloading
 *    │                  ▲ ▲ └─ poll ─────────────────────▶ │ │                                            │
 *    │                  │ └─ reviewing ◀── nothing new ────┘ └── still changing ─▶ settling               │
 *    ▼                  └─────────────────────────────────────────────────────────────────────────────────┘
 *  failed
 * ```
 *
 * The files are looked at (device, inode, size, times) whenever something in their folders happens, and slowly without
 * that, for file systems that say nothing. They are read once they have stopped changing, so that a list in the middle
 * of being copied is not taken for a whole one. A file that does not load stands as it was before, says so, and is read
 * again when it changes, or on `trust.reload` (SIGHUP), which every state of `running` hears. What changed in the other
 * files meanwhile is taken up; where nothing did, or they do not go together, the snapshot before stays in force.
 *
 * Says to its parent `trust.loaded` or `trust.failed` first, and `trust.changed` ever after. A list whose grace ends
 * changes what is trusted too: the snapshot is announced again, so that connections are judged anew.
 *
 * @module
 */
import { dirname } from "node:path";
import { Effect, Result } from "effect";
import { assign, sendParent, sendTo, setup } from "xstate";
import type { HeldCrl } from "../../pki/crl.ts";
import type { CrlHighWaterMarks } from "../../pki/crl_marks.ts";
import type { Policy, TrustSnapshot } from "../../pki/trust.ts";
import { type EffectEvent, type EffectInput, fromEffect } from "../runtime/effect_actor.ts";
import { signatureOf } from "../files/read_whole.ts";
import { watchFoldersLogic, type WatchSaid } from "../files/watch_folders.ts";
import { countVouched, keeperInput, keepWork, noteVouched } from "./kept_trust.ts";
import { listKeeperLogic } from "./list_keeper.ts";
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

/** What a trust store is born with. */
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

/** How quick the store is, in milliseconds. */
export interface TrustTiming {
  /** Files that stay the same this long have stopped changing. A change is in force after about twice this time. */
  readonly settleMs: number;
  /** How often the files are looked at where nothing was said, and when their folders cannot be watched. */
  readonly pollMs: number;
  /** The same where the folders cannot be watched. */
  readonly pollUnwatchedMs: number;
  /** When marks and lists that could not be kept are written again; {@linkcode keepRetryMs} where undefined. */
  readonly keepRetryMs?: number;
}

/** Revocation has a second from the renamed file to the closed connection: this leaves most of it. */
export const defaultTiming: TrustTiming = { settleMs: 50, pollMs: 5_000, pollUnwatchedMs: 500 };
/** Looks at files that never stop changing before they are read as they are. */
export const settleRoundsMax = 20;

/** What the store says to its parent. */
export type TrustSaid =
  | { readonly type: "trust.loaded"; readonly snapshot: TrustSnapshot }
  | { readonly type: "trust.failed"; readonly error: unknown }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot };

/** A look at all files. */
export interface Looked {
  readonly signature: string;
  /** What each looked like, by its path. */
  readonly files: ReadonlyMap<string, string>;
}

/** A reading: what the files looked like before it, and what came of it. */
export interface Reading extends Looked {
  readonly outcome: Result.Result<TrustLoaded, readonly LoadError[]>;
}

/** What was loaded so far. */
export interface KnownTrust {
  readonly sources: TrustSources;
  /** What each file looked like when it loaded last, by its path. */
  readonly loadedAs: ReadonlyMap<string, string>;
}

/** What the store hears. */
export type TrustStoreEvent =
  /** Read the files again, changed or not (SIGHUP). */
  | { readonly type: "trust.reload" }
  | WatchSaid
  | EffectEvent<"lookAtTrust", Looked, never>
  | EffectEvent<"readTrust", Reading, never>;

export interface TrustStoreContext extends KnownTrust {
  readonly ports: Ports;
  readonly paths: TrustPaths;
  readonly policy: Policy;
  readonly timing: TrustTiming;
  readonly snapshot: TrustSnapshot | undefined;
  readonly stateDir: string | undefined;
  readonly crlMarks: CrlHighWaterMarks;
  /** The lists in force, by `domainKey`; undefined before the first reading. */
  readonly seenLists: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
  /** What the kept files held when the state directory was opened. */
  readonly held: ReadonlyMap<string, string>;
  /** Lists in force whose signature was found good, by the last count. */
  readonly vouched: number;
  /** What the files looked like when they were last read, and at the last look. */
  readonly readAs: string | undefined;
  readonly seenAs: string | undefined;
  readonly rounds: number;
  /** Something happened in the folders since the last look began. */
  readonly touched: boolean;
  readonly watched: boolean;
  /** When the snapshot was last announced: lists that ran out since change what is trusted. */
  readonly announcedAt: number;
  /** Warnings that stand, so that each is said once. */
  readonly warned: ReadonlySet<string>;
  readonly reviewedAt: number;
  readonly error: unknown;
}

const look = (paths: TrustPaths) =>
  Effect.map(
    Effect.forEach(filesOf(paths), (path) => Effect.map(signatureOf(path), (signature) => [path, signature] as const)),
    (seen): Looked => ({ signature: seen.map(([, signature]) => signature).join(" "), files: new Map(seen) }),
  );

const read = (paths: TrustPaths, terms: TrustTerms, { sources, loadedAs }: KnownTrust) =>
  Effect.gen(function* () {
    const looked = yield* look(paths);
    const loaded = loadTrust(paths, terms, sources).pipe(
      Effect.mapError((error): readonly LoadError[] => [error]),
      Effect.filterOrFail(
        ({ broken }) => broken.length === 0 || isNews(looked.files, { broken, loadedAs }),
        ({ broken }) => broken,
      ),
    );
    return { ...looked, outcome: yield* Effect.result(loaded) } satisfies Reading;
  });

/** Whether a file that loads has changed. */
function isNews(
  files: Looked["files"],
  { broken, loadedAs }: Pick<TrustLoaded, "broken"> & Pick<KnownTrust, "loadedAs">,
): boolean {
  const named = new Set(broken.map(({ file }) => file));
  return [...files].some(([path, signature]) => !named.has(path) && loadedAs.get(path) !== signature);
}

/** The terms of the next snapshot. */
function nextTerms({ policy, snapshot, crlMarks, seenLists, stateDir, ports }: TrustStoreContext): TrustTerms {
  const generation = (snapshot?.generation ?? 0) + 1;
  return { policy, crlMarks, seenLists, stateDir, generation, at: new Date(ports.now()) };
}

/** A file that may not be read is tried again at each poll: giving it back to us changes nothing that a look sees. */
function readAs({ signature, outcome }: Reading): string | undefined {
  const problems = Result.isFailure(outcome) ? outcome.failure : outcome.success.broken;
  return problems.some(({ problem }) => problem === "unreadable") ? undefined : signature;
}

/** What each file looked like when it loaded last. */
function loadedAs(before: KnownTrust["loadedAs"], files: Looked["files"], { broken }: TrustLoaded) {
  const old = broken.map(({ file }) => [file, before.get(file) ?? ""] as const);
  return new Map([...files, ...old]);
}

const store = setup({
  types: {
    input: {} as TrustStoreInput,
    context: {} as TrustStoreContext,
    events: {} as TrustStoreEvent,
  },
  actors: {
    watchFolders: watchFoldersLogic,
    keeper: listKeeperLogic,
    lookAtTrust: fromEffect("lookAtTrust", ({ paths }: EffectInput & { paths: TrustPaths }) => look(paths)),
    readTrust: fromEffect(
      "readTrust",
      ({ paths, terms, known }: EffectInput & { paths: TrustPaths; terms: TrustTerms; known: KnownTrust }) =>
        read(paths, terms, known),
    ),
  },
  guards: {
    loads: (_, { outcome }: { outcome: Reading["outcome"] }) => Result.isSuccess(outcome),
    isRead: ({ context }, { signature }: Seen) => signature === context.readAs,
    hasSettled: ({ context }, { signature }: Seen) => signature === context.seenAs || context.rounds >= settleRoundsMax,
    wasTouched: ({ context }) => context.touched,
    ranOut: ({ context }) => ranOut(context),
    isVouched: ({ context }) => countVouched(context.seenLists) !== context.vouched,
  },
  actions: {
    take: assign(({ context }, { reading }: { reading: Reading }) => {
      if (Result.isFailure(reading.outcome)) return { readAs: readAs(reading), error: reading.outcome.failure[0] };
      const made = reading.outcome.success;
      return {
        snapshot: made.snapshot,
        crlMarks: made.crlMarks,
        seenLists: made.lists,
        held: context.seenLists === undefined ? made.held : context.held,
        vouched: countVouched(made.lists),
        sources: made.sources,
        loadedAs: loadedAs(context.loadedAs, reading.files, made),
        readAs: readAs(reading),
        announcedAt: context.ports.now(),
        reviewedAt: context.ports.now(),
        warned: warn(context, made.warnings),
        error: undefined,
      };
    }),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    markTouched: assign({ touched: true }),
    markSeen: assign(({ context }, { signature }: Seen) => ({ seenAs: signature, rounds: context.rounds + 1 })),
    markRested: assign({ rounds: 0, seenAs: undefined }),
    beginLook: assign({ touched: false }),
    markWatched: assign({ watched: true }),
    markUnwatched: assign({ watched: false }),
    review: assign(({ context }) => review(context)),
    keep: sendTo("keeper", ({ context }) => keepWork(context)),
    /** A list of an issuer that only peers send was found good by then: it makes its mark. */
    noteVouched: assign(({ context }) => noteVouched(context)),
    /** The same trust, with a number of its own, because time changed what it says. */
    renew: assign(({ context }) => ({
      announcedAt: context.ports.now(),
      snapshot: context.snapshot && { ...context.snapshot, generation: context.snapshot.generation + 1 },
    })),
    reportLoaded: ({ context }, { reading }: { reading: Reading }) => {
      if (Result.isSuccess(reading.outcome)) reportLoaded(context, reading.outcome.success);
    },
    reportBroken: ({ context }, { errors }: { errors: readonly unknown[] }) => {
      for (const error of errors) reportBroken(context, error);
    },
    reportUnwatched: ({ context }, { error }: { error: unknown }) =>
      context.ports.report({
        level: "warn",
        event: "trust.unwatched",
        message:
          `Cannot watch the folders of trust_pem and crls_pem, looking every ${context.timing.pollUnwatchedMs} ms instead`,
        fields: { error: String(error) },
      }),
    sayLoaded: sendParent(({ context }) => ({ type: "trust.loaded", snapshot: context.snapshot })),
    sayChanged: sendParent(({ context }) => ({ type: "trust.changed", snapshot: context.snapshot })),
    sayFailed: sendParent(({ context }) => ({ type: "trust.failed", error: context.error })),
  },
  delays: {
    settle: ({ context }) => context.timing.settleMs,
    poll: ({ context: { watched, timing } }) => watched ? timing.pollMs : timing.pollUnwatchedMs,
  },
});

type Seen = Pick<Looked, "signature">;
type ReadEvent = { readonly event: { readonly value: Reading } };
type LookEvent = { readonly event: { readonly value: Looked } };
type FailEvent = { readonly event: { readonly error: unknown } };
const reading = ({ event }: ReadEvent) => ({ reading: event.value });
const outcome = ({ event }: ReadEvent) => ({ outcome: event.value.outcome });
const looked = ({ event }: LookEvent) => ({ signature: event.value.signature });
const failure = ({ event }: FailEvent) => ({ error: event.error });
const broken = ({ event: { value } }: ReadEvent) => ({
  errors: Result.isFailure(value.outcome) ? value.outcome.failure : [],
});
const brokenOff = ({ event }: FailEvent) => ({ errors: [event.error] });

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
  context: ({ input: { ports, policy, trustPem, crlsPem, domains, stateDir, timing } }) => ({
    ports,
    policy,
    paths: { trustPem, crlsPem, domains },
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
    seenAs: undefined,
    rounds: 0,
    touched: false,
    watched: true,
    announcedAt: 0,
    warned: new Set(),
    reviewedAt: 0,
    error: undefined,
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
              "sayLoaded",
              "keep",
            ],
          },
          { target: "failed", actions: [{ type: "take", params: reading }, "sayFailed"] },
        ],
        "effect.failed.readTrust": {
          target: "failed",
          actions: [{ type: "takeError", params: failure }, "sayFailed"],
        },
      },
    },
    /** Entered anew after each reading: that heals a watcher whose folder was replaced, and makes it look once more. */
    running: {
      entry: "markWatched",
      invoke: {
        src: "watchFolders",
        input: ({ context: { ports, paths } }) => ({
          ports,
          folders: [...new Set(filesOf(paths).map((path) => dirname(path)))],
        }),
      },
      on: {
        "trust.reload": { target: ".reloading", reenter: true },
        "files.touched": { actions: "markTouched" },
        "watch.failed": { actions: ["markUnwatched", { type: "reportUnwatched", params: failure }] },
      },
      initial: "watching",
      states: {
        watching: {
          entry: "markRested",
          always: { guard: "wasTouched", target: "settling" },
          after: { poll: "looking" },
          on: { "files.touched": { target: "settling" } },
        },
        settling: {
          after: { settle: "looking" },
        },
        looking: {
          entry: "beginLook",
          invoke: {
            src: "lookAtTrust",
            input: ({ context: { ports, paths } }) => ({ ports, paths }),
          },
          on: {
            "effect.done.lookAtTrust": [
              { guard: { type: "isRead", params: looked }, target: "reviewing" },
              { guard: { type: "hasSettled", params: looked }, target: "reloading" },
              { target: "settling", actions: { type: "markSeen", params: looked } },
            ],
            "effect.failed.lookAtTrust": { target: "reviewing" },
          },
        },
        reviewing: {
          entry: "review",
          always: [
            { guard: "isVouched", target: "reviewing", reenter: true, actions: ["noteVouched", "keep"] },
            { guard: "ranOut", target: "watching", actions: ["renew", "sayChanged"] },
            { target: "watching" },
          ],
        },
        reloading: {
          ...readFiles,
          on: {
            "effect.done.readTrust": [
              {
                guard: { type: "loads", params: outcome },
                target: "#trustStore.running",
                reenter: true,
                actions: [
                  { type: "take", params: reading },
                  { type: "reportLoaded", params: reading },
                  "sayChanged",
                  "keep",
                ],
              },
              {
                target: "#trustStore.running",
                reenter: true,
                actions: [{ type: "take", params: reading }, { type: "reportBroken", params: broken }],
              },
            ],
            "effect.failed.readTrust": {
              target: "#trustStore.running",
              reenter: true,
              actions: { type: "reportBroken", params: brokenOff },
            },
          },
        },
      },
    },
    failed: { type: "final" },
  },
});
