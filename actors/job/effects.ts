/**
 * The actors that the job's machine invokes: directory, bridge and executor, each held as long as its actor lives.
 *
 * @module
 */
import { basename } from "node:path";
import process from "node:process";
import { Effect, Result, type Scope } from "effect";
import { fetchDefault } from "../config/cell_config.ts";
import { fromEffect } from "../runtime/effect_actor.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import { jobSpecSchema, toJson } from "../../transport/protocols/mod.ts";
import type { TrainConfig } from "../../transport/protocols/messages.ts";
import { type Bridge, type BridgeNotOpened, openBridge } from "./bridge/bridge.ts";
import { type BridgeToken, makeBridgeToken } from "./bridge/token.ts";
import { webUnder } from "./bridge/web_request.ts";
import { assignCell, type AssignedCell } from "./cell/assign.ts";
import { cellCommand, hasOwnRoot, workDirIn } from "./cell/command_line.ts";
import { describeLimit, exceededLimit, isKilledAtOnce } from "./cell/exceeded.ts";
import { describeKill } from "./cell/killed.ts";
import { watchLimits } from "./cell/watch.ts";
import { withDenoFlags } from "./cell/deno_flags.ts";
import { endUser } from "./cell/job_user.ts";
import { makeCommand } from "./command.ts";
import type { JobLimits } from "./limits.ts";
import type { JobInput } from "./messages.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import { type Executor, type ExecutorExit, startExecutor } from "./process.ts";
import { rareLines } from "./rare_lines.ts";
import { scopeOf } from "./scope.ts";
import { watchSent } from "./peer_streams.ts";
import { openTrainerLink, type TrainerLink, type TrainerRoles } from "./trainer_link.ts";
import { makeWorkDirectory, recordExecutor, removeWorkDirectory } from "./work_directory.ts";

/** Most bytes of a socket's path that a client can connect to: 107 on Deno, one more on Node. */
const socketPathBytesMax = 107;

/** A job with its work directory and cell. */
export interface PlacedJob {
  readonly ports: Ports;
  readonly job: JobInput;
  readonly limits: JobLimits;
  readonly directory: WorkDirectory;
  readonly cell: AssignedCell | undefined;
}

/** A bridge and its token. */
export interface OpenedBridge extends Bridge {
  readonly token: BridgeToken;
  /** Undefined where the scheduler does not keep the training's model. */
  readonly link?: TrainerLink | undefined;
  /** Milliseconds since a piece of a file went out; of an update one that no try before sent. Absent in a simulation. */
  readonly sentAgoMs?: () => number;
}

/** A job's work directory and cell. Without a cell the executor runs as the worker's own process. */
export interface JobPlaces {
  readonly directory: WorkDirectory;
  readonly cell: AssignedCell | undefined;
}

/** Sends `effect.done.directory` with {@linkcode JobPlaces}; removes the directory when stopped. */
export const directoryActor = fromScoped(
  "directory",
  ({ ports, job }: { readonly ports: Ports; readonly job: JobInput }) =>
    Effect.gen(function* () {
      const uuid = ports.uuid();
      const cell = job.cell === undefined ? undefined : yield* assignCell(job.cell, `hypha-${uuid}`);
      return { directory: yield* makeWorkDirectory(job.workDir, uuid, cell), cell };
    }),
);

/** Sends `effect.done.bridge` with an {@linkcode OpenedBridge}; closes it when stopped. */
export const bridgeActor = fromScoped("bridge", (placed: PlacedJob) => openJobBridge(placed));

function openJobBridge(
  { ports, job: given, limits, directory, cell }: PlacedJob,
): Effect.Effect<OpenedBridge, BridgeNotOpened, Scope.Scope> {
  const ownRoot = cell !== undefined && hasOwnRoot(cell.cell);
  const now = () => monotonicNow(ports);
  let sentAt = -Infinity;
  const onSent = () => void (sentAt = now());
  const job = { ...given, network: watchSent(given.network, onSent) };
  const token = makeBridgeToken(job.executor.token ?? (ownRoot ? "optional" : "required"));
  return Effect.gen(function* () {
    const link = yield* trainerLinkOf({ ports, job: given, limits, directory }, onSent);
    const context = {
      directory,
      jobId: job.spec.job_id,
      scheduler: job.scheduler,
      scope: scopeOf(job.spec),
      network: job.network,
      limits,
      report: ports.report,
      now,
      random: ports.random,
      web: job.web ?? webUnder(fetchDefault),
      count: { round: (job.spec.training?.round ?? 0) + 1, samples: 0 },
      link,
    };
    const bridge = yield* openBridge(context, token);
    // Before the bridge closes, which takes time: the job's end is reported meanwhile.
    if (link !== undefined) yield* Effect.addFinalizer(() => link.tellCut);
    if (!ownRoot && new TextEncoder().encode(bridge.socketPath).length > socketPathBytesMax) {
      ports.report({
        level: "warn",
        event: "job.socket.long",
        message: `an executor cannot connect to ${bridge.socketPath} by that name: give the worker a shorter work_dir`,
        fields: { job: job.spec.job_id, bytesMax: socketPathBytesMax },
      });
    }
    return { ...bridge, token, link, sentAgoMs: () => now() - sentAt };
  });
}

