/**
 * The operator of a simulated scheduler that waits for jobs: submits trainings, cancels and resumes them, by the same events as
 * the admin socket.
 *
 * What `receive_training.ts` leaves on the disk is put there at once: a body that arrives over a socket is a promise, which no seed orders.
 *
 * @module
 */
import { Result } from "effect";
import { decodeJob } from "../config/submitted_job.ts";
import type { AdminAnswer } from "../admin/serve_admin.ts";
import type { AdminAsk, AdminAsked } from "../scheduler/admin_routes.ts";
import { formatJob, jobPath, weightsPath, withFiles } from "../scheduler/training_record.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { emptyWatch } from "../training/watch.ts";
import type { SimulatedNode } from "./node.ts";
import { nodePaths } from "./node_config.ts";
import type { PlannedTraining } from "./scenario.ts";
import { simulatedJob, type Simulation } from "./simulation.ts";
import { weightsOf } from "./trainer_model.ts";

/** An operator tries again after this, in milliseconds, where the scheduler is away, is ending, or has a full disk; so often at most. */
const againMs = 1_000;
const triesMax = 60;
/** A scheduler answers within this, in milliseconds, unless it ended. */
const answerMs = 2_000;

/** A job that is submitted has no shorter deadline, in seconds (`job_schema.ts`). */
const deadlineLeastS = 60;

/** What an operator did, in the order of its doing. */
export interface OperatorAct {
  readonly type: "submit" | "cancel" | "resume";
  readonly id: string;
}

type OperatorAsk =
  | Extract<AdminAsk, { readonly type: "submit" }>
  | { readonly type: "cancel" | "resume"; readonly id: string };

/** Says whether an act is over, or is to be tried again. */
type Over = (isOver: boolean) => void;

/** The operator of one scheduler. */
export class Operator {
  readonly node: SimulatedNode;
  readonly #sim: Simulation;
  /** What is left to do. */
  #left = 0;
  /** Acts that the scheduler accepted. */
  readonly accepted: OperatorAct[] = [];

  constructor(sim: Simulation, node: SimulatedNode) {
    this.#sim = sim;
    this.node = node;
  }

  /** Whether it has done all that it is going to do. */
  get isDone(): boolean {
    return this.#left === 0;
  }

  /** Does with a training what is planned. */
  schedule(plan: PlannedTraining): void {
    const { id, at, cancelAt, resumeAt } = plan;
    this.#at(at, (over) => this.#submit(plan, over));
    if (cancelAt !== undefined) this.#at(cancelAt, (over) => this.#ask({ type: "cancel", id }, over));
    if (resumeAt !== undefined) this.#at(resumeAt, (over) => this.#ask({ type: "resume", id }, over));
  }

  /** Tries until the scheduler answers. `act` says once, now or later, whether it is over. */
  #at(at: number, act: (over: Over) => void, tries = triesMax): void {
    this.#left += 1;
    this.#sim.after(Math.max(0, at - this.#sim.now), () => {
      let isAnswered = false;
      const over = (isOver: boolean) => {
        if (isAnswered) return;
        isAnswered = true;
        this.#left -= 1;
        if (!isOver && tries > 1) this.#at(this.#sim.now + againMs, act, tries - 1);
      };
      act(over);
      if (!isAnswered) this.#sim.after(answerMs, () => over(false));
    });
  }

  #submit(plan: PlannedTraining, over: Over): void {
    const { node } = this;
    if (node.disk.full || !this.#isServing) return over(false);
    const { id } = plan;
    const folder = trainingFolder(nodePaths.state, id);
    const now = Math.round(node.now());
    const raw = submittedJob(plan);
    const job = Result.getOrThrowWith(decodeJob(raw), (wrong) => new Error(`Cannot submit ${id}: ${wrong}`));
    node.disk.put(weightsPath(folder), weightsOf(id, true));
    node.disk.put(jobPath(folder), formatJob(id, now, raw));
    const standing = { state: "queued", reason: null, since: now, queuedAt: now } as const;
    const known = { id, name: id, submittedAt: now, job: withFiles(job, folder), watch: emptyWatch, ...standing };
    this.#ask({ type: "submit", training: known }, over);
  }

  get #isServing(): boolean {
    return this.node.roleActor?.getSnapshot().value === "serving";
  }

  /** Asks the scheduler. That is over when it did it, or refuses for good. */
  #ask(ask: OperatorAsk, over: Over): void {
    const { node } = this;
    if (!this.#isServing) return over(false);
    const id = "training" in ask ? ask.training.id : ask.id;
    const reply = ({ status }: AdminAnswer) => {
      this.#sim.note("fault", node.name, `${ask.type} ${id}: ${status}`);
      if (status === 200) this.accepted.push({ type: ask.type, id });
      // One that is cancelled ends a moment later, and can be resumed only then.
      over(status !== 503 && !(ask.type === "resume" && status === 409));
    };
    node.roleActor?.send({ type: "admin.asked", ask, reply } satisfies AdminAsked);
  }
}

/** The job of a planned training, as it stands in a file. */
function submittedJob({ workers, rounds, quorum }: PlannedTraining): Readonly<Record<string, unknown>> {
  const { resources, rounds: paces, aggregation } = simulatedJob({
    workers,
    rounds,
    keeps: true,
    ...(quorum === undefined ? {} : { quorum }),
  });
  return {
    type: "diloco",
    model: { weights: "weights.safetensors", type: "image-classification", input_names: ["x"] },
    dataset: { dataset: "digits" },
    inner_optimizer: { "learning-rate": 0.001 },
    outer_optimizer: { "learning-rate": 0.7, momentum: 0.9 },
    resources: {
      num_workers: resources.numWorkers,
      worker: resources.worker,
      parameter_server: resources.parameterServer,
      worker_price: resources.workerPrice,
      parameter_server_price: resources.parameterServerPrice,
      wait_s: resources.waitS,
      silence_s: resources.silenceS,
    },
    rounds: {
      update_rounds: paces.updateRounds,
      avg_samples_between_updates: paces.avgSamplesBetweenUpdates,
      max_batch_size: paces.maxBatchSize,
      keep_rounds: paces.keepRounds,
    },
    aggregation: { quorum: aggregation.quorum, round_deadline_s: Math.max(deadlineLeastS, aggregation.roundDeadlineS) },
  };
}
