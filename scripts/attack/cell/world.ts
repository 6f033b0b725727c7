/**
 * The shared parts of the attacks on cells: the directory of a worker, jobs that run hostile programs in real cells, and the
 * parts of the machine that they must not reach.
 *
 * @module
 */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Effect } from "effect";
import type { CellLevel, CellSettings, FetchConfig } from "../../../actors/config/cell_config.ts";
import { cellDefault, fetchDefault } from "../../../actors/config/cell_config.ts";
import type { Web } from "../../../actors/job/bridge/web_request.ts";
import { webUnder } from "../../../actors/job/bridge/web_request.ts";
import { type CellConfig, jobCell } from "../../../actors/job/cell/bounds.ts";
import type { Cell } from "../../../actors/job/cell/cell.ts";
import { findCell } from "../../../actors/job/cell/find_cell.ts";
import type { JobOutcome } from "../../../actors/job/messages.ts";
import type { JobNetwork } from "../../../actors/job/network.ts";
import { jobMachine } from "../../../actors/job/job.ts";
import type { Report } from "../../../actors/runtime/ports.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import type { JobSpec } from "../../../transport/protocols/messages.ts";
import { TransportError } from "../../../transport/port.ts";
import { makePorts } from "../../program/ports.ts";

export const scheduler = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";

/** The first line of a hostile program: an attack that did not run proves nothing. */
export const ranMark = "RAN";

/** Where attacks take place. */
export interface AttackWorld {
  readonly folder: string;
  readonly workDir: string;
  readonly cell: Cell;
  /** The pinned Node, for programs of more than one line. */
  readonly node: string;
}

/** The program of a hostile job and its limits. */
export interface HostileJob {
  /** A program for the shell, or for Node, depending on `runtime`. */
  readonly code: string;
  readonly runtime?: "sh" | "node";
  readonly cell?: Partial<CellSettings>;
  /** Which of `[[cell.gpu]]` it has. */
  readonly gpus?: readonly number[];
  readonly web?: Web;
  /** The address that the job's specification names for its model. */
  readonly uri?: string;
  readonly token?: "required" | "optional";
  /** How long it has after SIGTERM, in milliseconds. */
  readonly graceMs?: number;
}

/** A job under way. */
export interface RunningJob {
  /** Lines that it printed. */
  readonly output: () => readonly string[];
  readonly reports: readonly Report[];
  readonly directory: () => string | undefined;
  readonly pid: () => number | undefined;
  cancel(): void;
  /** How it ended; undefined where it did not within `ms`. */
  ended(ms: number): Promise<JobOutcome | undefined>;
}

/** The ports of all jobs; only `report` differs. */
const shared = makePorts(() => {});
/** Identifiers of jobs and tasks. */
export const freshId: () => string = shared.uuid;
/** What the lease of each job gives it. */
const leased = { memory: 4, storage: 2 };
const bounds = jobCell(cellDefault, leased);
const limits = { graceMs: 500, endMs: 5_000, idleMs: 5_000 };

/** Finds the cell of a level; undefined where this machine has none. */
export async function makeWorld(
  folder: string,
  node: string,
  level: CellLevel | undefined,
): Promise<AttackWorld | undefined> {
  const workDir = join(folder, "work");
  mkdirSync(workDir, { recursive: true, mode: 0o700 });
  const levels = level === undefined ? {} : { levels: [level] };
  const cell = await Effect.runPromise(findCell({ ports: shared, config: bounds, workDir, ...levels }));
  if (level !== undefined && (cell.level !== level || cell.chain === "none")) return undefined;
  return { folder, workDir, cell, node };
}

/** The web with the default rules and a resolver of the attack's own. */
export function attackWeb(resolve: (host: string) => string[], over: Partial<FetchConfig> = {}): Web {
  return { ...webUnder({ ...fetchDefault, ...over }), resolve: (host) => Promise.resolve(resolve(host)) };
}

/** Starts a job. */
export function startJob(world: AttackWorld, job: HostileJob): RunningJob {
  const reports: Report[] = [];
  const ports = { ...shared, report: (report: Report) => void reports.push(report) };
  let outcome: JobOutcome | undefined;
  let pid: number | undefined, directory: string | undefined;
  const config: CellConfig = { ...jobCell({ ...cellDefault, ...job.cell }, leased, job.gpus), allowUnconfined: true };
  const [cmd, args] = job.runtime === "node"
    ? [world.node, ["-e", `console.log(${JSON.stringify(ranMark)});\n${job.code}`]]
    : ["/bin/sh", ["-c", `echo ${ranMark}\n${job.code}`]];
  const actor = superviseRoot(jobMachine, {
    id: "job",
    input: {
      ports,
      taskId: ports.uuid(),
      spec: specOf(ports.uuid(), job.uri),
      scheduler,
      executor: { class: "train", name: "hostile", runtime: "process", cmd, args, token: job.token },
      network: emptyNetwork,
      workDir: world.workDir,
      limits: { ...limits, ...(job.graceMs === undefined ? {} : { graceMs: job.graceMs }) },
      cell: { cell: world.cell, config },
      ...(job.web === undefined ? {} : { web: job.web }),
    },
    onError: (error) => outcome ??= { type: "failed", reason: String(error) },
    onSnapshot: ({ context, output }) => {
      pid ??= context.executor?.pid;
      directory ??= context.directory?.path;
      outcome ??= output?.outcome;
    },
  });
  return {
    output: () => reports.filter(({ event }) => event === "job.output").map(({ message }) => message),
    reports,
    directory: () => directory,
    pid: () => pid,
    cancel: () => actor.send({ type: "job.cancel", reason: "the attack is over" }),
    ended: async (ms) => {
      await eventually(() => outcome !== undefined, ms);
      return outcome;
    },
  };
}

/** Runs a job to its end, or until `ms` have passed: it is cancelled then. */
export async function runJob(world: AttackWorld, job: HostileJob, ms = 10_000): Promise<RunningJob> {
  const running = startJob(world, job);
  if (await running.ended(ms) === undefined) {
    running.cancel();
    await running.ended(limits.endMs * 2);
  }
  return running;
}

/** Waits until `holds` does. @returns Whether it did. */
export async function eventually(holds: () => boolean, ms: number): Promise<boolean> {
  const until = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > until) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}

/** `sleep` processes of this machine whose arguments hold `mark`. */
export function processesWith(mark: string): number {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid).filter((pid) => {
    try {
      const alive = !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
      const [program = "", ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return alive && program === "sleep" && args.includes(mark);
    } catch {
      return false; // It ended while we looked.
    }
  }).length;
}

const emptyNetwork: JobNetwork = {
  request: () => Effect.fail(new TransportError({ code: "not-connected", detail: "there is no peer" })),
  openStream: () => Effect.fail(new TransportError({ code: "not-connected", detail: "there is no peer" })),
  receive: () => Effect.succeed({ next: Effect.never, allow: () => {}, keep: () => {}, forget: () => {} }),
};

/** A train job of the executor `hostile`. */
export function specOf(id: string, uri = "http://files.test/model"): JobSpec {
  const peers = { type: "peers", peers: [scheduler], strategy: { type: "All" }, resource: null } as const;
  return {
    job_id: id,
    executor: {
      class: "train",
      descriptor: { name: "hostile" },
      config: {
        model: { task: "causal-lm", artifact: { type: "uri", value: uri }, "input-names": [] },
        data: { type: "scheduler", peer: scheduler, dataset: "digits" },
        updates: peers,
        results: peers,
        optimizer: { "learning-rate": 0.1, betas: null, epsilon: null },
        batch_size: 1,
      },
    },
  };
}
