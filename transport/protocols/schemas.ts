/**
 * Every message of the network, each described once. Fields stand in the order in which they are written.
 *
 * @module
 */
import type {
  Adam,
  AggregateConfig,
  ApiRequest,
  ApiResponse,
  Descriptor,
  Executor,
  Grant,
  HealthRequest,
  HealthResponse,
  HuggingfaceReference,
  JobDispatch,
  JobSpec,
  JobStatus,
  LearningRateScheduler,
  ModelReference,
  Nesterov,
  PeersReference,
  Progress,
  ProgressRequest,
  ProgressResponse,
  Reference,
  RenewedLease,
  Resources,
  SchedulerReference,
  Strategy,
  TrainConfig,
  TrainingRun,
  UriReference,
  WorkerOffer,
  WorkerRequest,
} from "./messages.ts";
import {
  aggregationRulesSchema,
  membersReportedMax,
  receiptSchema,
  roundReportSchema,
  trainingRunSchema,
  trainingStateSchema,
} from "./training_schemas.ts";
import { boolean, bytes, f32, f64, i32NotNegative, instant, oneOf, peer, text, u32, u64, uuid } from "./scalars.ts";
import {
  checked,
  dictionary,
  externallyTagged,
  list,
  nullable,
  omittable,
  type Schema,
  struct,
  type StructSchema,
  taggedBy,
} from "./schema.ts";

/** Longest `reason` of a failed job, in bytes of UTF-8 (`docs/wire.md`, "Extensions"). */
export const reasonMaxBytes = 4096;
/** Most peers of a reference: those of one round, for which a report has as many rows. */
export const peersReferencedMax = membersReportedMax;

type Untagged<T> = Omit<T, "type" | "class">;
const none: StructSchema<object> = struct({});

// ── Health ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export const healthRequestSchema: Schema<HealthRequest> = struct<HealthRequest>({});
export const healthResponseSchema: Schema<HealthResponse> = struct<HealthResponse>({
  healthy: boolean,
  cell: omittable(text(64)),
});

// ── References ──────────────────────────────────────────────────────────────────────────────────────────────────────

const uri = struct<Untagged<UriReference>>({ value: text() });
const huggingface = struct<Untagged<HuggingfaceReference>>({
  repository: text(),
  revision: nullable(text()),
  filenames: list(text()),
  token: nullable(text()),
});
const peers = struct<Untagged<PeersReference>>({
  peers: list(peer, { max: peersReferencedMax }),
  strategy: taggedBy<Strategy>("type", { All: none, Random: none, One: none }),
  resource: nullable(struct<{ readonly dataset: string; readonly index: number }>({ dataset: text(), index: u64 })),
});
const scheduler = struct<Untagged<SchedulerReference>>({ peer, dataset: text() });

/** Where something is fetched from or sent to, tagged by `type`. */
export const referenceSchema: Schema<Reference> = taggedBy<Reference>("type", { uri, huggingface, peers, scheduler });

/** A reference that must name peers. */
export const peersReferenceSchema: Schema<PeersReference> = taggedBy<PeersReference>("type", { peers });

/** A reference that is received from: `peers`, all of them. */
export const receiveReferenceSchema: Schema<PeersReference> = checked(
  peersReferenceSchema,
  (reference) => reference.strategy.type === "All" ? undefined : "expected strategy All",
);

// ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

// deno-fmt-ignore
/** Tasks of models that the existing nodes know, spelt as they spell them. */
export const modelTasks = [
  "auto", "pretraining", "causal-lm", "masked-lm", "mask-generation", "seq2-seq-lm", "sequence-classification",
  "multiple-choice", "next-sentence-prediction", "token-classification", "question-answering", "text-encoding",
  "depth-estimation", "image-classification", "video-classification", "keypoint-detection", "keypoint-matching",
  "object-detection", "image-segmentation", "image-to-image", "semantic-segmentation", "instance-segmentation",
  "universal-segmentation", "zero-shot-image-classification", "zero-shot-object-detection", "audio-classification",
  "audio-frame-classification", "ctc", "speech-seq2-seq", "audio-x-vector", "text-to-spectrogram", "text-to-waveform",
  "audio-tokenization", "table-question-answering", "document-question-answering", "vison2-seq", "image-text-to-text",
  "time-series-prediction",
] as const;

/** Tasks of preprocessors. */
export const preprocessorTasks = ["tokenizer", "feature", "image", "video", "auto"] as const;

const modelWith = (tasks: readonly string[]) =>
  struct<ModelReference>({ task: oneOf(tasks), artifact: referenceSchema, "input-names": list(text()) });

const adam = struct<Adam>({
  "learning-rate": f64,
  betas: nullable(list(f64, { count: 2 }) as unknown as Schema<readonly [number, number]>),
  epsilon: nullable(f64),
});
const nesterov = struct<Nesterov>({ "learning-rate": f64, momentum: f64 });

const warmup = struct<{ readonly warmup_steps: number; readonly training_steps: number }>({
  warmup_steps: i32NotNegative,
  training_steps: i32NotNegative,
});
const wsd = struct<{ readonly warmup_steps: number; readonly decay_steps: number }>({
  warmup_steps: i32NotNegative,
  decay_steps: i32NotNegative,
});
const learningRate = taggedBy<LearningRateScheduler>("type", {
  "cosine-with-warmup": warmup,
  "linear-with-warmup": warmup,
  wsd,
});

