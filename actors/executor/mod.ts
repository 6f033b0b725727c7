/**
 * An executor's side of the job bridge (`docs/executors.md`): the job, requests to the bridge, and safetensors files.
 *
 * @module
 */
export {
  BridgeClient,
  BridgeFailed,
  type BridgeFile,
  type BridgeOptions,
  type ReceivedFile,
  type Receiving,
} from "./bridge_client.ts";
export { JobNotGiven, readJob, type StartedJob } from "./job.ts";
export { decodeTensors, encodeTensors, MalformedSafetensors, type NamedTensors, type Tensor } from "../learning/mod.ts";
export type {
  Adam,
  JobSpec,
  LearningRateScheduler,
  PeersReference,
  Progress,
  ProgressResponse,
  Reference,
  TrainConfig,
  TrainingState,
} from "../../transport/protocols/messages.ts";
