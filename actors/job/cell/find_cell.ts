/**
 * Finds the cell in which executors can be started here, by starting a probe with the arguments, the directory and the limits
 * of a real job. Restrictions of kernel, container or policy are not guessed.
 *
 * @module
 */
import process from "node:process";
import { Effect, Result } from "effect";
import { type CellLevel, cellLevels } from "../../config/cell_config.ts";
import { monotonicNow, type Ports } from "../../runtime/ports.ts";
import { makeCommand } from "../command.ts";
import { startExecutor } from "../process.ts";
import { makeWorkDirectory } from "../work_directory.ts";
import { assignCell } from "./assign.ts";
import type { CellConfig } from "./bounds.ts";
import { type Cell, isAtLeast } from "./cell.ts";
import { findCgroups } from "./cgroup.ts";
import { cellCommand, workDirIn } from "./command_line.ts";

/** How long each try of a probe may take, in milliseconds. One that is late is tried again: a machine that has just started is busy. */
const defaultTriesMs: readonly number[] = [10_000, 30_000];
/** From SIGTERM to SIGKILL for the probe, in milliseconds. */
const graceMs = 500;

/** The levels to try, and where. */
export interface CellSearch {
  readonly ports: Pick<Ports, "uuid" | "now" | "monotonic">;
  readonly config: CellConfig;
  /** The worker's `work_dir`: it holds the directories of its jobs. */
  readonly workDir: string;
  /** Tried in this order; by default all up to `level_max`. */
  readonly levels?: readonly CellLevel[];
  /** How long each try of a probe may take, in milliseconds. */
  readonly triesMs?: readonly number[];
}

/** Why a try failed. */
interface TryFailed {
  readonly message: string;
  readonly isLate?: true;
}

/** The strongest cell in which a probe could be started. */
export function findCell(search: CellSearch): Effect.Effect<Cell> {
  const isRoot = process.getuid?.() === 0;
  const all = cellLevels.toReversed().filter((level) => isAtLeast(search.config.levelMax, level));
  const levels = search.levels ?? all;
  const cgroups = findCgroups(search.ports.uuid());
  const candidates = levels.filter((level) => isRoot || level !== "root").flatMap((level): Cell[] => {
    const base = { level, cgroups, chain: "whole", notes: [] } as const;
    if (!isRoot) return [{ ...base, user: "own", disk: "measured" }];
    return [{ ...base, user: "per-job", disk: "file-system" }, { ...base, user: "per-job", disk: "measured" }];
  });
  return Effect.gen(function* () {
    const notes: string[] = [];
    for (const cell of candidates) {
      const tried = yield* Effect.result(tryInCell(cell, search, { script: probe }));
      if (Result.isSuccess(tried)) return { ...cell, notes };
      notes.push(`${cell.level}${isRoot ? `, ${cell.disk} disk` : ""}: ${tried.failure.slice(0, 300)}`);
    }
    return { level: "bare", user: "own", cgroups: [], disk: "measured", chain: "none", notes };
  });
}

const probe = 'umask 077; cd "$WORK_DIR" && echo held > probe && read back < probe && [ "$back" = held ]';

/** Runs a script of the shell in a cell. Returns the end of its output; fails with the reason as text. */
export function tryInCell(
  cell: Cell,
  { ports, config, workDir, triesMs = defaultTriesMs }: Omit<CellSearch, "levels">,
  { script, args = [], inherited }: {
    readonly script: string;
    readonly args?: readonly string[];
    /** Names of variables of the worker's environment. */
    readonly inherited?: readonly string[];
  },
): Effect.Effect<string, string> {
  const run = Effect.scoped(Effect.gen(function* () {
    const uuid = ports.uuid();
    // A small job's, so that a directory of its own is tried where this machine can make one.
    const small: CellConfig = { ...config, disk: cell.disk === "file-system" ? "memory" : "directory" };
    const assigned = yield* assignCell({ cell, config: small }, `hypha-${uuid}`);
    const directory = yield* makeWorkDirectory(workDir, uuid, assigned);
    const place = { socketPath: "", workDir: workDirIn(cell, directory.path), jobJson: "", token: undefined };
    const made = makeCommand({ cmd: "sh", args: ["-c", script, "probe", ...args] }, place, process.env, inherited);
    const command = yield* Effect.fromResult(made);
    const confined = cellCommand(cell, small, { ...assigned, directory: directory.path }, command);
    const sink = { line: () => {}, suppressed: () => {} };
    const executor = yield* startExecutor(confined, { sink, now: () => monotonicNow(ports), graceMs });
    const { code, signal, tail } = yield* executor.exited;
    if (code !== 0) return yield* Effect.fail({ message: `ended with ${code ?? signal}: ${tail.trim()}` });
    return tail;
  }));
  const tryFor = (ms: number): Effect.Effect<string, TryFailed> =>
    Effect.timeoutOrElse(run, {
      duration: ms,
      orElse: () => Effect.fail<TryFailed>({ message: `no start within ${ms} ms`, isLate: true }),
    });
  const [firstMs = 0, ...laterMs] = triesMs;
  const tried = laterMs.reduce(
    (before, ms) => Effect.catch(before, (error) => error.isLate ? tryFor(ms) : Effect.fail(error)),
    tryFor(firstMs),
  );
  return Effect.mapError(tried, ({ message }) => message.replaceAll("\n", " "));
}