const train = struct<TrainConfig>({
  model: modelWith(modelTasks),
  data: referenceSchema,
  updates: peersReferenceSchema,
  results: receiveReferenceSchema,
  optimizer: adam,
  batch_size: u32,
  preprocessor: omittable(modelWith(preprocessorTasks)),
  scheduler: omittable(learningRate),
});
const aggregate = struct<AggregateConfig>({
  updates: receiveReferenceSchema,
  results: peersReferenceSchema,
  optimizer: nesterov,
});
const named = struct<{ readonly name: string }>({ name: text() });

const executor = taggedBy<Executor>("class", {
  train: struct<{ readonly descriptor: { readonly name: string }; readonly config: TrainConfig }>({
    descriptor: named,
    config: train,
  }),
  aggregate: struct<{ readonly descriptor: { readonly name: string }; readonly config: AggregateConfig }>({
    descriptor: named,
    config: aggregate,
  }),
});

export const jobSpecSchema: Schema<JobSpec> = struct<JobSpec>({
  job_id: uuid,
  executor,
  training: omittable(trainingStateSchema),
  aggregation: omittable(aggregationRulesSchema),
});

// ── API ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const resources = struct<Resources>({ gpu: f64, cpu: f64, storage: f64, memory: f64 });
const lease = struct<{ readonly id: string; readonly timeout: WorkerOffer["timeout"] }>({ id: uuid, timeout: instant });
const renewedLease = struct<RenewedLease>({ id: uuid, timeout: instant, idle: omittable(u32) });

const jobStatus = taggedBy<JobStatus>("type", {
  Running: none,
  Finished: none,
  Failed: struct<{ readonly reason?: string }>({ reason: omittable(text(reasonMaxBytes)) }),
  Unknown: none,
});
/** What is signed of a grant (`grant.ts`). */
export const unsignedGrantSchema: Schema<Omit<Grant, "signature">> = struct<Omit<Grant, "signature">>({
  dataset: text(),
  index: u64,
  peer,
  job: uuid,
  expires: instant,
});
export const grantSchema: Schema<Grant> = struct<Grant>({
  dataset: text(),
  index: u64,
  peer,
  job: uuid,
  expires: instant,
  signature: bytes,
});

/** `ParameterPull` and `ParameterPush` exist in the existing nodes' enum; nothing there handles them, nothing here reads them. */
export const apiRequestSchema: Schema<ApiRequest> = externallyTagged<ApiRequest>({
  WorkerOffer: struct<WorkerOffer>({ id: uuid, request_id: uuid, price: f64, resources, timeout: instant }),
  RenewLease: struct<{ readonly id: string; readonly training?: TrainingRun }>({
    id: uuid,
    training: omittable(trainingRunSchema),
  }),
  JobStatus: struct<{ readonly task_id: string; readonly status: JobStatus }>({ task_id: uuid, status: jobStatus }),
  DispatchJob: struct<JobDispatch>({
    id: uuid,
    spec: jobSpecSchema,
    training: omittable(trainingRunSchema),
    dispatch: omittable(u32),
  }),
  Data: struct<{ readonly dataset: string; readonly training?: TrainingRun }>({
    dataset: text(),
    training: omittable(trainingRunSchema),
  }),
});

export const apiResponseSchema: Schema<ApiResponse> = externallyTagged<ApiResponse>({
  WorkerOffer: none,
  RenewLease: externallyTagged({ Renewed: renewedLease }, ["Failed"]),
  JobStatus: none,
  DispatchJob: externallyTagged({ Dispatched: lease }, ["Failed"]),
  Data: externallyTagged({
    Success: struct<{ readonly data_provider: string; readonly index: number; readonly grant?: Grant }>({
      data_provider: peer,
      index: u64,
      grant: omittable(grantSchema),
    }),
    Error: text(),
  }, ["NotFound"]),
});

// ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────────

export const progressSchema: Schema<Progress> = externallyTagged<Progress>({
  status: struct<{ readonly batch_size: number }>({ batch_size: u32 }),
  metrics: struct<{ readonly round: number; readonly metrics: Readonly<Record<string, number>> }>({
    round: u32,
    metrics: dictionary(f32),
  }),
}, ["update", "updated", "update-received"]);

export const progressRequestSchema: Schema<ProgressRequest> = struct<ProgressRequest>({
  job_id: uuid,
  progress: progressSchema,
  training: omittable(trainingRunSchema),
  report: omittable(roundReportSchema),
  receipt: omittable(receiptSchema),
});

export const progressResponseSchema: Schema<ProgressResponse> = taggedBy<ProgressResponse>("type", {
  Ok: none,
  Continue: none,
  ScheduleUpdate: struct<{ readonly counter: number }>({ counter: u32 }),
  Done: none,
  Error: none,
});

// ── Gossip ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export const workerRequestSchema: Schema<WorkerRequest> = struct<WorkerRequest>({
  id: uuid,
  spec: struct<WorkerRequest["spec"]>({
    resources,
    executor: list(taggedBy<Descriptor>("class", { train: named, aggregate: named })),
  }),
  timeout: instant,
  bid: f64,
});
