#!/usr/bin/env node
/** The program `hypha-certutil`: a CA for development, tests and small networks. */
import process from "node:process";
import * as NodeServices from "@effect/platform-node/NodeServices";
import { Cause, Effect, Exit } from "effect";
import { CliConfig, CliError, Command, GlobalFlag } from "effect/cli";
import { bundle } from "./certutil/bundle_command.ts";
import { issueCommands } from "./certutil/issue_commands.ts";
import { lookCommands } from "./certutil/look_commands.ts";
import { revocationCommands } from "./certutil/revocation_commands.ts";
import { ProgramFailed } from "./program/failure.ts";
import { escapeUnsafe } from "./program/log_line.ts";
import { version } from "./program/version.ts";

const program = Command.make("hypha-certutil").pipe(
  Command.withDescription("Makes, signs, revokes, shows and judges the certificates of a network."),
  Command.withSubcommands([...issueCommands, ...revocationCommands, bundle, ...lookCommands]),
);

/** 0 done, 1 not done or refused, 2 wrong usage (said already, with the help). */
function sayFailure(error: unknown): number {
  if (CliError.isCliError(error)) return 2;
  if (error instanceof ProgramFailed) return error.exitCode;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`hypha-certutil: ${escapeUnsafe(message)}\n`);
  return 1;
}

const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];
const exit = await Effect.runPromiseExit(
  Command.runWith(program, { version })(process.argv.slice(2)).pipe(
    Effect.provide(CliConfig.layer({ builtIns })),
    Effect.provide(NodeServices.layer),
  ),
);
process.exitCode = Exit.isSuccess(exit) ? 0 : sayFailure(Cause.squash(exit.cause));
