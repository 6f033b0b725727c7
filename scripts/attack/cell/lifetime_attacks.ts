/**
 * Attacks on the end of a job: processes that survive its end, its stop, or the death of its worker.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { sweepLeftovers } from "../../../actors/job/work_directory.ts";
import type { Attack, AttackResult } from "./attacks.ts";
import { escapes } from "./hostile.ts";
import { type AttackWorld, eventually, processesWith, runJob, startJob } from "./world.ts";

/** Killed processes are gone within this, in milliseconds. */
const goneMs = 30_000;
let marks = 0;
/** A job runs, and has ended after it was cancelled, within these, in milliseconds. */
const readyMs = 30_000, endsMs = 30_000;

/** A number of seconds that no other process sleeps. */
const mark = () => `86400.${process.pid}${(marks += 1)}`;

async function leftAfter(marked: string, result: AttackResult): Promise<AttackResult> {
  const gone = await eventually(() => processesWith(marked) === 0, goneMs);
  return gone ? result : { ...result, escaped: [...result.escaped, `${processesWith(marked)} processes are left`] };
}

const daemonise: Attack = {
  id: "daemonise",
  run: async (world) => {
    const marked = mark();
    const code = `setsid sh -c 'setsid sleep ${marked} & sleep ${marked} & exec sleep ${marked}' & sleep 0.3; exit 0`;
    return leftAfter(marked, escapes(await runJob(world, { code })));
  },
};

const ignoreTerm: Attack = {
  id: "ignore-term",
  run: async (world) => {
    const marked = mark();
    const job = startJob(world, {
      code: `trap '' TERM HUP INT; sleep ${marked} & echo ready; while :; do sleep 0.1; done`,
    });
    await eventually(() => job.output().includes("ready"), readyMs);
    job.cancel();
    const outcome = await job.ended(endsMs);
    const result = escapes(job);
    return leftAfter(marked, outcome === undefined ? { ...result, escaped: ["it runs on"] } : result);
  },
};

const graceful: Attack = {
  id: "graceful-stop",
  run: async (world) => {
    const job = startJob(world, {
      code: `trap 'echo saved; exit 7' TERM; echo ready; while :; do sleep 0.05; done`,
      graceMs: readyMs, // a busy machine lets it run late
    });
    await eventually(() => job.output().includes("ready"), readyMs);
    job.cancel();
    await job.ended(endsMs);
    const result = escapes(job);
    return job.output().includes("saved") ? result : { ...result, escaped: ["was not asked to end"] };
  },
};

/** A separate worker, killed at different moments. No process of its job survives, and its directory is swept. */
const workerKilled: Attack = {
  id: "worker-killed",
  run: async (world, scale) => {
    const moments = scale < 1 ? [0, 40, 400] : Array.from({ length: 40 }, (_, index) => index * 10);
    const escaped: string[] = [];
    for (const moment of moments) escaped.push(...await killWorkerAfter(world, moment));
    return { attempts: moments.length, escaped };
  },
};

const victim = fileURLToPath(new URL("./victim.ts", import.meta.url));

async function killWorkerAfter(world: AttackWorld, ms: number): Promise<string[]> {
  const marked = mark();
  const workDir = join(world.folder, "victim");
  const isDeno = process.versions["deno"] !== undefined;
  const runtime = isDeno ? ["run", "-A", "--no-check", "--quiet"] : ["--no-warnings"];
  const input = JSON.stringify({ ...world, workDir, marked });
  const child = spawn(process.execPath, [...(isDeno ? [] : runtime), victim, input], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  await new Promise((resolve) => setTimeout(resolve, ms));
  process.kill(child.pid as number, "SIGKILL");
  await new Promise((resolve) => child.once("close", resolve));
  const escaped: string[] = [];
  if (!await eventually(() => processesWith(marked) === 0, goneMs)) escaped.push(`after ${ms} ms: processes are left`);
  await Effect.runPromise(Effect.result(sweepLeftovers(workDir, { isLocked: false })));
  if (processesWith(marked) > 0) escaped.push(`after ${ms} ms: processes survive the sweep`);
  const left = existsSync(workDir) ? readdirSync(workDir).filter((name) => name.startsWith("hypha-")) : [];
  if (left.length > 0) escaped.push(`after ${ms} ms: ${left.join(", ")} is left`);
  if (readFileSync("/proc/self/mounts", "utf8").includes(workDir)) escaped.push(`after ${ms} ms: a mount is left`);
  return escaped;
}

export const lifetimeAttacks: readonly Attack[] = [daemonise, ignoreTerm, graceful, workerKilled];
