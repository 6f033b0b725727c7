/**
 * The batches of a round, for executors that have none.
 *
 * @module
 */

/** Posts to the bridge's `/status/send`. */
export type Report = (progress: unknown) => Promise<{ readonly type: string; readonly counter: number }>;

/** Reports batches until the scheduler has had enough of them. */
export async function reportBatches(report: Report, batchSize: number): Promise<void> {
  for (let left: number | undefined; left !== 0;) {
    const answer = await report({ status: { batch_size: batchSize } });
    if (left !== undefined) left -= 1;
    else if (answer.type === "ScheduleUpdate") left = answer.counter;
  }
}
