/**
 * `hypha-certutil` as a function of its arguments.
 *
 * @module
 */
import { Command } from "effect/cli";
import type { ProgramOutcome } from "../program/program_outcome.ts";
import { type Around, runCommandLine } from "../program/run_command_line.ts";
import { version } from "../program/version.ts";
import { approvalCommands } from "./approval_commands.ts";
import { audit } from "./audit_commands.ts";
import { bundle } from "./bundle_command.ts";
import { issueCommands } from "./issue_commands.ts";
import { lookCommands } from "./look_commands.ts";
import { revocationCommands } from "./revocation_commands.ts";

const program = Command.make("hypha-certutil").pipe(
  Command.withDescription("Makes, signs, revokes, shows and verifies the certificates of a network."),
  Command.withSubcommands([
    ...issueCommands,
    ...revocationCommands,
    bundle,
    ...lookCommands,
    audit,
    ...approvalCommands,
  ]),
);

/** Runs the program. */
export function runCertutil(args: readonly string[], around?: Around): Promise<ProgramOutcome> {
  return runCommandLine("hypha-certutil", Command.runWith(program, { version }), { args, around });
}
