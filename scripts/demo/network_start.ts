/**
 * From an empty folder to nodes that answer: the CA or the commands by hand, then a certificate, a configuration and a process for
 * each node.
 *
 * @module
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ByCa } from "./by_ca.ts";
import { ByHand } from "./by_hand.ts";
import { chooseCell } from "./cell.ts";
import type { Certifier } from "./certifier.ts";
import { type Layout, type NodePlan, valuesOf, writeWeights } from "./configuration.ts";
import { writeDataset } from "./dataset.ts";
import type { Display } from "./display.ts";
import { type NetworkPlan, planNetwork, startNode, untilHealthy, untilReady } from "./network.ts";
import { type DemoOptions, roundsOf } from "./options.ts";
import { type NodeProcess, runningPids, shareCompiledCode } from "./processes.ts";
import { processorMs } from "./processor_time.ts";
import { pythonFolder, pythonWithNumpy } from "./python.ts";
import { commandOf } from "./runtimes.ts";

const trainers = 3;
const executors = fileURLToPath(new URL("../executors", import.meta.url));
const digits = fileURLToPath(new URL("../../tests/fixtures/digits.csv", import.meta.url));

/** The network of the demo. */
export interface Network {
  readonly plan: NetworkPlan;
  readonly layout: Layout;
  readonly certifier: Certifier;
  /** All that run or ran, the CA among them. */
  readonly nodes: Map<string, NodeProcess>;
}

/** What it took until the first worker had joined. */
export interface Joined {
  /** Wall time. */
  readonly seconds: number;
  /** Processor time of the demo and of all that it started until then, other nodes included: an upper bound. */
  readonly processorSeconds: number;
}

/** Writes what the nodes need, and makes the CA. */
export async function prepare(options: DemoOptions, folder: string, display: Display): Promise<Network> {
  shareCompiledCode(join(folder, "compiled"));
  const plan = await planNetwork(options);
  const nodes = new Map<string, NodeProcess>();
  const certifier = options.byHand ? new ByHand(folder) : new ByCa({ folder, ...plan.ca, gateway: plan.gateway });
  const python = options.executor === "python" ? await pythonWithNumpy() : undefined;
  const [ca, cell] = await Promise.all([certifier.begin(), chooseCell(folder, python?.folders)]);
  display.note(cell.description);
  const [cmd, ...before] = commandOf(options.tools, []);
  const script = (name: string) => ({ cmd, args: [...before, join(executors, name)] });
  const dataset = writeDataset(digits, folder, options);
  const layout: Layout = {
    folder,
    way: certifier.way,
    gatewayPort: plan.gateway.port,
    dataset,
    weights: writeWeights(folder),
    rounds: roundsOf(options),
    trainers,
    trainer: python === undefined
      ? script("train_digits.ts")
      : { cmd: python.python, args: ["-B", join(pythonFolder, "train_numpy.py")] },
    evaluator: script("evaluate_digits.ts"),
    cell: cell.table,
    console: options.console,
  };
  if (ca !== undefined) {
    nodes.set("ca", ca);
    display.note(`ca (${ca.runtime}) listens`);
  }
  return { plan, layout, certifier, nodes };
}

/** Gives a node its certificate and its configuration, and starts it. */
export async function bring(
  { layout, certifier, nodes }: Network,
  plan: NodePlan,
  display: Display,
): Promise<NodeProcess> {
  await certifier.certify(plan, valuesOf(plan, layout));
  const node = startNode(plan, layout, certifier);
  node.listen(({ event, url, message }) => {
    // A scheduler with a job of its own ends with it.
    const until = plan.role === "scheduler" ? ", until its training ends" : "";
    if (event === "console.listening") display.note(`console of ${plan.name}${until}: ${url}`);
    if (event === "console.unserved") display.note(String(message));
  });
  nodes.set(plan.name, node);
  return node;
}

/** Starts the nodes in the order of their dependence: the gateway, then data and workers, then the scheduler. */
export async function start(network: Network, begun: number, display: Display): Promise<Joined> {
  const { plan, layout, certifier } = network;
  await certifier.certify(plan.operator, valuesOf(plan.operator, layout));
  const prober = { place: certifier.placeOf(plan.operator.name), tools: plan.operator.runtime };
  let joined: Joined | undefined;
  for (const roles of [["gateway"], ["data", "worker"]]) {
    const waiting = plan.nodes.filter(({ role }) => roles.includes(role));
    const lane = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const node = await bring(network, next, display);
        await untilReady(node);
        if (next.role === "worker") joined ??= joinedSince(begun);
        await untilHealthy(node, next, prober);
        display.note(`${next.name} (${next.runtime}) answers its probe`);
      }
    };
    await Promise.all([lane(), lane()]);
  }
  for (const scheduler of plan.nodes.filter(({ role }) => role === "scheduler")) {
    await bring(network, scheduler, display);
  }
  return joined ?? joinedSince(begun);
}

/** Processor time before the demo began, compiling and loading it, counts too. */
function joinedSince(begun: number): Joined {
  const round = (ms: number) => Math.round(ms / 100) / 10;
  return { seconds: round(performance.now() - begun), processorSeconds: round(processorMs(runningPids())) };
}
