/**
 * `npm run upgrade`: a network whose nodes are of a former version, but for its scheduler. One node after the other is upgraded in the middle
 * of a training, and the model of each training is compared with that of an undisturbed one.
 *
 * Exits with 0 when every training ended with its model and no finished round was lost, 1 otherwise, 2 on wrong usage.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { differenceOf, problemOf, trainUndisturbed, type Undisturbed, untilOver, valuesIn } from "./kills/kill.ts";
import { plan, rounds, schedulerName, SupervisedNetwork } from "./kills/network.ts";
import { makeFormerTree } from "./upgrade/former_tree.ts";

/** An upgrade in the middle of a training. */
interface UpgradeRow {
  readonly node: string;
  readonly seconds: number;
  readonly finished: readonly number[];
  /** The largest difference from the undisturbed model; null where the bits are equal. */
  readonly difference: number | null;
  readonly problem: string | null;
}

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}
Usage: npm run upgrade [-- --from COMMIT] [--runtime node|deno] [--json]
       COMMIT: the former version; by default the newest tag`);
  process.exit(2);
}

function read() {
  const { values } = parseArgs({
    options: {
      from: { type: "string" },
      runtime: { type: "string", default: "node" },
      json: { type: "boolean", default: false },
    },
  });
  const { runtime } = values;
  if (runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
  return { ...values, runtime } as const;
}

function parsed() {
  try {
    return read();
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

function formerTree(): ReturnType<typeof makeFormerTree> {
  try {
    return makeFormerTree(from);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return process.exit(2);
  }
}

/** Upgrades a node once the first round of a training is finished; the training goes on to its end. */
async function upgradeInTraining(
  network: SupervisedNetwork,
  node: string,
  undisturbed: Undisturbed,
): Promise<UpgradeRow> {
  network.forget();
  const began = performance.now();
  const over = untilOver(network);
  over.catch(() => {});
  const inTraining = new Promise<void>((resolve) => {
    const stop = network.listen(({ event, node: of }) => {
      if (of !== schedulerName || event !== "round.finished") return;
      stop();
      resolve();
    });
  });
  let difference: number | null = null;
  let problem: string | null = null;
  try {
    await network.submit();
    await Promise.race([inTraining, over]);
    await network.upgrade(node);
    const { sha256, file, round } = await over;
    if (round !== rounds) problem = `its model is that of round ${round}`;
    if (sha256 !== undisturbed.sha256) difference = differenceOf(valuesIn(file), undisturbed.values);
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  const finished = network.events.filter(({ event, node: of }) => of === schedulerName && event === "round.finished")
    .map(({ round }) => Number(round));
  const aggregators =
    network.events.filter(({ event, node: of, class: jobClass }) =>
      of === schedulerName && event === "job.dispatched" && jobClass === "aggregate"
    ).length;
  problem ??= problemOf(network, { finished, aggregators, difference });
  return { node, seconds: Math.round((performance.now() - began) / 100) / 10, finished, difference, problem };
}

function lineOf({ node, seconds, finished, difference, problem }: UpgradeRow): string {
  const bits = difference === null ? "bits equal" : `differs by ${difference.toExponential(1)}`;
  return `| ${node} | ${seconds} s | ${finished.join(" ")} | ${
    problem === null ? `model, ${bits}` : `NOT: ${problem}`
  } |`;
}

const { from, runtime, json } = parsed();
const say = json ? console.error : console.log;
const former = formerTree();
const removeFormer = () => rmSync(dirname(former.tree), { recursive: true, force: true });
const network = await SupervisedNetwork.make(runtime, { ...plan, former: former.tree });
for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  process.on(signal, () => {
    network.end();
    removeFormer();
    process.exit(code);
  });
}
const workers = Array.from({ length: plan.workers }, (_, nth) => `worker-${nth + 1}`);
const rows: UpgradeRow[] = [];
try {
  await network.start();
  const undisturbed = await trainUndisturbed(network);
  say(`Former version: ${former.commit}; a training of new scheduler and former nodes ended with its model.`);
  say(`| upgraded | ends after | rounds finished | with |\n| --- | --- | --- | --- |`);
  for (const node of ["gateway", "data-1", ...workers, schedulerName]) {
    const row = await upgradeInTraining(network, node, undisturbed);
    rows.push(row);
    say(lineOf(row));
  }
} finally {
  await network.stop();
  removeFormer();
}
const ok = rows.length > 0 && rows.every(({ problem }) => problem === null);
if (json) process.stdout.write(`${JSON.stringify({ runtime, ok, from: former.commit, upgrades: rows })}\n`);
process.exit(ok ? 0 : 1);
