/**
 * Spans of jobs, trainings and rounds, from the lines that their actors report: as a scheduler's view of a training is gathered
 * (`actors/training/watch.ts`). Of a job's end the outcome is taken, not the reason: a reason may name paths of the worker.
 *
 * @module
 */
import type { Report } from "../runtime/ports.ts";
import type { Recorder } from "./recorder.ts";
import type { Span } from "./span.ts";

/** Jobs and trainings that are followed at once; more have no span. */
export const followedMax = 1_024;

type Fields = Readonly<Record<string, unknown>>;
type Ids = Pick<Span, "traceId" | "spanId" | "parentSpanId">;

interface OpenJob extends Ids {
  readonly startMs: number;
  readonly startedMs: number | undefined;
  readonly attributes: Span["attributes"];
}

interface OpenTraining extends Ids {
  readonly startMs: number;
  /** When the round under way began; undefined until a job was dispatched. */
  readonly roundMs: number | undefined;
  readonly rounds: number;
  /** Updates of the round under way that were rejected. */
  readonly rejected: number;
  readonly attributes: Span["attributes"];
}

/** Follows lines. */
export interface LineSpans {
  /** Takes a line of the log. */
  line(report: Report): void;
  /** The node ended: so does what is still open. */
  end(): void;
}

/** Makes the follower of a node's lines. `self` is its PeerID, once it is known. */
export function traceLines(recorder: Recorder, self: () => string | undefined): LineSpans {
  const jobs = new Map<string, OpenJob>();
  const trainings = new Map<string, OpenTraining>();
  const handlers: Readonly<Record<string, (fields: Fields) => void>> = {
    ...jobHandlers(recorder, jobs),
    ...trainingHandlers(recorder, trainings, self),
    // A worker's line has the lease, a scheduler's has none.
    "job.dispatched": (fields) =>
      typeof fields["lease"] === "string"
        ? beginJob(recorder, jobs, fields)
        : noteDispatch(recorder, trainings, fields),
  };
  return {
    line: (report) => {
      if (Object.hasOwn(handlers, report.event)) handlers[report.event]?.(report.fields ?? {});
    },
    end: () => {
      for (const job of jobs.values()) endJob(recorder, job, "interrupted");
      for (const training of trainings.values()) endTraining(recorder, training, "interrupted");
      jobs.clear();
      trainings.clear();
    },
  };
}

const textOf = (value: unknown): string | undefined => typeof value === "string" ? value.slice(0, 200) : undefined;
const numberOf = (value: unknown): number | undefined => typeof value === "number" ? value : undefined;

function beginJob(recorder: Recorder, jobs: Map<string, OpenJob>, fields: Fields): void {
  const { task, peer, training, run } = fields;
  if (typeof task !== "string" || jobs.size >= followedMax) return;
  const isOfRun = typeof training === "string" && typeof run === "number" && typeof peer === "string";
  const parent = isOfRun ? recorder.ofRun({ scheduler: peer, training, run }) : undefined;
  const { traceId, spanId, sampled } = recorder.begin(parent);
  if (!sampled) return;
  const attributes = {
    "hypha.job": textOf(fields["job"]),
    "hypha.task": task,
    "hypha.class": textOf(fields["class"]),
    "hypha.training": textOf(training),
    "hypha.run": numberOf(run),
    "hypha.peer.id": textOf(peer),
    "hypha.peer.name": textOf(fields["name"]),
  };
  const parentSpanId = parent?.spanId;
  jobs.set(task, { traceId, spanId, parentSpanId, startMs: recorder.now(), startedMs: undefined, attributes });
}

/** The first round begins with the first dispatch: before, the scheduler looks for workers. */
function noteDispatch(recorder: Recorder, trainings: Map<string, OpenTraining>, { training: id }: Fields): void {
  const training = typeof id === "string" ? trainings.get(id) : undefined;
  if (training === undefined || training.roundMs !== undefined) return;
  trainings.set(id as string, { ...training, roundMs: recorder.now() });
}

