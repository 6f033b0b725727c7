/**
 * The arithmetic of DiLoCo's outer steps (Douillard et al. 2023), and tensors in files. No file here knows a model.
 *
 * @module
 */
export {
  type Aggregated,
  type AggregateFiles,
  type AggregateOptions,
  aggregateUpdates,
  UpdateRejected,
  updatesMax,
} from "./aggregate.ts";
export { type OuterOptions } from "./outer_step.ts";
export { castTensors, keptType, misfitOf, ResultRejected, writeInitial, writeRound } from "./parameters.ts";
export { layoutDigest, updateBytesMax } from "./layout.ts";
export { normRules } from "./verdicts.ts";
export { openTensorFile, type TensorFile } from "./tensor_file.ts";
export { headerMaxBytes, type TensorEntry } from "./safetensors.ts";
export { type DType } from "./element_types.ts";
export {
  decodeTensors,
  encodeTensors,
  layoutOf,
  MalformedSafetensors,
  type Metadata,
  metadataOf,
} from "./safetensors.ts";
export { type NamedTensors, type Tensor, TensorMismatch } from "./tensors.ts";
