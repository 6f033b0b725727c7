/**
 * What a simulation observes of an aggregation: the updates that go into it, and the result when it is written.
 *
 * @module
 */
import type { JobSpec, Peer } from "../../transport/protocols/messages.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import type { JobNetwork } from "../job/network.ts";
import type { ExecutorWatch } from "./executor_watch.ts";
import { integersIn, numbersOf } from "./trainer_model.ts";
import type { MemoryDirectory } from "./work_directory.ts";

/** Notes the updates of an aggregation, and reports them with the result when it is written. */
export function noteAggregation(
  { job, batch, out }: {
    readonly job: {
      readonly spec: JobSpec;
      readonly scheduler: Peer;
      readonly network: JobNetwork;
      readonly directory: WorkDirectory;
    };
    readonly batch: Readonly<Record<Peer, string>>;
    readonly out: string;
  },
  watch: ExecutorWatch,
): void {
  const directory = job.directory as MemoryDirectory;
  const { executor } = job.spec;
  if (executor.class !== "aggregate") return;
  const training = job.network.training?.id;
  watch.collected({ spec: job.spec, scheduler: job.scheduler, training, peers: Object.keys(batch) });
  const files = Object.entries(batch).map(([peer, file]) => [peer, directory.files.get(file)] as const);
  const updates = new Map(files.map(([peer, bytes]) => [peer, numbersOf(bytes)]));
  const integers = files.map(([, bytes]) => integersIn(bytes));
  directory.onCommit = (name) => {
    if (name !== out) return;
    const { optimizer } = executor.config;
    watch.averaged({
      spec: job.spec,
      scheduler: job.scheduler,
      training,
      run: job.network.training?.run,
      round: Number(/([0-9]+)\.safetensors$/.exec(out)?.[1]),
      updates,
      learningRate: optimizer["learning-rate"],
      momentum: optimizer.momentum,
      out: numbersOf(directory.files.get(out)),
      integers: { updates: integers, out: integersIn(directory.files.get(out)) },
    });
  };
}
