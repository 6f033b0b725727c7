/**
 * `npm run mutate [-- FILE… --runtime node|deno --json --seed N --sample N --minutes N --state FILE]`: changes the source
 * in small ways, one at a time in a copy, and looks whether a test notices.
 *
 * Exit 0 where every mutant was noticed or is listed with a reason, 1 where one survived unlisted, where the list is out of
 * date or the time was over, 2 on wrong usage and where a test fails without a mutant.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { rerunOn } from "./limbo/rerun_on.ts";
import { mutantsOf } from "./mutate/mutants.ts";
import { choose, filesBelow, readPlan, testsOf } from "./mutate/plan.ts";
import { readAccepted, reportOf, reportText } from "./mutate/report.ts";
import { BrokenWithoutMutant, run, type Verdict } from "./mutate/run.ts";

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}
Usage: npm run mutate [-- FILE… --runtime node|deno --json --seed N --sample N --minutes N --state FILE --root DIR]
  FILE       evaluates all mutants of these sources, and no others
  --seed N   chooses which mutants of the sampled sources are evaluated (1)
  --sample N how many of each sampled part (scripts/mutate/plan.json says)
  --minutes N  takes up no more mutants after that (30)
  --state FILE remembers verdicts there, and takes up where a run of the same tree was stopped`);
  process.exit(2);
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : usage(`--${name} ${text} is no whole number`);
}

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        runtime: { type: "string" },
        json: { type: "boolean", default: false },
        seed: { type: "string", default: "1" },
        sample: { type: "string" },
        minutes: { type: "string", default: "30" },
        state: { type: "string" },
        root: { type: "string", default: fileURLToPath(new URL("..", import.meta.url)) },
      },
    });
    const { runtime, json, seed, sample, minutes, state, root } = values;
    if (runtime !== undefined && runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
    for (const file of positionals) if (!existsSync(join(root, file))) usage(`${file} does not exist`);
    return {
      runtime: runtime as "node" | "deno" | undefined,
      json,
      seed: wholeNumber("seed", seed),
      sample: sample === undefined ? undefined : wholeNumber("sample", sample),
      minutes: wholeNumber("minutes", minutes),
      state,
      root,
      files: positionals,
    };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

const planPath = "scripts/mutate/plan.json";
const listPath = "scripts/mutate/survivors.json";

/** One text for the whole tree: a verdict of another tree is worth nothing. The list of survivors changes no verdict. */
function treeHash(root: string): string {
  const hash = createHash("sha256");
  for (const room of ["pki", "transport", "actors", "scripts", "tests"]) {
    for (const path of filesBelow(root, room, "").filter((path) => path !== listPath)) {
      hash.update(`${path}\n`).update(readFileSync(join(root, path)));
    }
  }
  return hash.digest("hex");
}

function remembered(state: string, tree: string): Verdict[] {
  if (!existsSync(state)) return [];
  const lines = readFileSync(state, "utf8").split("\n").filter((line) => line.endsWith("}"));
  return lines.map((line) => JSON.parse(line) as Verdict & { tree: string }).filter((line) => line.tree === tree);
}

const { runtime, json, seed, sample, minutes, state, root, files } = options();
if (runtime !== undefined) rerunOn(runtime);
const start = performance.now();
const seconds = () => Math.round((performance.now() - start) / 1_000);
const plan = readPlan(join(root, planPath));
const whole = files.length === 0 ? plan : { ...plan, whole: files, sampled: [] };
const { mutants, total } = choose(root, whole, { seed, sample });
const accepted = readAccepted(join(root, listPath));
const tree = treeHash(root);
const verdicts = new Map<string, Verdict>();
const chosen = new Set(mutants.map(({ id }) => id));
for (const verdict of state === undefined ? [] : remembered(state, tree)) {
  if (chosen.has(verdict.id)) verdicts.set(verdict.id, verdict);
}
const waiting = mutants.filter(({ id }) => !verdicts.has(id));

let reported = verdicts.size;
try {
  if (waiting.length > 0) {
    await run({
      root,
      mutants: waiting,
      testsOf: testsOf(root, plan),
      endsAt: start + minutes * 60_000,
      isApart: (test) => plan.apart.some((where) => test.startsWith(where)),
      say: (text) => console.error(text),
      onVerdict: (verdict) => {
        verdicts.set(verdict.id, verdict);
        if (state !== undefined) appendFileSync(state, `${JSON.stringify({ ...verdict, tree })}\n`);
        if (verdicts.size < reported + 100) return;
        reported = verdicts.size;
        console.error(`${reported} of ${mutants.length} evaluated (${seconds()} s)`);
      },
    });
  }
} catch (error) {
  if (!(error instanceof BrokenWithoutMutant)) throw error;
  console.error(`Cannot evaluate: ${error.message}`);
  process.exit(2);
}

const listed = new Set(accepted.flatMap((each) => each.mutants.map((id) => id.split(" › ")[0] ?? "")));
const known = [...listed].filter((file) => existsSync(join(root, file))).flatMap((file) =>
  mutantsOf(file, readFileSync(join(root, file), "utf8")).map(({ id }) => id)
);
const report = reportOf({
  runtime: "Deno" in globalThis ? "deno" : "node",
  seed,
  seconds: seconds(),
  total,
  chosen: mutants,
  known: new Set(known),
  inScope: (id) => files.length === 0 || files.some((file) => id.startsWith(`${file} › `)),
  verdicts,
  accepted,
});
process.stdout.write(`${json ? JSON.stringify(report) : reportText(report)}\n`);
process.exitCode = report.ok ? 0 : 1;
