/**
 * `npm run planted`: plants each deliberate defect in a copy of the tree and counts the seeds that find it.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { Found } from "./simulate/find.ts";
import { type Outcome, type PlantedBug, plantedBugs } from "./simulate/planted_bugs.ts";
import { copyTree, plant } from "./simulate/planted_tree.ts";
import { runtimeOf } from "./simulate/runtime.ts";

interface Terms {
  readonly runs: number;
  readonly enough: number;
  readonly shrink: boolean;
}

/** Runs seeds in a copy. */
function search(copy: string, { runs, enough, shrink }: Terms, family: PlantedBug["family"]): Promise<string> {
  const script = join(copy, "scripts/simulate/find.ts");
  const before = runtimeOf() === "deno" ? ["run", "-A", "--no-lock"] : ["--no-warnings"];
  const args = [...before, script, String(runs), String(enough), shrink ? "1" : "0", family ?? ""];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "", wrong = "";
  child.stdout.on("data", (piece) => said += piece);
  child.stderr.on("data", (piece) => wrong += piece);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => code === 0 ? resolve(said) : reject(new Error(wrong.slice(-500))));
  });
}

async function judge(bug: PlantedBug, terms: Terms): Promise<Outcome> {
  const copy = copyTree();
  const none = { bug: bug.name, found: 0, runs: 0, seed: null, invariants: [], shrunk: null };
  try {
    const problem = plant(copy, bug);
    if (problem !== undefined) return { ...none, problem };
    const { runs, found, shrunk = null } = JSON.parse(await search(copy, terms, bug.family)) as Found;
    const invariants = [...new Set(found.map(({ invariant }) => invariant))];
    return {
      bug: bug.name,
      found: found.length,
      runs,
      seed: found[0]?.seed ?? null,
      invariants,
      shrunk,
      problem: null,
    };
  } catch (error) {
    return { ...none, problem: (error as Error).message };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}
Usage: npm run planted [-- --runs N] [--enough N] [--only NAME] [--shrink] [--json]
       --runs: seeds of each bug at most (500); --enough: seeds that find it, after which it is left (3)
       --only: the bugs whose name contains this`);
  process.exit(2);
}

function parsed() {
  try {
    return parseArgs({
      options: {
        runs: { type: "string", default: "500" },
        enough: { type: "string", default: "3" },
        only: { type: "string" },
        shrink: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

function countOf(name: string, text: string): number {
  return /^[1-9][0-9]{0,6}$/.test(text) ? Number(text) : usage(`--${name} ${text} is no number from 1 on`);
}

function rowOf({ bug, found, runs, seed, invariants, shrunk, problem }: Outcome): string {
  const smaller = shrunk === null
    ? "-"
    : `${shrunk.events} → ${shrunk.shrunkEvents} events, ${shrunk.nodes} → ${shrunk.shrunkNodes} nodes`;
  return `| ${bug} | ${found} of ${runs} | ${seed ?? "-"} | ${problem ?? invariants.join(", ")} | ${smaller} |\n`;
}

const { values } = parsed();
const terms = {
  runs: countOf("runs", values.runs),
  enough: countOf("enough", values.enough),
  shrink: values.shrink,
};
const { only = "" } = values;
const bugs = plantedBugs.filter(({ name }) => name.includes(only));
if (bugs.length === 0) usage(`no planted bug has ${only} in its name`);
const outcomes: Outcome[] = [];
if (!values.json) {
  const head = "| planted bug | found in | first seed | by | made smaller |";
  process.stdout.write(`${head}\n| --- | --- | --- | --- | --- |\n`);
}
for (const bug of bugs) {
  const outcome = await judge(bug, terms);
  outcomes.push(outcome);
  if (!values.json) process.stdout.write(rowOf(outcome));
}
const missed = outcomes.filter(({ found }) => found === 0);
if (values.json) process.stdout.write(`${JSON.stringify(outcomes)}\n`);
else process.stdout.write(`\n${outcomes.length - missed.length} of ${outcomes.length} found\n`);
process.exitCode = missed.length === 0 ? 0 : 1;
