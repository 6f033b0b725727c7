/**
 * Runs the command line of a program that is no role's: with its services, its usage errors and its outcome.
 *
 * @module
 */
import { Effect } from "effect";
import { CliConfig, type Command, GlobalFlag } from "effect/cli";
import type { Stdio } from "effect/Stdio";
import type { Terminal } from "effect/Terminal";
import type { Services } from "../../actors/runtime/ports.ts";
import { nodeServices } from "./node_services.ts";
import { outcomeOf, type ProgramOutcome } from "./program_outcome.ts";
import { usageErrors } from "./usage.ts";

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/** Changes the services of a program. The build reads the help by it, tests and the demo the output. */
export type Around = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>;

/** A command line, as `Command.runWith` makes it. */
type CommandLine = (
  args: readonly string[],
) => Effect.Effect<void, unknown, Services | Stdio | Terminal | Command.Environment>;

/** Runs it. `name` stands before its failure. */
export async function runCommandLine(
  name: string,
  run: CommandLine,
  { args, around = (effect) => effect }: { readonly args: readonly string[]; readonly around?: Around | undefined },
): Promise<ProgramOutcome> {
  const exit = await Effect.runPromiseExit(
    around(run(args)).pipe(
      Effect.provide(CliConfig.layer({ builtIns })),
      Effect.provide(usageErrors),
      Effect.provide(nodeServices),
    ),
  );
  return outcomeOf(name, exit);
}
