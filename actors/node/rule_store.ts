/**
 * Reads the operator's rules again when the configuration's file changes, and at SIGHUP.
 *
 * ```
 * reading ── loads ─────────────────────────▶ watching   (sends rules.changed where they are others)
 *   │ ▲ ▲ ─── loads, lacks rules that deny ─▶ doubting   (those stay in force)
 *   │ │ └──── removalMs, files.changed ──────── doubting
 *   │ └────── files.changed ─────────────────── watching
 *   └──────── does not load ────────────────▶ watching   (the rules before stay in force)
 * ```
 *
 * Only the rules are taken from the file: its other keys count from the next start. The whole file must load for that,
 * because half an edited file could lack a rule that denies. A file whose writing stops in the middle may load without its last
 * rules: a rule that denies stays in force until the file has been the same for `removalMs`, and its last line has its end. `actors/files/watched_files.ts` says when to read, and when to raise the
 * alarm (`rules.broken`): once for each problem, with the place in the file. Environment and flags override the file as they did at
 * the start.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type ActorRef, assign, enqueueActions, sendTo, setup, type Snapshot } from "xstate";
import type { Rule } from "../../transport/authorization/authorize.ts";
import { makeRules, type RuleText } from "../../transport/authorization/rules.ts";
import type { ConfigReading } from "../config/config_reading.ts";
import type { ConfigError, ConfigProblem } from "../config/problem.ts";
import {
  type FilesRead,
  lookAtFiles,
  type WatchedFilesCommand,
  type WatchedFilesEvent,
  watchedFilesMachine,
  type WatchedFilesTiming,
} from "../files/watched_files.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { besidesReports, brokenReport, keptReport, loadedReport, mendedReport, problemOf } from "./rule_reports.ts";

/** Where the rules come from. */
export interface RuleSource {
  /** Path of the configuration's file. */
  readonly file: string;
  /** Reads the configuration as the start did. */
  readonly read: Effect.Effect<ConfigReading, ConfigError, FileSystem>;
  /** What the start read; the store's first reading where it is not known. */
  readonly started?: ConfigReading | undefined;
}

/** Times of the machine, in milliseconds. */
export interface RuleTiming extends WatchedFilesTiming {
  /** A file that lacks a rule that denies is taken after it stayed the same this long. */
  readonly removalMs: number;
}

/** Input of the machine. */
export interface RuleStoreInput {
  readonly ports: Ports;
  readonly source: RuleSource;
  /** The rules that the node started with. */
  readonly rules: readonly RuleText[];
  /** Times, for tests; in milliseconds. */
  readonly timing?: Partial<RuleTiming>;
}

/**
 * A changed rule reaches the gates within a second of the changed file. A file that an
 * editor is still writing gets a second before the alarm.
 */
export const defaultRuleTiming: RuleTiming = {
  settleMs: 50,
  pollMs: 5_000,
  pollUnwatchedMs: 500,
  patienceMs: 1_000,
  removalMs: 3_000,
};

/** What the machine sends its parent. */
export interface RulesChanged {
  readonly type: "rules.changed";
  readonly rules: readonly Rule[];
}

/** What the machine takes from its parent: read the file again, changed or not (SIGHUP). */
export interface RulesReload {
  readonly type: "rules.reload";
}

/** The machine as its parent sees it. */
export type RuleStoreRef = ActorRef<Snapshot<unknown>, RulesReload>;

/** A reading: what the file looked like before it, and what came of it. */
export interface RulesReading {
  readonly signature: string;
  readonly outcome: Result.Result<ConfigReading, ConfigError>;
}

/** What the machine remembers. */
export interface RuleStoreContext extends Omit<RuleStoreInput, "timing"> {
  readonly timing: RuleTiming;
  /** What the node runs with, and the last reading that loaded. */
  readonly started: ConfigReading | undefined;
  readonly last: ConfigReading | undefined;
  /** The file that lacks a rule that denies, and whether it has been waited for. */
  readonly doubted: { readonly signature: string; readonly hasStayed: boolean } | undefined;
  /** Why the last reading brought nothing. */
  readonly error: unknown;
  /** The alarm was raised, and the file has not loaded since. */
  readonly isBroken: boolean;
}

/** The events of the machine. */
type RuleStoreEvent = RulesReload | WatchedFilesEvent | EventsOf<typeof actors>;

const read = ({ file, read }: RuleSource) =>
  Effect.gen(function* () {
    const { signature } = yield* lookAtFiles([file]);
    return { signature, outcome: yield* Effect.result(read) } satisfies RulesReading;
  });

/** A problem of the file as a whole: missing, not readable, too large. */
const isWhole = (problem: ConfigProblem | undefined): boolean =>
  problem?.origin.type === "file" && problem.origin.line === 0;

