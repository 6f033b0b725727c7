/**
 * What a training asks for when it looks for workers.
 *
 * @module
 */
import type { AllocationEvent, AllocationInput } from "./allocation.ts";
import type { ParentRef } from "../runtime/parent.ts";
import { leastAtStart, takenPeers, type TrainingContext } from "./training_setup.ts";
import { trainersOf } from "./training.ts";

interface Args {
  readonly context: TrainingContext;
  readonly self: ParentRef<AllocationEvent>;
}

function common({ context, self }: Args) {
  const { run: training, transport, ports } = context;
  return { excluded: takenPeers(context), training, transport, ports, parent: self };
}

/** Looks for all trainers that a training lacks before it begins, and does with fewer where only those are found. */
export function trainersAtStart(args: Args): AllocationInput {
  const { config, training } = args.context;
  const there = trainersOf(training).length;
  const count = Math.max(0, config.job.resources.numWorkers - there);
  return { ...trainerAllocation(args, count), least: Math.max(0, leastAtStart(args.context) - there) };
}

/** Looks for trainers. */
export function trainerAllocation(args: Args, count: number): AllocationInput {
  const { executors, resources } = args.context.config.job;
  const descriptor = { class: "train" as const, name: executors.train };
  return { ...common(args), descriptor, count, resources: resources.worker, price: resources.workerPrice };
}

/** Looks for an aggregator. */
export function aggregatorAllocation(args: Args): AllocationInput {
  const { executors, resources } = args.context.config.job;
  const descriptor = { class: "aggregate" as const, name: executors.aggregate };
  const price = resources.parameterServerPrice;
  return { ...common(args), descriptor, count: 1, resources: resources.parameterServer, price };
}
