/**
 * `hypha-ca` as a function of its arguments.
 *
 * @module
 */
import { Effect } from "effect";
import { CliConfig, Command, GlobalFlag } from "effect/cli";
import { nodeServices } from "../program/node_services.ts";
import { outcomeOf, type ProgramOutcome } from "../program/program_outcome.ts";
import { usageErrors } from "../program/usage.ts";
import { version } from "../program/version.ts";
import { caCommands } from "./commands.ts";

const program = Command.make("hypha-ca").pipe(
  Command.withDescription("Issues, renews and revokes the certificates of a network, over HTTPS."),
  Command.withSubcommands(caCommands),
);

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/**
 * Runs the program.
 *
 * @param around Changes the services. The demo uses it to read the output.
 */
export async function runCa(
  args: readonly string[],
  around: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = (effect) => effect,
): Promise<ProgramOutcome> {
  const exit = await Effect.runPromiseExit(
    around(Command.runWith(program, { version })(args)).pipe(
      Effect.provide(CliConfig.layer({ builtIns })),
      Effect.provide(usageErrors),
      Effect.provide(nodeServices),
    ),
  );
  return outcomeOf("hypha-ca", exit);
}
