/**
 * `npm run kills`: kills each kind of process at each moment of a training, with real programs under a supervisor, and compares the model
 * at the end with that of an undisturbed training.
 *
 * Exits with 0 when every training ended with its model and no finished round was lost, 1 otherwise, 2 on wrong usage.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { killOnce, type KillRow, trainUndisturbed } from "./kills/kill.ts";
import { isPossible, type Kind, kinds, type Moment, moments } from "./kills/moments.ts";
import { SupervisedNetwork } from "./kills/network.ts";

interface Kill {
  readonly kind: Kind;
  readonly moment: Moment;
}

const all: readonly Kill[] = kinds.flatMap((kind) =>
  moments.filter((moment) => isPossible(kind, moment)).map((moment) => ({ kind, moment }))
);
/** On Deno, whose file system and sockets are others, each kind at two moments. */
const some = all.filter(({ moment }) => moment === "push" || moment === "checkpoint");

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}
Usage: npm run kills [-- KIND:MOMENT …] [--runtime node|deno] [--json]
       KIND: ${kinds.join(", ")}
       MOMENT: ${moments.join(", ")}
       Without names: all (node), or each kind at push and checkpoint (deno).`);
  process.exit(2);
}

function read() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { runtime: { type: "string", default: "node" }, json: { type: "boolean", default: false } },
  });
  const { runtime, json } = values;
  if (runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
  const chosen = positionals.map((name) => {
    const kill = all.find(({ kind, moment }) => name === `${kind}:${moment}`);
    return kill ?? usage(`there is no ${name}`);
  });
  return { runtime, json, kills: chosen.length > 0 ? chosen : runtime === "node" ? all : some } as const;
}

function parsed() {
  try {
    return read();
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

function lineOf({ kind, moment, victim, seconds, finished, difference, problem }: KillRow): string {
  const bits = difference === null ? "bits equal" : `differs by ${difference.toExponential(1)}`;
  const how = problem === null ? `model, ${bits}` : `NOT: ${problem}`;
  return `| ${kind} | ${moment} | ${victim} | ${seconds} s | ${finished.join(" ")} | ${how} |`;
}

const { runtime, json, kills } = parsed();
const say = json ? console.error : console.log;
const network = await SupervisedNetwork.make(runtime);
for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  process.on(signal, () => {
    network.end();
    process.exit(code);
  });
}
const rows: KillRow[] = [];
try {
  await network.start();
  const undisturbed = await trainUndisturbed(network);
  say(`| killed | moment | process | ends after | rounds finished | with |\n| --- | --- | --- | --- | --- | --- |`);
  for (const kill of kills) {
    const row = await killOnce(network, kill, undisturbed);
    rows.push(row);
    say(lineOf(row));
  }
} finally {
  await network.stop();
}
const ok = rows.every(({ problem }) => problem === null);
if (json) process.stdout.write(`${JSON.stringify({ runtime, ok, kills: rows })}\n`);
else say(`\n${rows.length} kills on ${runtime}, ${rows.filter(({ problem }) => problem !== null).length} not survived`);
process.exit(ok ? 0 : 1);
