/**
 * Learning: a small model on digits, trained with DiLoCo, and what its aggregator computes.
 *
 * @module
 */
export { type AggregateFiles, aggregateUpdates, UpdateRejected, updatesMax } from "./aggregate.ts";
export { type DigitRow, MalformedDigits, parseDigits } from "./digits.ts";
export { accuracy, applyUpdate, builtinModel, type Model, UnknownModel } from "./model.ts";
export { type OuterOptions } from "./outer_step.ts";
export { decodeTensors, encodeTensors, MalformedSafetensors } from "./safetensors.ts";
export { type NamedTensors, type Tensor, TensorMismatch } from "./tensors.ts";
export { makeTrainer, type Trainer } from "./trainer.ts";
