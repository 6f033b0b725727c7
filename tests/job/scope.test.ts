// What a job's specification lets it use, by itself and at the bridge.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scopeOf } from "../../actors/job/scope.ts";
import type { JobSpec, Reference } from "../../transport/protocols/messages.ts";
import { askJson } from "../support/bridge_client.ts";
import { peer, stranger, withBridge } from "../support/job_bridge.ts";
import { fakeNetwork, realPorts } from "../support/job_world.ts";

const peers = (...list: string[]) =>
  ({ type: "peers", peers: list, strategy: { type: "All" }, resource: null }) as const;
const hub = {
  type: "huggingface",
  repository: "a/b",
  revision: null,
  filenames: ["x", "y"],
  token: null,
} as const;
const train: JobSpec = {
  job_id: "22222222-2222-4222-8222-222222222222",
  executor: {
    class: "train",
    descriptor: { name: "n" },
    config: {
      model: { task: "causal-lm", artifact: hub, "input-names": [] },
      preprocessor: { task: "t", artifact: { type: "uri", value: "https://x.test/p" }, "input-names": [] },
      data: { type: "scheduler", peer, dataset: "digits" },
      updates: peers(peer),
      results: peers(stranger),
      optimizer: { "learning-rate": 0.1, betas: null, epsilon: null },
      batch_size: 2,
    },
  },
};
const aggregate: JobSpec = {
  ...train,
  executor: {
    class: "aggregate",
    descriptor: { name: "n" },
    config: { updates: peers(peer), results: peers(stranger), optimizer: { "learning-rate": 1, momentum: 0 } },
  },
};

const test = suite("scopeOf()");

const cases: [name: string, reference: Reference, fetched: boolean][] = [
  ["its model", hub, true],
  ["a file of its model", { ...hub, filenames: ["y"], revision: "main" }, true],
  ["another file of that repository", { ...hub, filenames: ["y", "z"] }, false],
  ["another repository", { ...hub, repository: "a/c" }, false],
  ["another revision", { ...hub, revision: "v2" }, false],
  ["its preprocessor", { type: "uri", value: "https://x.test/p" }, true],
  ["an address of its own choice", { type: "uri", value: "https://x.test/q" }, false],
  ["its data set", { type: "scheduler", peer, dataset: "digits" }, true],
  ["another data set", { type: "scheduler", peer, dataset: "letters" }, false],
  ["another scheduler", { type: "scheduler", peer: stranger, dataset: "digits" }, false],
  ["files of a peer", peers(peer), false],
];
for (const [name, reference, fetched] of cases) {
  test(`a trainer ${fetched ? "fetches" : "does not fetch"} ${name}`, () => {
    assert.is(scopeOf(train).fetches(reference), fetched);
    assert.is(scopeOf(aggregate).fetches(reference), false, "an aggregator fetches nothing");
  });
}

test("a trainer sends updates and receives results; an aggregator the other way round", () => {
  assert.equal([scopeOf(train).sendsTo(peer), scopeOf(train).sendsTo(stranger)], [true, false]);
  assert.equal(scopeOf(train).receivesFrom, [stranger]);
  assert.equal([scopeOf(aggregate).sendsTo(peer), scopeOf(aggregate).sendsTo(stranger)], [false, true]);
  assert.equal(scopeOf(aggregate).receivesFrom, [peer]);
});

test("the bridge refuses what is outside with job-scope, counts it, and asks nobody", async () => {
  const ports = realPorts();
  const network = fakeNetwork({});
  await withBridge({ scope: scopeOf(train), network, report: ports.report }, async ({ socket }) => {
    const refused = async (route: string, body: unknown) => {
      const { status, body: answer } = await askJson(socket, route, body);
      assert.equal([status, JSON.parse(answer).error], [403, "job-scope"], route);
    };
    await refused("/resources/fetch", { type: "uri", value: "https://x.test/q" });
    await refused("/resources/send", { resource: peers(peer, stranger), path: "x" });
    await refused("/resources/receive", { resource: peers(peer) });
  });
  assert.is(network.receives.length, 0);
  const told = ports.reports.filter(({ event }) => event === "job.refused-scope");
  assert.equal(told.map(({ level, fields }) => [level, fields?.["code"], fields?.["count"]]), [
    ["warn", "job-scope", 1],
    ["warn", "job-scope", 2],
    ["debug", "job-scope", 3],
  ]);
});

test.run();
