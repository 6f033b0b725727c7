/**
 * The shapes of messages about trainings (`docs/wire.md`, "Extensions").
 *
 * @module
 */
import { f64, oneOf, peer, text, u32, u64, uuid } from "./scalars.ts";
import { checked, externallyTagged, list, nullable, omittable, type Schema, struct } from "./schema.ts";
import { traceParentSchema } from "./trace_context.ts";
import type {
  AggregationRules,
  MemberOutcome,
  MemberReport,
  Receipt,
  RoundReport,
  TrainingRequest,
  TrainingResponse,
  TrainingRun,
  TrainingState,
} from "./training_messages.ts";

/** Longest name of a training, in bytes of UTF-8. */
export const trainingIdMaxBytes = 64;
/** Longest code and detail of a verdict, in bytes of UTF-8. */
export const verdictCodeMaxBytes = 64;
export const verdictDetailMaxBytes = 512;
/** Most members of one report: as many as one round may have updates, and those that are missing. */
export const membersReportedMax = 1_024;

export const trainingRunSchema: Schema<TrainingRun> = struct<TrainingRun>({ id: text(trainingIdMaxBytes), run: u32 });

/** Beside `executor` in a job's specification. */
export const trainingStateSchema: Schema<TrainingState> = struct<TrainingState>({
  id: text(trainingIdMaxBytes),
  run: u32,
  round: u32,
  samples: u64,
  rounds: u32,
});

const isSha256 = (value: string) => /^[0-9a-f]{64}$/.test(value);

/** Beside `training` in a job's specification. */
export const aggregationRulesSchema: Schema<AggregationRules> = checked(
  struct<AggregationRules>({
    layout: omittable(text(64)),
    method: omittable(oneOf(["mean", "trimmed-mean"] as const)),
    trim: omittable(f64),
    clip_norm_ratio: omittable(f64),
    max_norm_ratio: omittable(f64),
    quorum: omittable(f64),
    deadline_s: omittable(u32),
    late: omittable(list(peer, { max: membersReportedMax })),
  }),
  ({ layout, trim = 0, clip_norm_ratio: clip = 1, max_norm_ratio: most = 1, quorum = 1 }) => {
    if (layout !== undefined && !isSha256(layout)) return "layout is not 64 hexadecimal digits";
    if (!(trim >= 0 && trim < 0.5)) return "trim is not from 0 to 0.5";
    if (!(clip >= 1 && most >= 1)) return "a ratio of norms is below 1";
    if (!(quorum > 0 && quorum <= 1)) return "quorum is not from 0 to 1";
    return undefined;
  },
);

const outcomes: readonly MemberOutcome[] = ["counted", "clipped", "rejected", "missing"];

/** Beside `"updated"`. */
export const roundReportSchema: Schema<RoundReport> = struct<RoundReport>({
  round: u32,
  members: list(
    struct<MemberReport>({
      peer,
      outcome: oneOf(outcomes),
      norm: omittable(f64),
      code: omittable(text(verdictCodeMaxBytes)),
      detail: omittable(text(verdictDetailMaxBytes)),
    }),
    { max: membersReportedMax },
  ),
});

/** Beside `"update-received"`. */
export const receiptSchema: Schema<Receipt> = checked(
  struct<Receipt>({ round: u32, parameters: omittable(text(64)) }),
  ({ parameters }) =>
    parameters === undefined || isSha256(parameters) ? undefined : "parameters are not 64 hexadecimal digits",
);

/** Most senders of results that a `Change` names. */
const resultsNamedMax = 16;

type Variant<Name extends string> = Extract<TrainingRequest, Readonly<Record<Name, unknown>>>[Name];
const traceparent = omittable(traceParentSchema);

const known: Schema<TrainingRequest> = externallyTagged<TrainingRequest>({
  Release: struct<Variant<"Release">>({ lease: uuid, traceparent }),
  End: struct<Variant<"End">>({
    training: text(trainingIdMaxBytes),
    run: u32,
    job: nullable(uuid),
    reason: text(verdictDetailMaxBytes),
    traceparent,
  }),
  Notice: struct<Variant<"Notice">>({
    job: uuid,
    code: text(verdictCodeMaxBytes),
    detail: text(verdictDetailMaxBytes),
    traceparent,
  }),
  Change: struct<Variant<"Change">>({
    training: text(trainingIdMaxBytes),
    run: u32,
    job: uuid,
    aggregator: peer,
    results: list(peer, { max: resultsNamedMax }),
    dispatch: omittable(u32),
    traceparent,
  }),
  Unknown: struct<Readonly<Record<never, never>>>({}),
});

const knownNames: ReadonlySet<string> = new Set(["Release", "End", "Notice", "Change"]);

/** A request of a newer node must get an answer: a variant that is not known here reads as `Unknown`. */
export const trainingRequestSchema: Schema<TrainingRequest> = {
  ...known,
  read: (item, at) => {
    const [entry] = item.kind === "map" ? item.entries : [];
    const name = entry?.[0].kind === "text" ? entry[0].value : undefined;
    return name === undefined || !knownNames.has(name) ? { Unknown: {} } : known.read(item, at);
  },
};

const answer = oneOf(["Ok", "Refused", "Unsupported"] as const);

export const trainingResponseSchema: Schema<TrainingResponse> = {
  write: (out, value) => answer.write(out, value.answer),
  read: (item, at) => ({ answer: answer.read(item, at) }),
  fromJson: (value, at) => ({ answer: answer.fromJson(value, at) }),
  toJson: (value) => answer.toJson(value.answer),
};
