/**
 * `hypha-certutil` as a function of its arguments.
 *
 * @module
 */
import { Cause, Effect, Exit } from "effect";
import { CliConfig, CliError, Command, GlobalFlag } from "effect/cli";
import { type ExitCode, ProgramFailed } from "../program/failure.ts";
import { escapeUnsafe } from "../program/log_line.ts";
import { nodeServices } from "../program/node_services.ts";
import { usageErrors } from "../program/usage.ts";
import { version } from "../program/version.ts";
import { bundle } from "./bundle_command.ts";
import { issueCommands } from "./issue_commands.ts";
import { lookCommands } from "./look_commands.ts";
import { revocationCommands } from "./revocation_commands.ts";

const program = Command.make("hypha-certutil").pipe(
  Command.withDescription("Makes, signs, revokes, shows and verifies the certificates of a network."),
  Command.withSubcommands([...issueCommands, ...revocationCommands, bundle, ...lookCommands]),
);

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/**
 * Runs the program.
 *
 * @param around Changes the services. Tests use it to read the output.
 * @returns The exit code (0 done, 1 not done or refused, 2 wrong usage), and the failure where nothing printed it yet.
 */
export async function runCertutil(
  args: readonly string[],
  around: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = (effect) => effect,
): Promise<{ readonly code: ExitCode; readonly notice?: string }> {
  const exit = await Effect.runPromiseExit(
    around(Command.runWith(program, { version })(args)).pipe(
      Effect.provide(CliConfig.layer({ builtIns })),
      Effect.provide(usageErrors),
      Effect.provide(nodeServices),
    ),
  );
  if (Exit.isSuccess(exit)) return { code: 0 };
  const error = Cause.squash(exit.cause);
  if (CliError.isCliError(error)) return { code: 2 };
  if (error instanceof ProgramFailed) return { code: error.exitCode };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 1, notice: `hypha-certutil: ${escapeUnsafe(message)}` };
}
