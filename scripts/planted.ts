/**
 * `npm run planted`: plants each deliberate defect in a copy of the tree and counts the seeds that find it.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type PlantedBug, plantedBugs } from "./simulate/planted_bugs.ts";

/** What came of one defect. */
interface Outcome {
  readonly bug: string;
  readonly found: number;
  readonly runs: number;
  readonly seed: number | null;
  readonly invariants: readonly string[];
  readonly problem: string | null;
}

const root = fileURLToPath(new URL("..", import.meta.url));

/** A copy of what a simulation needs; the packages are shared. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), "hypha-planted-"));
  for (const room of ["actors", "pki", "transport", "scripts"]) {
    cpSync(join(root, room), join(copy, room), { recursive: true });
  }
  for (const file of ["package.json", "deno.json", "mod.ts"]) cpSync(join(root, file), join(copy, file));
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/** Applies a patch; its text must stand in the file exactly once. */
function plant(copy: string, { file, find, replace }: PlantedBug): string | undefined {
  const path = join(copy, file);
  const parts = readFileSync(path, "utf8").split(find);
  if (parts.length !== 2) return `the patch does not apply: ${parts.length - 1} places in ${file}`;
  writeFileSync(path, parts.join(replace));
  return undefined;
}

/** Runs seeds in a copy. */
function search(copy: string, runs: number, enough: number): Promise<string> {
  const script = join(copy, "scripts/simulate/find.ts");
  const child = spawn(process.execPath, ["--no-warnings", script, String(runs), String(enough)], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "", wrong = "";
  child.stdout.on("data", (piece) => said += piece);
  child.stderr.on("data", (piece) => wrong += piece);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => code === 0 ? resolve(said) : reject(new Error(wrong.slice(-500))));
  });
}

async function judge(bug: PlantedBug, runs: number, enough: number): Promise<Outcome> {
  const copy = copyTree();
  try {
    const none = { bug: bug.name, found: 0, runs: 0, seed: null, invariants: [] };
    const problem = plant(copy, bug);
    if (problem !== undefined) return { ...none, problem };
    const { runs: ran, found } = JSON.parse(await search(copy, runs, enough)) as {
      runs: number;
      found: { seed: number; invariant: string }[];
    };
    const invariants = [...new Set(found.map(({ invariant }) => invariant))];
    return { bug: bug.name, found: found.length, runs: ran, seed: found[0]?.seed ?? null, invariants, problem: null };
  } catch (error) {
    return { bug: bug.name, found: 0, runs: 0, seed: null, invariants: [], problem: (error as Error).message };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "500" },
    enough: { type: "string", default: "3" },
    only: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const outcomes: Outcome[] = [];
if (!values.json) {
  process.stdout.write("| planted bug | found in | first seed | by |\n| --- | --- | --- | --- |\n");
}
for (const bug of plantedBugs.filter(({ name }) => values.only === undefined || name.includes(values.only))) {
  const outcome = await judge(bug, Number(values.runs), Number(values.enough));
  outcomes.push(outcome);
  const { found, runs, seed, invariants, problem } = outcome;
  if (!values.json) {
    process.stdout.write(
      `| ${bug.name} | ${found} of ${runs} | ${seed ?? "-"} | ${problem ?? invariants.join(", ")} |\n`,
    );
  }
}
const missed = outcomes.filter(({ found }) => found === 0);
if (values.json) process.stdout.write(`${JSON.stringify(outcomes)}\n`);
else process.stdout.write(`\n${outcomes.length - missed.length} of ${outcomes.length} found\n`);
process.exitCode = missed.length === 0 ? 0 : 1;
