/** The specification of a job that trains. */
import type { JobSpec } from "../../transport/protocols/messages.ts";

/** What differs between the jobs of tests. */
export interface TrainSpecOptions {
  readonly job: string;
  readonly scheduler: string;
  readonly aggregator: string;
  readonly training?: JobSpec["training"];
}

/** Peers of a job, all of them. */
export const peersOf = (...peers: string[]) =>
  ({ type: "peers", peers, strategy: { type: "All" }, resource: null }) as const;

/** A job that trains, with one aggregator. */
export const trainSpec = ({ job, scheduler, aggregator, training }: TrainSpecOptions): JobSpec => ({
  job_id: job,
  executor: {
    class: "train",
    descriptor: { name: "test" },
    config: {
      model: {
        task: "causal-lm",
        artifact: { type: "huggingface", repository: "a/b", revision: null, filenames: ["x"], token: null },
        "input-names": [],
      },
      data: { type: "scheduler", peer: scheduler, dataset: "digits" },
      updates: peersOf(aggregator),
      results: peersOf(aggregator),
      optimizer: { "learning-rate": 0.1, betas: null, epsilon: null },
      batch_size: 2,
    },
  },
  ...(training === undefined ? {} : { training }),
});
