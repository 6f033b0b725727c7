/**
 * A network of real nodes: the gateway's program with its defaults, and workers, in at most ten processes. Measures the rate of joins, the
 * connections of each node, the cost of an idle network, the time from a request to the offers, and that of a training.
 *
 * @module
 */
import { basename } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { defaultLimits } from "../../../transport/core/admission.ts";
import type { PublishAnswer, RecordAnswer, TransportLimits } from "../../../transport/port.ts";
import { workerTopic } from "../../../transport/protocols/messages.ts";
import { startTransportEnd } from "../cell/transport_end.ts";
import { type GatewayProgram, runGateway } from "../gate/gateway_program.ts";
import { type BenchRow, makeRow, median } from "../row.ts";
import { Host } from "./host.ts";
import type { NodeSetup } from "./host_process.ts";
import { makeNetworkWorld, type NetworkWorld } from "./network_world.ts";
import { trainersInAll, trainingWorker, trainOnce } from "./training.ts";

/** Processes that host nodes, beside the gateway's and this one. */
const hostsMax = 8;
/** Nodes where the command names no number. */
const nodesDefault = 20;

/** The pauses of a measurement, in milliseconds, and how often the scheduler asks. */
interface Plan {
  /** Unused connections are closed within this. */
  readonly settleMs: number;
  /** How long the idle network is measured. */
  readonly idleMs: number;
  /** Each request is heard by then. */
  readonly heardMs: number;
  readonly requests: number;
}
const plan: Plan = { settleMs: 75_000, idleMs: 30_000, heardMs: 5_000, requests: 5 };
const quickPlan: Plan = { settleMs: 500, idleMs: 500, heardMs: 4_000, requests: 1 };

/** Measures one network. */
export async function measure(
  { quick, nodes = quick ? 4 : nodesDefault }: { readonly quick: boolean; readonly nodes?: number },
): Promise<readonly BenchRow[]> {
  const world = await makeNetworkWorld();
  const stops: (() => void)[] = [() => world.remove()];
  try {
    const gateway = await runGateway(
      await world.configFile("gateway", "gateway", {
        limits: {
          connections_per_address_max: limits.connectionsPerAddressMax,
          pending_per_address_max: limits.pendingPerAddressMax,
          handshakes_per_second: limits.handshakesPerSecond,
          handshakes_burst: limits.handshakesBurst,
        },
      }),
    );
    stops.push(() => gateway.stop());
    const hosts = Array.from({ length: Math.min(hostsMax, nodes) }, () => new Host());
    stops.push(() => hosts.forEach((host) => host.stop()));
    const joined = await join({ world, gateway, hosts, nodes });
    const { settleMs, idleMs, ...asking } = quick ? quickPlan : plan;
    await pause(settleMs);
    const idle = await idleCost({ gateway, hosts, nodes, forMs: idleMs });
    const asked = await askAll({ world, gateway, hosts, nodes }, asking);
    const trainedSeconds = await trainOnce(world, gateway.address);
    return rowsOf(nodes, { ...joined, ...idle, ...asked, trainedSeconds });
  } finally {
    for (const stop of stops.toReversed()) stop();
  }
}

interface Network {
  readonly world: NetworkWorld;
  readonly gateway: GatewayProgram;
  readonly hosts: readonly Host[];
  readonly nodes: number;
}

const cpuMsOf = (gateway: GatewayProgram) => gateway.cpuUs() / 1_000;

/** All nodes join, one after the other in each host. */
async function join({ world, gateway, hosts, nodes }: Network) {
  const setups: NodeSetup[] = [];
  for (let index = 0; index < nodes; index++) {
    const role = index === 0 ? "data" : "worker";
    const name = `${role}-${index}`;
    const { executor, cell } = trainingWorker;
    const own = role === "data" ? { dataset_path: world.dataset } : {
      executors: [
        { class: "aggregate", name: "parameter-server", runtime: "parameter-server" },
        ...(index <= trainersInAll ? [executor] : []),
      ],
      ...(index <= trainersInAll ? { cell } : {}),
      resources: workerHas,
      work_dir: world.workDir(name),
    };
    setups.push({ name, role, toml: await world.config(name, role, { gateway_addresses: [gateway.address], ...own }) });
  }
  const cpuBefore = cpuMsOf(gateway);
  const began = performance.now();
  const started = await Promise.all(
    hosts.map((host, nth) =>
      host.tell({ do: "start", nodes: setups.filter((_, index) => index % hosts.length === nth) })
    ),
  );
  const seconds = (performance.now() - began) / 1_000;
  return {
    joinsPerSecond: nodes / seconds,
    joinMs: median(started.flatMap(({ joinMs }) => joinMs)),
    joinCpuMs: (cpuMsOf(gateway) - cpuBefore) / nodes,
  };
}

async function idleCost({ gateway, hosts, nodes, forMs }: Omit<Network, "world"> & { readonly forMs: number }) {
  const look = () => Promise.all(hosts.map((host) => host.tell({ do: "look" })));
  const [before, gatewayBefore] = [await look(), cpuMsOf(gateway)];
  await pause(forMs);
  const [after, gatewayAfter] = [await look(), cpuMsOf(gateway)];
  const spent = after.reduce((sum, { cpuMs }, nth) => sum + cpuMs - before[nth]!.cpuMs, 0);
  const links = after.flatMap((answer) => answer.links);
  return {
    linksMax: Math.max(...links),
    nodeCpu: spent / nodes / forMs,
    gatewayCpu: (gatewayAfter - gatewayBefore) / forMs,
    nodeRssMb: after.reduce((sum, { rssBytes }) => sum + rssBytes, 0) / nodes / 1e6,
    gatewayRssMb: gateway.rssBytes() / 1e6,
  };
}

