/** The jobs that a scheduler sends. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { batchSize, defaultBatchSize } from "../../actors/training/job_spec.ts";
import { configOf, startScheduler } from "../support/scheduler_world.ts";

const test = suite("jobs of a training");

test("a batch has as many rows as the requested GPU memory fits into the trainer's lease, at most max_batch_size", () => {
  for (
    const [gpu, maxBatchSize, rows] of [
      [4, 600, 6],
      [4, 5, 5],
      [4, undefined, 6],
      [0, 600, 600],
      [0, undefined, defaultBatchSize],
    ] as const
  ) {
    const { job, ...config } = configOf(2, 1);
    const resources = { ...job.resources, worker: { ...job.resources.worker, gpu } };
    const started = startScheduler({
      ...config,
      job: { ...job, resources, rounds: { ...job.rounds, maxBatchSize } },
    });
    started.found();
    started.offer("a", "b");
    started.offer("c");
    started.dispatches()[0]?.accept();
    const batches = started.dispatches().map(({ spec: { executor } }) =>
      executor.class === "train" ? executor.config.batch_size : undefined
    );
    assert.equal(batches, [rows, rows], `${gpu} GB a row, at most ${maxBatchSize}`);
  }
});

test("a batch is a whole number of rows, and never empty", () => {
  const job = (gpu: number) => ({ resources: { worker: { gpu } }, rounds: {} });
  assert.is(batchSize(23.9, job(4)), 5);
  assert.is(batchSize(3, job(4)), 1, "a lease of less than was requested");
  assert.is(batchSize(1e9, job(1e-9)), 2 ** 32 - 1, "what a job can name");
});

test.run();
