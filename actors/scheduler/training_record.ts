/**
 * What a scheduler keeps of a submitted training in addition to its model, in `state_dir/trainings/ID/`.
 *
 * ```
 * job.json             the job as it was submitted, and when
 * state.json           what became of it, and what is known of its members
 * weights.safetensors  the weights that it begins with
 * held-out.csv         rows that its rounds are evaluated on, with the suffix of the file that its author named
 * events.jsonl         its log, bounded; events.1.jsonl is the older part
 * ```
 *
 * @module
 */
import { basename, join } from "node:path";
import { Result, Schema } from "effect";
import type { DilocoJobConfig } from "../config/config.ts";
import { decodeJob } from "../config/submitted_job.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { emptyWatch, type TrainingWatch } from "../training/watch.ts";

/** What a training can be: those before `done` go on by themselves. */
export const trainingStates = ["queued", "running", "done", "failed", "cancelled"] as const;
export type TrainingState = (typeof trainingStates)[number];

/** How a training's name is spelt. */
export const trainingIdPattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
/** Trainings that a state directory holds; one more is refused. */
export const trainingsMax = 256;

/** What became of a training. */
export interface TrainingStanding {
  readonly state: TrainingState;
  /** Why it failed; null elsewhere. */
  readonly reason: string | null;
  /** Since when it is in this state, in milliseconds since the epoch. */
  readonly since: number;
  /** Since when it has waited for its turn: the oldest goes first. */
  readonly queuedAt: number;
}

/** A training that a scheduler knows. */
export interface KnownTraining extends TrainingStanding {
  readonly id: string;
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly submittedAt: number;
  /** With the paths of the files that were submitted with it. */
  readonly job: DilocoJobConfig;
  /** What was known of it when its file was read; its journal knows more. */
  readonly watch: TrainingWatch;
}

export const jobPath = (folder: string): string => join(folder, "job.json");
export const statePath = (folder: string): string => join(folder, "state.json");
export const weightsPath = (folder: string): string => join(folder, "weights.safetensors");
/** The name that held-out rows are kept under, of the path that the author named: a program that evaluates may read them by their suffix. */
export const heldOutName = (named: string): string =>
  `held-out${/(?:\.[A-Za-z0-9]{1,16}){1,2}$/.exec(basename(named))?.[0] ?? ""}`;
export const eventsPath = (folder: string): string => join(folder, "events.jsonl");
export const olderEventsPath = (folder: string): string => join(folder, "events.1.jsonl");

const jobSchema = Schema.Struct({
  version: Schema.Literal(1),
  name: Schema.String,
  submitted: Schema.Int,
  /** The name of the held-out rows. Earlier versions wrote none. */
  held_out: Schema.optionalKey(Schema.String.check(Schema.isPattern(/^held-out[A-Za-z0-9.]{0,64}$/))),
  job: Schema.Record(Schema.String, Schema.Unknown),
});

const text = Schema.String;
const count = Schema.Finite;
const watchSchema = Schema.Struct({
  run: Schema.NullOr(count),
  round: count,
  roundAt: Schema.NullOr(count),
  roundSeconds: Schema.NullOr(count),
  losses: Schema.Array(Schema.Struct({ round: count, loss: count })),
  accuracy: Schema.NullOr(count),
  accuracyRound: Schema.optionalKey(count),
  members: Schema.Record(
    text,
    Schema.Struct({
      part: Schema.Literals(["trainer", "aggregator"]),
      is: Schema.Literals(["in", "out"]),
      last: text,
      at: count,
      loss: Schema.NullOr(count),
    }),
  ),
  rejections: Schema.Record(text, count),
  bytes: Schema.Struct({ received: count, sent: count }),
}) satisfies Schema.Codec<TrainingWatch>;

const stateSchema = Schema.Struct({
  version: Schema.Literal(1),
  state: Schema.Literals(trainingStates),
  reason: Schema.NullOr(text),
  since: Schema.Int,
  queued_at: Schema.Int,
  watch: watchSchema,
});

/** The text of `job.json`. */
export function formatJob(name: string, submitted: number, job: unknown, heldOut?: string): string {
  return `${JSON.stringify({ version: 1, name, submitted, held_out: heldOut, job }, undefined, 2)}\n`;
}

/** The text of `state.json`. */
export function formatState({ state, reason, since, queuedAt }: TrainingStanding, watch: TrainingWatch): string {
  return `${JSON.stringify({ version: 1, state, reason, since, queued_at: queuedAt, watch })}\n`;
}

/** Reads both files of a training, or says which is damaged. Without `state.json` it was submitted right before a crash. */
export function parseTraining(
  stateDir: string,
  id: string,
  files: { readonly job: string; readonly state: string | undefined },
): Result.Result<KnownTraining, string> {
  const folder = trainingFolder(stateDir, id);
  const submitted = parseAs(jobSchema, files.job);
  if (submitted === undefined) return Result.fail(`${jobPath(folder)} is damaged`);
  const job = Result.map(decodeJob(submitted.job), (decoded) => withFiles(decoded, folder, submitted.held_out));
  if (Result.isFailure(job)) return Result.fail(`${jobPath(folder)} holds no job: ${job.failure}`);
  const state = files.state === undefined ? undefined : parseAs(stateSchema, files.state);
  if (files.state !== undefined && state === undefined) return Result.fail(`${statePath(folder)} is damaged`);
  const { name, submitted: submittedAt } = submitted;
  const standing: TrainingStanding & { readonly watch: TrainingWatch } = state === undefined
    ? { state: "queued", reason: null, since: submittedAt, queuedAt: submittedAt, watch: emptyWatch }
    : {
      state: state.state,
      reason: state.reason,
      since: state.since,
      queuedAt: state.queued_at,
      watch: state.watch,
    };
  return Result.succeed({ id, name, submittedAt, job: job.success, ...standing });
}

function parseAs<A>(schema: Schema.Codec<A>, written: string): A | undefined {
  try {
    const decoded = Schema.decodeUnknownResult(schema)(JSON.parse(written));
    return Result.isSuccess(decoded) ? decoded.success : undefined;
  } catch {
    return undefined;
  }
}

/** The job with the files that came with it in place of those that its author named. */
export function withFiles(job: DilocoJobConfig, folder: string, heldOut = "held-out"): DilocoJobConfig {
  return {
    ...job,
    model: "weights" in job.model ? { ...job.model, weights: weightsPath(folder) } : job.model,
    evaluation: job.evaluation && { ...job.evaluation, heldOut: join(folder, heldOut) },
  };
}