/** All nodes share one address here: the limits for an address are those of a whole network. */
const limits: TransportLimits = {
  ...defaultLimits,
  connectionsPerAddressMax: defaultLimits.connectionsMax,
  pendingPerAddressMax: defaultLimits.pendingMax,
  handshakesPerSecond: 1_000,
  handshakesBurst: 1_000,
};

/** What a worker has: more than all requests of this measurement ask for. */
const workerHas = { cpu: 64, memory: 64, storage: 64, gpu: 0 };

/** A scheduler asks for workers, and looks the data set up. */
async function askAll(
  { world, gateway, hosts, nodes }: Network,
  { heardMs, requests }: Pick<Plan, "heardMs" | "requests">,
) {
  const asker = await startTransportEnd(await world.member("scheduler", "scheduler"), true, "scheduler", limits);
  try {
    await asker.ask((replyTo) => ({ type: "dial", id: "gateway", target: { address: gateway.address }, replyTo }));
    await pause(heardMs); // gossip learns of a peer's topics a second after it connected
    const delays: number[] = [];
    let missed = 0;
    for (let nth = 0; nth < requests; nth++) {
      await Promise.all(hosts.map((host) => host.tell({ do: "offers" })));
      const at = Date.now();
      await asker.ask<PublishAnswer>((replyTo) => ({
        type: "publish",
        id: `${nth}`,
        topic: workerTopic,
        message: requestOf(nth, at),
        replyTo,
      }));
      await pause(heardMs);
      const offers = (await Promise.all(hosts.map((host) => host.tell({ do: "offers" })))).flatMap((each) =>
        each.offers
      );
      delays.push(...offers.map((offer) => offer.at - at));
      missed += nodes - 1 - new Set(offers.map(({ node }) => node)).size;
    }
    const began = performance.now();
    const found = await asker.ask<RecordAnswer>((replyTo) => ({
      type: "record.get",
      id: "look-up",
      key: basename(world.dataset),
      timeoutMs: 10_000,
      replyTo,
    }));
    if (found.type !== "record") throw new Error(`the data set was not found: ${found.type}`);
    const sorted = delays.toSorted((a, b) => a - b);
    return {
      lookUpMs: performance.now() - began,
      heardP50Ms: sorted[Math.floor(sorted.length / 2)] ?? Infinity,
      heardP99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? Infinity,
      missed,
    };
  } finally {
    await asker.stop();
  }
}

const requestOf = (nth: number, at: number) => ({
  id: `3f2504e0-4f89-41d3-9a0c-${nth.toString(16).padStart(12, "0")}`,
  spec: {
    resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 },
    executor: [{ class: "aggregate", name: "parameter-server" }],
  },
  timeout: { secs_since_epoch: Math.ceil(at / 1_000) + 60, nanos_since_epoch: 0 },
  bid: 1,
} as const);

type Measured =
  & Awaited<ReturnType<typeof join>>
  & Awaited<ReturnType<typeof idleCost>>
  & Awaited<ReturnType<typeof askAll>>
  & { readonly trainedSeconds: number };

function rowsOf(nodes: number, measured: Measured): readonly BenchRow[] {
  const of = `${nodes} nodes`;
  const row = (id: string, what: string, unit: string, value: number, target: number, op: "<=" | ">=" = "<=") =>
    makeRow({ id, what: `${what}, ${of}`, unit, value, op, target });
  return [
    row("P13.links", "links of an idle node, at most", "links", measured.linksMax, 10),
    row("P13.join", "processor time of a join at the gateway", "ms", measured.joinCpuMs, 10),
    row("N.joins", "joins", "1/s", measured.joinsPerSecond, 1, ">="),
    row("N.ready", "from a node's start to ready, median", "ms", measured.joinMs, 2_000),
    row("N.idle", "processor time of an idle node", "of a core", measured.nodeCpu, 0.005),
    row("N.gateway", "processor time of the gateway, nobody working", "of a core", measured.gatewayCpu, 0.05),
    row("N.rss", "memory of a node in a shared process", "MB", measured.nodeRssMb, 60),
    row("N.gatewayRss", "memory of the gateway", "MB", measured.gatewayRssMb, 400),
    row(
      "N.heard",
      "from a request to a worker's offer, median; 200 ms of it the worker collects requests",
      "ms",
      measured.heardP50Ms,
      500,
    ),
    row("N.heardP99", "the same, 99th percentile", "ms", measured.heardP99Ms, 1_500),
    row("N.missed", "workers that did not hear one of the requests", "of all", measured.missed, 0),
    row("N.lookUp", "looking a data set up", "ms", measured.lookUpMs, 1_000),
    row(
      "N.training",
      "a training of two rounds with two of the workers, from its start on",
      "s",
      measured.trainedSeconds,
      60,
    ),
  ];
}
