/** The batches of a round, for executors that have none. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { reportBatches } from "../../../scripts/executors/report_batches.ts";

const test = suite("reportBatches()");

/** Reports to a scheduler that gives these answers; a report after the last one fails. */
async function report(...answers: readonly string[]): Promise<{ goesOn: boolean; left: number }> {
  const left = [...answers];
  const goesOn = await reportBatches(() => {
    const [type = "", counter = "0"] = left.shift()?.split(" ") ?? [];
    return type === ""
      ? Promise.reject(new Error("one report too many"))
      : Promise.resolve({ type, counter: Number(counter) });
  }, 32);
  return { goesOn, left: left.length };
}

test("it reports as many batches as the scheduler requests", async () => {
  assert.equal(await report("Continue", "ScheduleUpdate 2", "ScheduleUpdate 9", "Continue"), { goesOn: true, left: 0 });
  assert.equal(await report("ScheduleUpdate 0"), { goesOn: true, left: 0 });
});

test("bug: it reported on after Done and Error", async () => {
  assert.equal(await report("Continue", "Done"), { goesOn: false, left: 0 });
  assert.match(await report("Error").then(() => "", String), "no place for this job");
});

test.run();
