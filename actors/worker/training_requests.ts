/**
 * A worker's answers on `/hypha-training/1`: what the holder of a lease says about its training (`docs/wire.md`, "Extensions").
 *
 * @module
 */
import { type Member, memberOf, standsFor } from "../../pki/member.ts";
import type { TrainingRequest, TrainingResponse, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import type { JobRef } from "../job/messages.ts";
import { plainText } from "../job/reason.ts";
import type { RequestWith } from "../runtime/requests.ts";
import { changeJob } from "./commitments.ts";
import type { LeaseRef } from "./lease.ts";
import { type Bygone, bygoneLeases, isStale, leaseOfJob, noteRun } from "./runs.ts";
import type { WorkerArgs } from "./worker_setup.ts";

type Answer = TrainingResponse["answer"];

/** Answers a request on `/hypha-training/1`. Only the holder of a lease, and who dispatched a job, is obeyed. */
export function answerTraining(args: WorkerArgs, request: RequestWith<TrainingRequest>): void {
  const { exchange, identity, message } = request;
  const holder = memberOf(identity);
  const answer = "Unknown" in message
    ? "Unsupported"
    : !standsFor(identity.role, "scheduler")
    ? "Refused"
    : "Release" in message
    ? release(args, holder, message.Release.lease)
    : "End" in message
    ? end(args, holder, message.End)
    : "Change" in message
    ? change(args, holder, message.Change)
    : notice(args, holder, message.Notice);
  args.enqueue.sendTo(args.context.transport, { type: "respond", exchange, message: { answer } });
}

function release({ context, enqueue }: WorkerArgs, holder: Member, id: Uuid): Answer {
  const lease = context.book.leases[id];
  if (lease?.holder !== holder) return "Refused";
  if (!lease.over) enqueue.sendTo<LeaseRef>(`lease/${id}`, { type: "lease.end", reason: "its holder released it" });
  return "Ok";
}

function end(
  args: WorkerArgs,
  holder: Member,
  { training: id, run, job, reason }: Extract<TrainingRequest, { readonly End: unknown }>["End"],
): Answer {
  const { context, enqueue } = args;
  const training: TrainingRun = { id, run };
  if (isStale(context.runs, holder, training)) return "Refused";
  enqueue.assign({ runs: noteRun(context.runs, holder, training) });
  const why = `its holder ended it: ${plainText(reason)}`;
  endBygone(args, { holder, training, runs: job === null ? "lower-and-this" : "lower" }, why);
  const lease = job === null ? undefined : leaseOfJob(context.book, holder, job);
  if (lease?.over === false) enqueue.sendTo<LeaseRef>(`lease/${lease.id}`, { type: "lease.end", reason: why });
  return "Ok";
}

/** Ends the leases of a training's bygone runs, and with them their jobs. */
export function endBygone({ context, enqueue }: WorkerArgs, bygone: Bygone, reason: string): void {
  for (const { id } of bygoneLeases(context.book, bygone)) {
    enqueue.sendTo<LeaseRef>(`lease/${id}`, { type: "lease.end", reason });
  }
}

/** Another member aggregates for a trainer's job. */
function change(
  { context, enqueue }: WorkerArgs,
  holder: Member,
  { training, run, job, aggregator, results, dispatch = 0 }: Extract<
    TrainingRequest,
    { readonly Change: unknown }
  >["Change"],
): Answer {
  const running = Object.values(context.book.jobs).find(({ spec, holder: by }) => spec.job_id === job && by === holder);
  const isOurs = running?.training?.id === training && running.training.run === run;
  if (running === undefined || !isOurs || running.spec.executor.class !== "train") return "Refused";
  if (dispatch < running.dispatch) return "Ok";
  enqueue.assign({ book: changeJob(context.book, running.taskId, { dispatch }) });
  enqueue.sendTo<JobRef>(`job/${running.taskId}`, { type: "job.changed", roles: { aggregator, results } });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "job.changed",
      message: `Job ${job} has another aggregator: ${aggregator}`,
      fields: { job, task: running.taskId, peer: running.scheduler, aggregator },
    })
  );
  return "Ok";
}

function notice(
  { context, enqueue }: WorkerArgs,
  holder: Member,
  { job, code, detail }: Extract<TrainingRequest, { readonly Notice: unknown }>["Notice"],
): Answer {
  const running = Object.values(context.book.jobs).find(({ spec, holder: by }) => spec.job_id === job && by === holder);
  if (running === undefined) return "Refused";
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: "job.notice",
      message: `Scheduler ${running.scheduler} judged job ${job}: ${plainText(code)}: ${plainText(detail)}`,
      fields: { job, task: running.taskId, peer: running.scheduler, code: plainText(code), detail: plainText(detail) },
    })
  );
  return "Ok";
}
