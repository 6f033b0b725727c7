/**
 * The jobs of a DiLoCo training, from the scheduler's configuration.
 *
 * @module
 */
import type {
  AggregationRules,
  JobSpec,
  ModelReference,
  Peer,
  PeersReference,
  TrainingState,
  Uuid,
} from "../../transport/protocols/messages.ts";
import type { DilocoJobConfig, HuggingfaceModel, WeightsModel } from "../config/config.ts";
import { weightsDataset } from "../learning/model_references.ts";

/** Rows of a batch where neither GPU memory nor `max_batch_size` gives a number. */
export const defaultBatchSize = 32;

const u32Max = 2 ** 32 - 1;

/** The participants of a training. */
export interface Participants {
  readonly scheduler: Peer;
  readonly aggregator: Peer;
  /** The trainers that the aggregator waits for, and those that it sends results to. */
  readonly updates: readonly Peer[];
  readonly results: readonly Peer[];
  /** Where the training stands; undefined where the scheduler does not keep its model. */
  readonly training?: TrainingState | undefined;
  /** What the aggregator judges and joins updates by. */
  readonly aggregation?: AggregationRules | undefined;
}

/**
 * Rows of a trainer's batch: as often as the requested GPU memory fits into that of its lease, at most `max_batch_size`, at least 1. The
 * existing scheduler counts the same: the requested memory is that of one row. A job that requests none gets `max_batch_size`.
 *
 * @param gpu GPU memory of the trainer's lease, in GB.
 * @example
 * const job = { resources: { worker: { gpu: 4 } }, rounds: { maxBatchSize: 600 } };
 * assert.is(batchSize(24, job), 6);
 * assert.is(batchSize(0, { ...job, resources: { worker: { gpu: 0 } } }), 600);
 */
export function batchSize(
  gpu: number,
  { resources, rounds: { maxBatchSize } }: {
    readonly resources: { readonly worker: { readonly gpu: number } };
    readonly rounds: { readonly maxBatchSize?: number | undefined };
  },
): number {
  const asked = resources.worker.gpu;
  if (!(asked > 0)) return maxBatchSize ?? defaultBatchSize;
  return Math.max(1, Math.min(Math.floor(gpu / asked), maxBatchSize ?? u32Max));
}

/** The job of a trainer: slices from the scheduler, updates to the aggregator, results from it. */
export function trainJob(
  { jobId, gpu }: { readonly jobId: Uuid; readonly gpu: number },
  config: DilocoJobConfig,
  participants: Participants,
): JobSpec {
  const { learningRate, betas, epsilon } = config.innerOptimizer;
  return {
    job_id: jobId,
    ...stateOf(participants),
    executor: {
      class: "train",
      descriptor: { name: config.executors.train },
      config: {
        model: modelReference(config.model, participants),
        data: { type: "scheduler", peer: participants.scheduler, dataset: config.dataset },
        updates: peersReference([participants.aggregator]),
        results: peersReference([participants.aggregator]),
        optimizer: { "learning-rate": learningRate, betas: betas ?? null, epsilon: epsilon ?? null },
        batch_size: batchSize(gpu, config),
        ...(config.preprocessor === undefined
          ? {}
          : { preprocessor: modelReference(config.preprocessor, participants) }),
      },
    },
  };
}

/**
 * The job of the aggregator: updates from the trainers, results to them, and to the scheduler where it keeps the model or evaluates
 * (`docs/wire.md`, "Extensions").
 */
export function aggregateJob(jobId: Uuid, config: DilocoJobConfig, participants: Participants): JobSpec {
  const { learningRate, momentum } = config.outerOptimizer;
  const listens = config.evaluation !== undefined || participants.training !== undefined;
  const listeners = listens ? [...participants.results, participants.scheduler] : participants.results;
  return {
    job_id: jobId,
    ...stateOf(participants),
    ...(participants.aggregation === undefined ? {} : { aggregation: participants.aggregation }),
    executor: {
      class: "aggregate",
      descriptor: { name: config.executors.aggregate },
      config: {
        updates: peersReference(participants.updates),
        results: peersReference(listeners),
        optimizer: { "learning-rate": learningRate, momentum },
      },
    },
  };
}

function peersReference(peers: readonly Peer[]): PeersReference {
  return { type: "peers", peers, strategy: { type: "All" }, resource: null };
}

function stateOf({ training }: Participants): Pick<JobSpec, "training"> {
  return training === undefined ? {} : { training };
}

/** A model of a repository; or weights, which members fetch from the scheduler, as they do after the first round of a model that it keeps. */
function modelReference(
  model: HuggingfaceModel | WeightsModel,
  { scheduler, training }: Participants,
): ModelReference {
  if ("weights" in model || (training !== undefined && training.round > 0)) {
    const dataset = weightsDataset(training?.id ?? "");
    return {
      task: model.type,
      artifact: { type: "scheduler", peer: scheduler, dataset },
      "input-names": model.inputNames,
    };
  }
  return {
    task: model.type,
    artifact: {
      type: "huggingface",
      repository: model.repository,
      revision: model.revision ?? null,
      filenames: model.filenames,
      token: model.token ?? null,
    },
    "input-names": model.inputNames,
  };
}
