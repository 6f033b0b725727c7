/**
 * `hypha up` as a function of its arguments.
 *
 * @module
 */
import process from "node:process";
import { Effect, Option } from "effect";
import { Command, Flag } from "effect/cli";
import { ProgramFailed } from "../program/failure.ts";
import type { ProgramOutcome } from "../program/program_outcome.ts";
import { type Around, runCommandLine } from "../program/run_command_line.ts";
import { version } from "../program/version.ts";

/** The folder of the network where none is named. In a clone, git and the container's build leave it out: it has keys. */
export const defaultFolder = "hypha-network";
const workersMax = 32;

const flags = {
  dir: Flag.String("dir").pipe(
    Flag.withAlias("d"),
    Flag.withMetavar("DIR"),
    Flag.withDefault(defaultFolder),
    Flag.withDescription(
      `Folder of the network, ${defaultFolder} where none is named. A network that is there starts again.`,
    ),
  ),
  workers: Flag.Int("workers").pipe(
    Flag.withDefault(2),
    Flag.withMetavar("N"),
    Flag.withDescription(`Workers, at most ${workersMax}; 2 where no number is given.`),
  ),
  dataset: Flag.String("dataset").pipe(
    Flag.optional,
    Flag.withMetavar("DIR"),
    Flag.withDescription("Folder of a data set, for a data node (default: no data node)."),
  ),
};

const command = Command.make("up", flags, ({ dir, workers, dataset }) =>
  Effect.gen(function* () {
    if (workers < 1 || workers > workersMax) {
      process.stderr.write(`Cannot start: --workers takes 1 to ${workersMax}, not ${workers}\n`);
      return yield* new ProgramFailed({ exitCode: 2, notice: undefined });
    }
    const { up } = yield* Effect.promise(() => import("./up.ts"));
    const [orderly, atOnce] = [new AbortController(), new AbortController()];
    const stop = () => orderly.signal.aborted ? atOnce.abort() : orderly.abort();
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
    const options = { dir, workers, dataset: Option.getOrUndefined(dataset) };
    const code = yield* Effect.promise(() => up(options, orderly.signal, atOnce.signal));
    if (atOnce.signal.aborted) return yield* new ProgramFailed({ exitCode: 130, notice: undefined });
    if (code !== 0) return yield* new ProgramFailed({ exitCode: 1, notice: undefined });
  })).pipe(
    Command.withDescription(
      "Start a whole network on this machine: CA, gateway, scheduler, workers. For learning and development.",
    ),
  );

const program = Command.make("hypha").pipe(
  Command.withDescription("All programs of Hypha: hypha up, hypha gateway ARGUMENTS, and so on."),
  Command.withSubcommands([command]),
);

/** Runs the program. */
export function runUp(args: readonly string[], around?: Around): Promise<ProgramOutcome> {
  return runCommandLine("hypha", Command.runWith(program, { version }), { args, around });
}
