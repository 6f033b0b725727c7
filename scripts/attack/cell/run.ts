/**
 * Runs the attacks on one runtime, as one user, at one level, and prints the results as JSON.
 *
 * `run.ts FOLDER NODE LEVEL SCALE [ID…]`; a level of `-` is the strongest of this machine.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import process from "node:process";
import type { CellLevel } from "../../../actors/config/cell_config.ts";
import { attacks } from "./attacks.ts";
import { expectationOf } from "./expected.ts";
import { makeWorld } from "./world.ts";

const [folder = "", node = "", level = "-", scaleText = "1", ...ids] = process.argv.slice(2);
let unhandled = 0;
process.on("unhandledRejection", (error) => {
  unhandled += 1;
  process.stderr.write(`unhandled: ${error}\n`);
});
process.on("uncaughtException", (error) => {
  unhandled += 1;
  process.stderr.write(`uncaught: ${error.stack}\n`);
});

const footprint = () => ({
  fds: readdirSync("/proc/self/fd").length,
  heapBytes: process.memoryUsage().heapUsed,
  actors: 0,
});

const user = process.getuid?.() === 0 ? "root" : "user";
const runtime = process.versions["deno"] === undefined ? "node" : "deno";
const world = await makeWorld(folder, node, level === "-" ? undefined : level as CellLevel);
if (world === undefined) {
  process.stdout.write(`${JSON.stringify({ part: "cell", runtime, user, level, missing: true })}\n`);
  process.exit(0);
}
const rows = [];
for (const attack of attacks.filter(({ id }) => ids.length === 0 || ids.includes(id))) {
  const before = footprint();
  const begun = performance.now();
  const { attempts, escaped } = await attack.run(world, Number(scaleText)).catch((error: unknown) => ({
    attempts: 0,
    escaped: [`the attack failed: ${error instanceof Error ? error.stack : error}`],
  }));
  const expectation = expectationOf(attack.id, world.cell.level, user);
  const held = escaped.length === 0;
  process.stderr.write(
    `${held ? "held    " : "NOT held"} ${attack.id} (${Math.round(performance.now() - begun)} ms)${
      held ? "" : `: ${escaped.slice(0, 3).join("; ").slice(0, 400)}`
    }\n`,
  );
  rows.push({
    id: attack.id,
    attempts,
    expected: expectation === undefined
      ? "not in outcomes.json"
      : expectation.held
      ? "held"
      : `not held: ${expectation.reason}`,
    seen: held ? "held" : `not held: ${escaped.slice(0, 3).join("; ").slice(0, 400)}`,
    held,
    asExpected: held === expectation?.held,
    honest: null,
    before,
    after: footprint(),
  });
}
const ok = unhandled === 0 && rows.every(({ asExpected }) => asExpected);
const result = { part: "cell", runtime, user, level: world.cell.level, ok, exits: 0, unhandled, attacks: rows };
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(ok ? 0 : 1);
