/**
 * `hypha-ca` as a function of its arguments.
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
import { caCommands } from "./commands.ts";

const program = Command.make("hypha-ca").pipe(
  Command.withDescription("Issues, renews and revokes the certificates of a network, over HTTPS."),
  Command.withSubcommands(caCommands),
);

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/** Runs the program: the exit code (0 done, 1 not done or refused, 2 wrong usage), and the failure where it was not printed yet. */
export async function runCa(args: readonly string[]): Promise<{ readonly code: ExitCode; readonly notice?: string }> {
  const exit = await Effect.runPromiseExit(
    Command.runWith(program, { version })(args).pipe(
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
  return { code: 1, notice: `hypha-ca: ${escapeUnsafe(message)}` };
}
