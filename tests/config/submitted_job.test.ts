/** A submitted job is checked alike by `hypha-scheduler submit` and by the scheduler. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readJob } from "../../actors/config/job_source.ts";
import { checkJob } from "../../actors/config/load.ts";
import { decodeJob } from "../../actors/config/submitted_job.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { submittedJob } from "../support/submission.ts";

const test = suite("submitted job");

/** The answers of `submit` and of the scheduler to a job. */
const said = async (values: Record<string, unknown>) => {
  const source = await Effect.runPromise(Effect.provide(readJob(JSON.stringify(values)), realServices));
  const onSuccess = () => "right";
  return [
    Result.match(checkJob(source), { onSuccess, onFailure: ({ message }) => message }),
    Result.match(decodeJob(values), { onSuccess, onFailure: (text) => text }),
  ];
};

test("a job that is right is right for both", async () => {
  assert.equal(await said(submittedJob), ["right", "right"]);
});

test("bug: the scheduler named only the first of all that is wrong with a job", async () => {
  const rounds = { ...submittedJob.rounds, update_rounds: "two" };
  for (const text of await said({ ...submittedJob, rounds, more: 1, timeouts: [] })) {
    assert.match(text, "more");
    assert.match(text, "update_rounds");
  }
});

test.run();
