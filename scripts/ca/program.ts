/**
 * `hypha-ca` as a function of its arguments.
 *
 * @module
 */
import { Command } from "effect/cli";
import type { ProgramOutcome } from "../program/program_outcome.ts";
import { type Around, runCommandLine } from "../program/run_command_line.ts";
import { version } from "../program/version.ts";
import { caCommands } from "./commands.ts";

const program = Command.make("hypha-ca").pipe(
  Command.withDescription("Issues, renews and revokes the certificates of a network, over HTTPS."),
  Command.withSubcommands(caCommands),
);

/** Runs the program. */
export function runCa(args: readonly string[], around?: Around): Promise<ProgramOutcome> {
  return runCommandLine("hypha-ca", Command.runWith(program, { version }), { args, around });
}