/** The link of a job that trains where the scheduler keeps the model; undefined for any other job. */
export function trainerLinkOf(
  { ports, job, limits, directory }: Pick<PlacedJob, "ports" | "limits" | "directory"> & {
    readonly job: Pick<JobInput, "spec" | "network">;
  },
  onSent?: () => void,
): Effect.Effect<TrainerLink | undefined, never, Scope.Scope> {
  const { spec, network } = job;
  const { executor, training, job_id: jobId } = spec;
  const roles = executor.class === "train" ? rolesOf(executor.config) : undefined;
  if (roles === undefined || training === undefined) return Effect.succeed(undefined);
  const report = rareLines(ports.report, () => monotonicNow(ports));
  return openTrainerLink({ network, directory, jobId, limits, report, roles, round: training.round, onSent });
}

/** A trainer's roles; undefined where its job names no aggregator, or several. */
function rolesOf({ updates, results }: TrainConfig): TrainerRoles | undefined {
  const [aggregator, ...others] = updates.peers;
  return aggregator === undefined || others.length > 0 ? undefined : { aggregator, results: results.peers };
}

/** Sends `effect.done.executor` with an {@linkcode Executor}; ends its process group when stopped. */
export const executorActor = fromScoped(
  "executor",
  ({ ports, job, limits, directory, cell, bridge }: PlacedJob & { readonly bridge: OpenedBridge }) =>
    Effect.gen(function* () {
      const workDir = cell === undefined ? directory.path : workDirIn(cell.cell, directory.path);
      const socketPath = `${workDir}/${basename(bridge.socketPath)}`;
      const place = { socketPath, workDir, jobJson: toJson(jobSpecSchema, job.spec), token: bridge.token.value };
      const made = makeCommand(job.executor, place, process.env, inheritedIn(cell));
      if (Result.isFailure(made)) return yield* Effect.fail(made.failure);
      const fields = { job: job.spec.job_id, task: job.taskId };
      const sink = {
        line: (text: string) => ports.report({ level: "info", event: "job.output", message: text, fields }),
        suppressed: (lines: number) =>
          ports.report({
            level: "warn",
            event: "job.output.suppressed",
            message: `${lines} lines of the executor's output were not logged`,
            fields: { ...fields, lines },
          }),
      };
      const confined = cell === undefined ? made.success : cellCommand(
        cell.cell,
        cell.config,
        { directory: directory.path, user: cell.user, cgroupProcs: cell.cgroupProcs },
        withDenoFlags(made.success, place, cell.config.readOnly),
      );
      // After the process group: daemons of the job where no namespace contains them.
      if (cell?.user !== undefined) {
        const { user } = cell;
        yield* Effect.addFinalizer(() => endUser(user));
      }
      // The record lets a sweep end the process; the job itself does not need it.
      const beforeGo = (pid: number) => Effect.ignore(recordExecutor(directory, pid));
      return yield* startExecutor(confined, {
        sink,
        now: () => monotonicNow(ports),
        graceMs: limits.graceMs,
        beforeGo,
      });
    }),
);

/** How an executor ended by itself. */
export interface JobExit extends ExecutorExit {
  /** The limit that ended it, in words; undefined where none is known. */
  readonly limit?: string | undefined;
  /** What may have killed it, in words, where no limit is known. */
  readonly killed?: string | undefined;
}

/** Sends `effect.done.exit` with a {@linkcode JobExit} when the executor has ended by itself. */
export const exitActor = fromEffect(
  "exit",
  ({ executor, cell, directory }: Pick<PlacedJob, "ports" | "cell" | "directory"> & { readonly executor: Executor }) =>
    Effect.map(executor.exited, (exit): JobExit => {
      if (cell === undefined) return exit;
      const limit = exceededLimit(exit, cell, directory.path);
      return limit === undefined
        ? { ...exit, killed: describeKill(exit, cell) }
        : { ...exit, limit: describeLimit(limit, cell.config) };
    }),
);

/** A limit that a job exceeds. */
export interface ExceededLimit {
  /** In words. */
  readonly limit: string;
  readonly atOnce: boolean;
}

/** Sends `effect.done.limitExceeded` with an {@linkcode ExceededLimit}. */
export const limitExceededActor = fromEffect(
  "limitExceeded",
  ({ cell, directory, executor }: Pick<PlacedJob, "ports" | "cell" | "directory"> & { readonly executor: Executor }) =>
    cell === undefined ? Effect.never : Effect.map(
      watchLimits(cell, directory, executor.pid),
      (limit): ExceededLimit => ({ limit: describeLimit(limit, cell.config), atOnce: isKilledAtOnce(limit) }),
    ),
);

/** Ends the executor, at once or with a grace; sends `effect.done.stopped`. */
export const stopActor = fromEffect(
  "stopped",
  ({ executor, atOnce }: { readonly ports: Ports; readonly executor: Executor; readonly atOnce: boolean }) =>
    atOnce ? executor.kill : executor.terminate,
);

/** Waits for running copies to peers after the executor has ended; sends `effect.done.flushed`. */
export const flushActor = fromEffect(
  "flushed",
  ({ bridge }: { readonly ports: Ports; readonly bridge: OpenedBridge }) =>
    Effect.andThen(bridge.sendsDone, bridge.link?.idle ?? Effect.void),
);

/** Removes the work directory; sends `effect.done.removed`. */
export const removeActor = fromEffect(
  "removed",
  ({ path }: { readonly ports: Ports; readonly path: string }) => removeWorkDirectory(path),
);

/** Names of the worker's own variables that an executor gets. `HOME` in a cell is its work directory. */
function inheritedIn(cell: AssignedCell | undefined): readonly string[] | undefined {
  return cell === undefined ? undefined : ["PATH", ...cell.config.environment];
}