/** What the watch learns of a reading. A file that may not be read is tried again at each poll. */
function filesRead({ signature, outcome }: RulesReading): FilesRead {
  const error = Result.isFailure(outcome) ? outcome.failure : undefined;
  return {
    type: "files.read",
    signature,
    isLoaded: error === undefined,
    problem: error?.message,
    mendsItself: isWhole(problemOf(error)),
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

/** The rules in force that deny and that a reading lacks, until the file has stayed the same and its last line has its end. */
function keptRules({ rules, doubted }: RuleStoreContext, { signature, outcome }: RulesReading): readonly RuleText[] {
  if (Result.isFailure(outcome)) return [];
  const { rules: read, isEnded } = outcome.success;
  if (isEnded && doubted?.hasStayed === true && doubted.signature === signature) return [];
  const found = new Set(read.map(asJson));
  return rules.filter((rule) => rule.effect === "deny" && !found.has(asJson(rule)));
}

const asJson = (value: unknown): string => JSON.stringify(value);

const actors = {
  watchedFiles: watchedFilesMachine,
  readRules: fromEffect("readRules", ({ source }: EffectInput & { source: RuleSource }) => read(source)),
};

const store = setup({
  types: {
    input: {} as RuleStoreInput,
    context: {} as RuleStoreContext,
    events: {} as RuleStoreEvent,
  },
  actors,
  guards: {
    loads: (_, { outcome }: RulesReading) => Result.isSuccess(outcome),
    /** Time brings no line end: without one, a change of the file is waited for. */
    isDoubtful: ({ context }, reading: RulesReading) =>
      Result.isSuccess(reading.outcome) && reading.outcome.success.isEnded && keptRules(context, reading).length > 0,
  },
  actions: {
    /** Takes a reading that loads. */
    take: enqueueActions(({ context, enqueue }, reading: RulesReading) => {
      if (Result.isFailure(reading.outcome)) return;
      const { ports, source: { file }, rules: before, isBroken } = context;
      const now = reading.outcome.success;
      const kept = keptRules(context, reading);
      const rules = [...now.rules, ...kept];
      const { started = now, last = now } = context;
      const doubted = kept.length === 0 ? undefined : { signature: reading.signature, hasStayed: false };
      enqueue.assign({ rules, started, last: now, doubted, error: undefined, isBroken: false });
      const isNew = asJson(rules) !== asJson(before);
      if (isNew) enqueue(() => ports.report(loadedReport(file, before, rules)));
      else if (isBroken) enqueue(() => ports.report(mendedReport(file, rules)));
      if (kept.length > 0 && !now.isEnded) enqueue(() => ports.report(keptReport(file, kept.length)));
      for (const report of besidesReports(file, { started, before: last, now })) enqueue(() => ports.report(report));
      if (isNew) enqueue.sendParent({ type: "rules.changed", rules: makeRules(rules) } satisfies RulesChanged);
    }),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    forgetDoubt: assign({ doubted: undefined }),
    noteStayed: assign(({ context: { doubted } }) => ({ doubted: doubted && { ...doubted, hasStayed: true } })),
    tellFiles: sendTo("files", (_, command: WatchedFilesCommand) => command),
    noteBroken: assign({ isBroken: true }),
    reportBroken: ({ context: { ports, source, rules, error } }) =>
      ports.report(brokenReport(source.file, rules, error)),
    /** Nothing is lost: the file is looked at more often instead. */
    reportUnwatched: ({ context: { ports, source, timing } }, { error }: { error: unknown }) =>
      ports.report({
        level: "info",
        event: "rules.unwatched",
        message: `Cannot watch the folder of ${source.file}, looking every ${timing.pollUnwatchedMs} ms instead`,
        fields: { file: source.file, error: String(error) },
      }),
  },
  delays: {
    removal: ({ context }) => context.timing.removalMs,
  },
});

type ReadEvent = { readonly event: { readonly value: RulesReading } };
type FailEvent = { readonly event: { readonly error: unknown } };
const reading = ({ event }: ReadEvent) => event.value;
const failure = ({ event }: FailEvent) => ({ error: event.error });
const refused = ({ event: { value: { outcome } } }: ReadEvent) => ({
  error: Result.isFailure(outcome) ? outcome.failure : undefined,
});
const answer = ({ event }: ReadEvent) => filesRead(event.value);

/** The rule store as a machine. */
export const ruleStoreMachine = store.createMachine({
  id: "ruleStore",
  context: ({ input: { timing, ...input } }) => ({
    ...input,
    timing: { ...defaultRuleTiming, ...timing },
    started: input.source.started,
    last: input.source.started,
    doubted: undefined,
    error: undefined,
    isBroken: false,
  }),
  invoke: {
    id: "files",
    src: "watchedFiles",
    input: ({ context: { ports, source, timing } }) => ({ ports, paths: [source.file], timing, readAs: undefined }),
  },
  on: {
    "rules.reload": { actions: { type: "tellFiles", params: { type: "files.reload" } } },
    "files.changed": { target: ".reading", actions: "forgetDoubt" },
    "files.broken": { actions: ["noteBroken", "reportBroken"] },
    "files.unwatched": { actions: { type: "reportUnwatched", params: failure } },
  },
  initial: "watching",
  states: {
    watching: {},
    /** The file lacks a rule that denies: it is read again. */
    doubting: { after: { removal: { target: "reading", actions: "noteStayed" } } },
    reading: {
      invoke: {
        src: "readRules",
        input: ({ context: { ports, source } }) => ({ ports, source }),
      },
      on: {
        "files.changed": { target: "reading", reenter: true, actions: "forgetDoubt" },
        "effect.done.readRules": [
          {
            guard: { type: "isDoubtful", params: reading },
            target: "doubting",
            actions: [{ type: "take", params: reading }, { type: "tellFiles", params: answer }],
          },
          {
            guard: { type: "loads", params: reading },
            target: "watching",
            actions: [{ type: "take", params: reading }, { type: "tellFiles", params: answer }],
          },
          {
            target: "watching",
            actions: [{ type: "takeError", params: refused }, { type: "tellFiles", params: answer }],
          },
        ],
        "effect.failed.readRules": {
          target: "watching",
          actions: [
            { type: "takeError", params: failure },
            { type: "tellFiles", params: ({ event }: FailEvent) => brokenOff(event) },
          ],
        },
      },
    },
  },
});
