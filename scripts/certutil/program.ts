/**
 * `hypha-certutil` as a function of its arguments.
 *
 * @module
 */
import { Effect } from "effect";
import { CliConfig, Command, GlobalFlag } from "effect/cli";
import { nodeServices } from "../program/node_services.ts";
import { outcomeOf, type ProgramOutcome } from "../program/program_outcome.ts";
import { usageErrors } from "../program/usage.ts";
import { version } from "../program/version.ts";
import { audit } from "./audit_commands.ts";
import { bundle } from "./bundle_command.ts";
import { issueCommands } from "./issue_commands.ts";
import { lookCommands } from "./look_commands.ts";
import { revocationCommands } from "./revocation_commands.ts";

const program = Command.make("hypha-certutil").pipe(
  Command.withDescription("Makes, signs, revokes, shows and verifies the certificates of a network."),
  Command.withSubcommands([...issueCommands, ...revocationCommands, bundle, ...lookCommands, audit]),
);

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/**
 * Runs the program.
 *
 * @param around Changes the services. Tests use it to read the output.
 */
export async function runCertutil(
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
  return outcomeOf("hypha-certutil", exit);
}
