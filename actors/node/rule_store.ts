/**
 * Reads the operator's rules again when the configuration's file changes, and at SIGHUP.
 *
 * ```
 * reading ── loads, other rules ─▶ watching   (sends rules.changed)
 *   │  ▲ ──── loads, the same ───▶ watching
 *   │  └───── files.changed ────── watching
 *   └──────── does not load ─────▶ watching   (the rules before stay in force)
 * ```
 *
 * Only the rules are taken from the file: its other keys count from the next start. The whole file must load for that,
 * because half an edited file could lack a rule that denies. `actors/files/watched_files.ts` says when to read, and when to raise the
 * alarm (`rules.broken`): once for each problem, with the place in the file. Environment and flags override the file as they did at
 * the start.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type ActorRef, assign, sendParent, sendTo, setup, type Snapshot } from "xstate";
import type { Rule } from "../../transport/authorization/authorize.ts";
import { makeRules, type RuleText } from "../../transport/authorization/rules.ts";
import { ConfigError, type ConfigProblem, describeProblem } from "../config/problem.ts";
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

/** Where the rules come from. */
export interface RuleSource {
  /** Path of the configuration's file. */
  readonly file: string;
  /** Loads the configuration as the start did, and takes its rules. */
  readonly read: Effect.Effect<readonly RuleText[], ConfigError, FileSystem>;
}

/** Input of the machine. */
export interface RuleStoreInput {
  readonly ports: Ports;
  readonly source: RuleSource;
  /** The rules that the node started with. */
  readonly rules: readonly RuleText[];
  /** Times, for tests; in milliseconds. */
  readonly timing?: Partial<WatchedFilesTiming>;
}

/**
 * Times of the machine, in milliseconds. A changed rule reaches the gates within a second of the changed file. A file that an
 * editor is still writing gets a second before the alarm.
 */
export const defaultRuleTiming: WatchedFilesTiming = {
  settleMs: 50,
  pollMs: 5_000,
  pollUnwatchedMs: 500,
  patienceMs: 1_000,
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
  readonly outcome: Result.Result<readonly RuleText[], ConfigError>;
}

/** What the machine remembers. */
export interface RuleStoreContext extends Omit<RuleStoreInput, "timing"> {
  readonly timing: WatchedFilesTiming;
  /** Why the last reading brought nothing. */
  readonly error: unknown;
}

/** The events of the machine. */
type RuleStoreEvent = RulesReload | WatchedFilesEvent | EventsOf<typeof actors>;

const read = ({ file, read }: RuleSource) =>
  Effect.gen(function* () {
    const { signature } = yield* lookAtFiles([file]);
    return { signature, outcome: yield* Effect.result(read) } satisfies RulesReading;
  });

/** The problem that an alarm names: the first of the file's own. */
function problemOf(error: unknown): ConfigProblem | undefined {
  return error instanceof ConfigError ? error.problems[0] : undefined;
}

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

function reportLoaded({ ports, source: { file } }: RuleStoreContext, rules: readonly RuleText[]): void {
  ports.report({
    level: "info",
    event: "rules.loaded",
    message: `Loaded ${rules.length} rules of authorization from ${file}; its other keys count from the next start`,
    fields: { file, rules: rules.length },
  });
}

function reportBroken({ ports, source: { file }, rules, error }: RuleStoreContext): void {
  const problem = problemOf(error);
  const more = error instanceof ConfigError && error.problems.length > 1
    ? ` (and ${error.problems.length - 1} more)`
    : "";
  const said = problem === undefined ? String(error) : describeProblem(problem);
  const place = problem?.origin.type === "file" ? problem.origin : { line: 0 };
  ports.report({
    level: "error",
    event: "rules.broken",
    message: `Keeping the ${rules.length} rules of authorization before until the file is corrected: ${said}${more}`,
    fields: {
      file,
      ...(place.line === 0 ? {} : { line: place.line }),
      reason: problem === undefined ? said : `${problem.key}: ${problem.wrong}`,
      rules: rules.length,
      hint: problem?.mend,
    },
  });
}

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
    /** The file loads, and its rules are not those in force. */
    isNew: ({ context: { rules } }, { outcome }: RulesReading) =>
      Result.isSuccess(outcome) && JSON.stringify(outcome.success) !== JSON.stringify(rules),
  },
  actions: {
    take: assign(({ context }, { outcome }: RulesReading) => ({
      rules: Result.getOrElse(outcome, () => context.rules),
      error: undefined,
    })),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    tellFiles: sendTo("files", (_, command: WatchedFilesCommand) => command),
    sendChanged: sendParent(({ context }): RulesChanged => ({
      type: "rules.changed",
      rules: makeRules(context.rules),
    })),
    reportLoaded: ({ context }) => reportLoaded(context, context.rules),
    reportBroken: ({ context }) => reportBroken(context),
    /** Nothing is lost: the file is looked at more often instead. */
    reportUnwatched: ({ context: { ports, source, timing } }, { error }: { error: unknown }) =>
      ports.report({
        level: "info",
        event: "rules.unwatched",
        message: `Cannot watch the folder of ${source.file}, looking every ${timing.pollUnwatchedMs} ms instead`,
        fields: { file: source.file, error: String(error) },
      }),
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
    error: undefined,
  }),
  invoke: {
    id: "files",
    src: "watchedFiles",
    input: ({ context: { ports, source, timing } }) => ({ ports, paths: [source.file], timing, readAs: undefined }),
  },
  on: {
    "rules.reload": { actions: { type: "tellFiles", params: { type: "files.reload" } } },
    "files.changed": { target: ".reading" },
    "files.broken": { actions: "reportBroken" },
    "files.unwatched": { actions: { type: "reportUnwatched", params: failure } },
  },
  initial: "watching",
  states: {
    watching: {},
    reading: {
      invoke: {
        src: "readRules",
        input: ({ context: { ports, source } }) => ({ ports, source }),
      },
      on: {
        "files.changed": { target: "reading", reenter: true },
        "effect.done.readRules": [
          {
            guard: { type: "isNew", params: reading },
            target: "watching",
            actions: [
              { type: "take", params: reading },
              "reportLoaded",
              "sendChanged",
              { type: "tellFiles", params: answer },
            ],
          },
          {
            guard: { type: "loads", params: reading },
            target: "watching",
            actions: { type: "tellFiles", params: answer },
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
