/**
 * What a command-line program ends with.
 *
 * @module
 */
import { Cause, Exit, Predicate } from "effect";
import { CliError } from "effect/cli";
import { type ExitCode, ProgramFailed } from "./failure.ts";
import { escapeUnsafe } from "./log_line.ts";

/** The exit code (0 done, 1 not done or refused, 2 wrong usage or configuration), and the failure where nothing printed it yet. */
export interface ProgramOutcome {
  readonly code: ExitCode;
  readonly notice?: string;
}

/** The outcome of a program's run; `name` stands before its failure. */
export function outcomeOf(name: string, exit: Exit.Exit<unknown, unknown>): ProgramOutcome {
  if (Exit.isSuccess(exit)) return { code: 0 };
  const error = Cause.squash(exit.cause);
  if (CliError.isCliError(error)) return { code: 2 };
  if (error instanceof ProgramFailed) return { code: error.exitCode };
  const message = error instanceof Error ? error.message : String(error);
  // By its tag: the module of a CA's configuration would be loaded by programs that have none.
  const isConfig = Predicate.isTagged(error, "CaConfigError") && (error as { mayPass?: boolean }).mayPass !== true;
  return {
    code: isConfig || Predicate.isTagged(error, "WrongUsage") ? 2 : 1,
    notice: `${name}: ${escapeUnsafe(message)}`,
  };
}
