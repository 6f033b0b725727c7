/**
 * Whole nodes over real transports: one small training with everybody reachable, one in which every node but the gateway is
 * reachable through its relay only, with a trainer revoked on the way.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { DilocoJobConfig } from "../../actors/config/config.ts";
import { aggregationDefault } from "../../actors/config/defaults.ts";
import { awake } from "../support/awake.ts";
import { cell, executors, makeNodeNetwork, type NodeNetwork, type RunningNode } from "../support/node_network.ts";

const test = suite("a network of nodes");

function jobOf(network: NodeNetwork, trainers: number, rounds: number): DilocoJobConfig {
  const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
  return {
    type: "diloco",
    model: {
      repository: "builtin/mlp-64-32-10",
      revision: "seed-7",
      filenames: ["model.safetensors"],
      token: undefined,
      type: "image-classification",
      inputNames: ["pixel_values"],
    },
    preprocessor: undefined,
    dataset: "digits",
    innerOptimizer: { learningRate: 0.004, betas: undefined, epsilon: undefined },
    outerOptimizer: { learningRate: 0.7, momentum: 0.5 },
    resources: {
      numWorkers: trainers,
      worker: resources,
      parameterServer: resources,
      workerPrice: { bid: 20, max: 100 },
      parameterServerPrice: { bid: 20, max: 100 },
    },
    rounds: { updateRounds: rounds, avgSamplesBetweenUpdates: 576, maxBatchSize: 32, keepRounds: 3 },
    aggregation: { ...aggregationDefault, roundDeadlineS: 900 },
    executors: { train: "diloco-transformer", aggregate: "parameter-server" },
    evaluation: { heldOut: network.heldOut },
  };
}

interface Started {
  readonly network: NodeNetwork;
  readonly gateway: RunningNode;
  readonly data: RunningNode;
  readonly workers: readonly RunningNode[];
  readonly scheduler: RunningNode;
}

/** Starts a network; `listen` is what all but the gateway listen on. */
async function start(listen: readonly string[], { workers: count, rounds }: { workers: number; rounds: number }) {
  const network = await makeNodeNetwork();
  const gateway = await network.start("gateway-01", "gateway");
  const listening = await gateway.said("node.listening");
  const [address] = listening["addresses"] as string[];
  const common = { gatewayAddresses: [address as string], listenAddresses: listen };
  const data = await network.start(
    "data-01",
    "data",
    { ...common, datasetPath: network.slices, requireGrant: true } as never,
  );
  const workers: RunningNode[] = [];
  for (let index = 1; index <= count; index++) {
    const name = `worker-0${index}`;
    const worker = {
      ...common,
      workDir: join(network.folder, "work", name),
      resources: { cpu: 2, memory: 4, storage: 10, gpu: 0 },
      offer: { price: 10, floor: 1, strategy: "whole" },
      executors: executors(),
      cell: cell(),
    };
    workers.push(await network.start(name, "worker", worker as never));
  }
  for (const node of [data, ...workers]) await node.said("node.ready");
  const job = jobOf(network, count - 1, rounds);
  const scheduler = await network.start("scheduler-01", "scheduler", { ...common, job } as never);
  return { network, gateway, data, workers, scheduler } satisfies Started;
}

const evaluated = (scheduler: RunningNode) =>
  scheduler.lines.filter(({ event }) => event === "round.evaluated").map(({ fields }) => Number(fields?.["accuracy"]));

/** No work directory is left over. */
function leftovers(network: NodeNetwork): string[] {
  const work = join(network.folder, "work");
  return readdirSync(work).flatMap((name) => readdirSync(join(work, name))).filter((name) => name.startsWith("hypha-"));
}

async function trainDirectly(): Promise<void> {
  const { network, workers, scheduler } = await start(["/ip4/127.0.0.1/tcp/0"], { workers: 2, rounds: 2 });
  try {
    const done = await scheduler.said("training.done", undefined, 90_000);
    assert.is(done["rounds"], 2);
    assert.is(evaluated(scheduler).length, 2);
    assert.ok(Number(done["accuracy"]) > 0.3, `accuracy ${done["accuracy"]}`);
    assert.equal(await scheduler.ended(10_000), { type: "stopped", reason: "its work is done" });
    for (const worker of workers) {
      const ended = await worker.said("job.ended");
      assert.is(ended["outcome"], "finished");
    }
    const granted = scheduler.lines.filter(({ event }) => event === "lease.granted");
    assert.equal(granted.map(({ fields }) => fields?.["class"]).sort(), ["aggregate", "train"]);
    assert.ok(
      granted.every(({ fields }) => String(fields?.["name"]).startsWith("worker-0")),
      "leases name their worker",
    );
    for (const node of workers) {
      assert.equal(await node.stop(), { type: "stopped", reason: "the test is over" });
      assert.ok(Number((await node.said("node.summary"))["bytesSent"]) > 0);
    }
    assert.equal(leftovers(network), []);
  } finally {
    await network.stop();
  }
}

async function trainBehindRelay(): Promise<void> {
  const { network, gateway, workers, scheduler } = await start([], { workers: 3, rounds: 6 });
  try {
    await scheduler.said("round.evaluated", undefined, 90_000);
    const lease = await scheduler.said("lease.granted", (fields) => fields["class"] === "train");
    const revoked = workers.find(({ name }) => lease["name"] === name) as RunningNode;
    const clock = awake();
    // The revoked worker would end its connections itself where it is the first that reads the list.
    network.publishCrls(await network.pki.crls({ number: 2n, revoked: [revoked.certificate.serial] }), revoked);
    const isOf = (fields: Readonly<Record<string, unknown>>) => fields["name"] === revoked.name;
    const isRevoked = (fields: Readonly<Record<string, unknown>>) =>
      fields["name"] === revoked.name && fields["code"] === "certificate-revoked";
    // The scheduler's connection goes with the gateway's where the gateway reads the list first: it carries it.
    for (const [node, fits] of [[gateway, isRevoked], [scheduler, isOf]] as const) {
      await node.said("peer.closed", fits, 5_000);
      assert.ok(clock.ms() < 2_000, `${node.name} closed after ${clock.ms()} ms`);
    }
    clock.stop();
    await gateway.said("peer.refused", isRevoked);
    await scheduler.said("trainer.lost");
    const done = await scheduler.said("training.done", undefined, 90_000);
    assert.is(done["rounds"], 6);
    assert.is(done["trainers"], 1);
    assert.is(evaluated(scheduler).length, 6);
    assert.is((await scheduler.ended(10_000)).type, "stopped");
    const listening = await scheduler.said("node.listening");
    assert.equal(listening["addresses"], [], "nobody but the gateway can be dialled directly");
  } finally {
    await network.stop();
  }
}

/** Both networks at once: they share nothing, and most of their time goes by in waiting. */
let both: PromiseSettledResult<void>[] = [];
test.before(async () => {
  both = await Promise.allSettled([trainDirectly(), trainBehindRelay()]);
});

function assertFulfilled(result: PromiseSettledResult<void> | undefined): void {
  if (result?.status !== "fulfilled") throw result?.reason;
}

test("a job is allocated, trained, evaluated and ended by itself", () => assertFulfilled(both[0]));

test("everybody behind the relay: a job, and a trainer revoked in the middle of it", () => assertFulfilled(both[1]));

test.run();
