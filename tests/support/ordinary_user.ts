/**
 * Programs that a test of root runs as an ordinary user.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { chmodSync, chownSync } from "node:fs";
import process from "node:process";
import { runtimeBinary } from "../../scripts/demo/processes.ts";
import { temporary } from "./job_world.ts";

/** The user `nobody` of every Linux. */
export const ordinaryUser = 65_534;

const isDeno = "Deno" in globalThis;

/** Runs a TypeScript program under this runtime as an ordinary user, and gives what it prints. A folder is its own. */
export async function runAsOrdinary(...programAndArgs: readonly string[]): Promise<string> {
  const place = temporary();
  chmodSync(place.path, 0o755);
  chownSync(place.path, ordinaryUser, ordinaryUser);
  const flags = isDeno ? ["run", "-A", "--no-check", "--quiet"] : ["--no-warnings"];
  const as = [`--reuid=${ordinaryUser}`, `--regid=${ordinaryUser}`, "--clear-groups"];
  const runtime = await runtimeBinary(isDeno ? "deno" : "node");
  try {
    const run = spawn("setpriv", [...as, runtime, ...flags, ...programAndArgs], {
      cwd: place.path,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, HOME: place.path, TMPDIR: place.path, DENO_DIR: `${place.path}/deno` },
    });
    let output = "";
    for (const stream of [run.stdout, run.stderr]) stream.setEncoding("utf8").on("data", (text) => output += text);
    await new Promise((resolve) => run.once("close", resolve).once("error", resolve));
    return output;
  } finally {
    place.remove();
  }
}
