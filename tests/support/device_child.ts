/**
 * Tries a device in a cell: `device_child.ts FOLDER NODE LEVEL DEVICE`. Prints one line of JSON, or `null` where there is no such level.
 *
 * @module
 */
import process from "node:process";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { tryGpus } from "../../actors/job/cell/gpus.ts";
import { makeWorld, ranMark, runJob } from "../../scripts/attack/cell/world.ts";
import type { CellLevel } from "../../actors/config/cell_config.ts";
import { realPorts, runOf } from "./job_world.ts";

const [folder = "", node = "", level = "", device = ""] = process.argv.slice(2);
const gpu = [{ devices: [device], memory: 8 }];
/** What an executor sees of the device, of `/sys`, and of the names of users. */
const code = `(: <> ${device}) 2>/dev/null && echo opened
  [ -d /sys/class ] && echo sys
  (: > /sys/kernel/hypha) 2>/dev/null && echo sys written
  (: > /dev/hypha) 2>/dev/null && echo dev written
  python3 -c 'import pwd, os; print(pwd.getpwuid(os.getuid()).pw_name)' 2>/dev/null || grep -o '^job' /etc/passwd
  exit 0`;

async function main(): Promise<unknown> {
  const world = await makeWorld(folder, node, level as CellLevel);
  if (world === undefined) return null;
  const run = async (gpus: readonly number[]) =>
    (await runJob(world, { code, cell: { gpu }, gpus }, 60_000)).output().filter((line) => line !== ranMark);
  const { cell, workDir } = world;
  const tried = (devices: readonly string[]) =>
    runOf(tryGpus(cell, { ports: realPorts(), workDir }, { ...cellDefault, gpu: [{ devices, memory: 8 }] }));
  return {
    listed: await run([0]),
    unlisted: await run([]),
    usable: await tried([device]),
    missing: await tried([device, "/dev/hypha-missing"]),
  };
}
process.stdout.write(`${JSON.stringify(await main())}\n`);
process.exit(0);
