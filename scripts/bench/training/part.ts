/**
 * The part `training` of the performance table (P16): what a training costs beside its loop. Four members train for whole rounds in a
 * network of real programs; the peer is four processes of the same loop at once, without a network, right before it.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runCommand } from "../../check/command.ts";
import { commandOf } from "../../demo/runtimes.ts";
import { schedulerName, SupervisedNetwork } from "../../kills/network.ts";
import { type BenchRow, makeRow, median } from "../row.ts";

/** How large the model is, and how long the rounds are. */
interface Plan {
  readonly elements: number;
  readonly roundMs: number;
  readonly rounds: number;
}
const full: Plan = { elements: 10_000_000, roundMs: 30_000, rounds: 4 };
const short: Plan = { elements: 20_000, roundMs: 50, rounds: 2 };
const members = 4;
/** Longest time of one process of the loop, and of the training, in milliseconds. */
const loopMaxMs = 600_000, trainingMaxMs = 1_800_000;
/** The kernel's clock ticks in a second, as every Linux has it. */
const ticksPerSecond = 100;
const scriptAt = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const runtime = "Deno" in globalThis ? "deno" : "node";
/** V8's middle compiler takes the loop over from the best one after some calls, and is six times as slow. */
const flags = [runtime === "node" ? "--no-maglev" : "--v8-flags=--no-maglev"];

/** Measures it. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const { elements, roundMs, rounds } = quick ? short : full;
  const passes = Math.max(1, Math.round(median(await loops([elements, "for", roundMs]))));
  const aloneMs = Math.max(...await loops([elements, passes, rounds]));
  const network = await SupervisedNetwork.make(runtime, {
    elements,
    rounds: rounds + 1,
    trainers: members,
    workers: members + 1,
    executor: [...flags, scriptAt("loop_executor.ts"), String(passes)],
  });
  try {
    const { roundMs: value, cpuSeconds } = await train(network, rounds);
    return [
      makeRow({
        id: "P16.round",
        what: `a round of ${members} members, ${elements} parameters`,
        unit: "s",
        value: value / 1_000,
        peer: { name: `${members} processes of the same loop at once`, value: aloneMs / 1_000 },
        op: "<=",
        target: 1.15,
      }),
      makeRow({
        id: "P16.cpu",
        what: "processor time of all node processes in a round",
        unit: "s",
        value: cpuSeconds,
        op: "<=",
        target: 6,
      }),
    ];
  } finally {
    await network.stop();
  }
}

/** Runs the loop in as many processes as there are members, all at once; the number that each prints. */
function loops(args: readonly (string | number)[]): Promise<readonly number[]> {
  const [command, ...before] = commandOf(runtime, ["-A"]);
  const all = [...before, ...flags, scriptAt("plain_loop.ts"), ...args.map(String)];
  return Promise.all(Array.from({ length: members }, async () => {
    const { code, stdout, stderr } = await runCommand(command, all, { timeoutMs: loopMaxMs });
    if (code !== 0) throw new Error(`the loop ended with ${code}: ${stderr}`);
    return Number(stdout.trim());
  }));
}

/** From the end of the first round, in which programs and executors start, to that of the last. */
async function train(network: SupervisedNetwork, rounds: number) {
  await network.start();
  const ends: { readonly at: number; readonly cpu: number }[] = [];
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(() => over.reject(new Error("the training takes too long")), trainingMaxMs);
  const stop = network.listen(({ node, event, message }) => {
    if (node !== schedulerName) return;
    if (event === "round.finished") ends.push({ at: performance.now(), cpu: cpuSecondsOf(network.pids) });
    if (event === "training.failed") over.reject(new Error(String(message)));
    if (ends.length > rounds) over.resolve();
  });
  try {
    await network.submit();
    await over.promise;
  } finally {
    clearTimeout(timer);
    stop();
  }
  const [first, last] = [ends[0], ends[rounds]];
  if (first === undefined || last === undefined) throw new Error("the training has too few rounds");
  return { roundMs: (last.at - first.at) / rounds, cpuSeconds: (last.cpu - first.cpu) / rounds };
}

/** Processor time of processes so far, without that of their children. */
function cpuSecondsOf(pids: readonly number[]): number {
  if (process.platform !== "linux") return Number.NaN;
  return pids.reduce((sum, pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return sum + (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  }, 0);
}
