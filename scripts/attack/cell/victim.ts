/**
 * A worker that the attack kills. It starts one job that becomes a daemon, prints a line, and waits.
 *
 * @module
 */
import process from "node:process";
import { startJob } from "./world.ts";

const { marked, ...world } = JSON.parse(process.argv[2] ?? "{}");
startJob(world, {
  code: `setsid sleep ${marked} & setsid sh -c 'sleep ${marked} & sleep ${marked}' & sleep ${marked}`,
});
process.stdout.write("started\n");
setInterval(() => {}, 1_000);
