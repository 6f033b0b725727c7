/**
 * The batches of a round, for executors that have none.
 *
 * @module
 */

/** Posts to the bridge's `/status/send`. */
export type Report = (progress: unknown) => Promise<{ readonly type: string; readonly counter: number }>;

/** Reports batches until the scheduler has had enough of them. Returns whether the training goes on. */
export async function reportBatches(report: Report, batchSize: number): Promise<boolean> {
  for (let left: number | undefined; left !== 0;) {
    const answer = await report({ status: { batch_size: batchSize } });
    if (answer.type === "Done") return false;
    if (answer.type === "Error") throw new Error("Cannot go on: the scheduler has no place for this job");
    if (left !== undefined) left -= 1;
    else if (answer.type === "ScheduleUpdate") left = answer.counter;
  }
  return true;
}
