import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readJob } from "../../actors/executor/job.ts";

const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const peers = { type: "peers", peers: [peer], strategy: { type: "All" }, resource: null };
const job = {
  job_id: "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
  executor: {
    class: "aggregate",
    descriptor: { name: "x" },
    config: { updates: peers, results: peers, optimizer: { "learning-rate": 1, momentum: 0 } },
  },
};
const environment = { SOCKET_PATH: "/job/bridge.sock", WORK_DIR: "/job", JOB_JSON: JSON.stringify(job) };

const test = suite("readJob()");

test("takes the variables of a worker, with and without a token", () => {
  const started = Result.getOrThrow(readJob(environment));
  assert.equal([started.socketPath, started.workDir, started.token], ["/job/bridge.sock", "/job", undefined]);
  assert.equal(started.spec, job);
  assert.is(Result.getOrThrow(readJob({ ...environment, BRIDGE_TOKEN: "secret" })).token, "secret");
});

const cases: [name: string, change: Record<string, string | undefined>, variable: string, detail: RegExp][] = [
  ["a missing socket", { SOCKET_PATH: undefined }, "SOCKET_PATH", /is not set/],
  ["a missing folder", { WORK_DIR: undefined }, "WORK_DIR", /is not set/],
  ["a missing job", { JOB_JSON: undefined }, "JOB_JSON", /is not set/],
  ["text that is not JSON", { JOB_JSON: "{" }, "JOB_JSON", /is not JSON/],
  ["JSON that is no job", { JOB_JSON: '{"job_id":"7"}' }, "JOB_JSON", /is no job: .*job_id/],
];
for (const [name, change, variable, detail] of cases) {
  test(`refuses ${name} with the variable's name`, () => {
    const read = readJob({ ...environment, ...change });
    assert.ok(Result.isFailure(read));
    assert.is(read.failure.variable, variable);
    assert.match(read.failure.message, detail);
  });
}
test.run();