function jobHandlers(recorder: Recorder, jobs: Map<string, OpenJob>) {
  return {
    "job.started": ({ task }: Fields) => {
      const job = jobs.get(String(task));
      if (job !== undefined) jobs.set(String(task), { ...job, startedMs: recorder.now() });
    },
    "job.ended": ({ task, outcome }: Fields) => {
      const job = jobs.get(String(task));
      if (job === undefined) return;
      jobs.delete(String(task));
      endJob(recorder, job, textOf(outcome) ?? "finished");
    },
  };
}

function endJob(recorder: Recorder, { startedMs, attributes, ...job }: OpenJob, outcome: string): void {
  const { traceId, spanId, startMs } = job;
  if (startedMs !== undefined) {
    recorder.end({
      traceId,
      spanId: recorder.spanId(),
      parentSpanId: spanId,
      name: "job.preparing",
      kind: "internal",
      startMs,
      endMs: startedMs,
      error: undefined,
      attributes: { "hypha.job": attributes["hypha.job"] },
    });
  }
  recorder.end({
    ...job,
    name: "job",
    kind: "internal",
    endMs: recorder.now(),
    attributes: { ...attributes, "hypha.outcome": outcome },
    error: outcome === "failed" ? outcome : undefined,
  });
}

function trainingHandlers(
  recorder: Recorder,
  trainings: Map<string, OpenTraining>,
  self: () => string | undefined,
) {
  const change = (id: unknown, next: (training: OpenTraining) => OpenTraining) => {
    const training = typeof id === "string" ? trainings.get(id) : undefined;
    if (training !== undefined) trainings.set(id as string, next(training));
  };
  const ended = (outcome: string) => ({ training: id }: Fields) => {
    const training = typeof id === "string" ? trainings.get(id) : undefined;
    if (training === undefined) return;
    trainings.delete(id as string);
    endTraining(recorder, training, outcome);
  };
  const began = ({ training, run }: Fields) => {
    const scheduler = self();
    if (typeof training !== "string" || typeof run !== "number" || scheduler === undefined) return;
    ended("interrupted")({ training }); // a run before it, that reported no end
    const { traceId, spanId, sampled } = recorder.ofRun({ scheduler, training, run });
    if (!sampled || trainings.size >= followedMax) return;
    const attributes = { "hypha.training": training, "hypha.run": run };
    const ids = { traceId, spanId, parentSpanId: undefined };
    const counts = { roundMs: undefined, rounds: 0, rejected: 0 };
    trainings.set(training, { ...ids, ...counts, startMs: recorder.now(), attributes });
  };
  return {
    "run.began": began,
    "update.rejected": ({ training }: Fields) =>
      change(training, (known) => ({ ...known, rejected: known.rejected + 1 })),
    "round.finished": (fields: Fields) =>
      change(fields["training"], (training) => endRound(recorder, training, fields)),
    "training.done": ended("done"),
    "training.failed": ended("failed"),
    "training.cancelled": ended("cancelled"),
  };
}

function endRound(recorder: Recorder, training: OpenTraining, { round, trainers }: Fields): OpenTraining {
  const { traceId, spanId, startMs, roundMs = startMs, attributes, rejected } = training;
  const endMs = recorder.now();
  recorder.end({
    traceId,
    spanId: recorder.spanId(),
    parentSpanId: spanId,
    name: "round",
    kind: "internal",
    startMs: roundMs,
    endMs,
    error: undefined,
    attributes: {
      ...attributes,
      "hypha.round": numberOf(round),
      "hypha.trainers": numberOf(trainers),
      "hypha.updates.rejected": rejected,
    },
  });
  return { ...training, roundMs: endMs, rounds: training.rounds + 1, rejected: 0 };
}

function endTraining(
  recorder: Recorder,
  { traceId, spanId, parentSpanId, startMs, rounds, attributes }: OpenTraining,
  outcome: string,
): void {
  recorder.end({
    traceId,
    spanId,
    parentSpanId,
    name: "training",
    kind: "internal",
    startMs,
    endMs: recorder.now(),
    attributes: { ...attributes, "hypha.rounds": rounds, "hypha.outcome": outcome },
    error: outcome === "failed" ? outcome : undefined,
  });
}
