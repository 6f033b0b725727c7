/**
 * The command line of a role's program: `init`, `run`, `probe`.
 *
 * What a command needs is loaded when it runs: `--help` and `init` stay quick.
 *
 * @module
 */
import process from "node:process";
import { Cause, Effect, Exit, Option } from "effect";
import { Argument, CliConfig, CliError, Command, Flag, GlobalFlag } from "effect/cli";
import { keysOf } from "../../actors/config/keys.ts";
import type { Role } from "../../pki/certificate.ts";
import { permissionMessage } from "./deno_permissions.ts";
import { exitAfterOutput, type ExitCode, ProgramFailed } from "./failure.ts";
import { logLevels } from "./log.ts";
import { escapeUnsafe } from "./log_line.ts";
import { nodeServices } from "./node_services.ts";
import { version } from "./version.ts";

/** What a role's node does, for the help text. */
const purposes: Readonly<Record<Role, string>> = {
  gateway: "Where nodes of the network find each other, and through which they are reached.",
  scheduler: "Allocates workers for a training job and leads it through its rounds.",
  worker: "Offers its resources and runs the jobs it leases them for.",
  data: "Serves a dataset in slices.",
};

const configFlag = Flag.String("config").pipe(
  Flag.withAlias("c"),
  Flag.withMetavar("FILE"),
  Flag.withDescription("Configuration file (TOML)."),
);

/** Every key of the configuration as a flag: absent ones stay what file and environment say. */
function keyFlags(role: Role) {
  return Object.fromEntries(
    keysOf(role).map(({ flag, description, expected, secret }) => [
      flag,
      Flag.String(flag).pipe(
        Flag.optional,
        Flag.withMetavar("VALUE"),
        Flag.withDescription(`${description} (${expected})${secret ? " Shows in the list of processes." : ""}`),
      ),
    ]),
  );
}

const given = (flags: Readonly<Record<string, Option.Option<string>>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(flags).flatMap(([name, value]) => Option.isSome(value) ? [[name, value.value]] : []),
  );

function initCommand(role: Role) {
  const flags = {
    output: Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("FILE"),
      Flag.withDescription("File to write."),
    ),
    name: Flag.String("name").pipe(
      Flag.withAlias("n"),
      Flag.withDefault(role as string),
      Flag.withDescription("The node's name: its certificate's files are called after it."),
    ),
    force: Flag.Boolean("force").pipe(
      Flag.withDefault(false),
      Flag.withDescription("Replace the file where it is there."),
    ),
  };
  return Command.make("init", flags, ({ output, name, force }) =>
    Effect.gen(function* () {
      const { init } = yield* Effect.promise(() => import("./init.ts"));
      yield* init({ role, name, output, force });
    })).pipe(Command.withDescription("Write a commented configuration."));
}

function runCommand(role: Role) {
  const flags = {
    config: configFlag,
    level: Flag.Literals("log-level", logLevels).pipe(
      Flag.withDefault("info" as const),
      Flag.withDescription("Least level written to standard error."),
    ),
    format: Flag.Literals("log-format", ["text", "json"]).pipe(
      Flag.withDefault("text" as const),
      Flag.withDescription("Lines for people, or one JSON object a line."),
    ),
    keys: keyFlags(role),
  };
  return Command.make("run", flags, ({ config, level, format, keys }) =>
    Effect.gen(function* () {
      const { run } = yield* Effect.promise(() => import("./run.ts"));
      yield* run({ role, config, level, format, flags: given(keys) });
    })).pipe(Command.withDescription("Run the node until it is done or told to stop (SIGINT, SIGTERM)."));
}

function probeCommand(role: Role) {
  const flags = {
    config: configFlag,
    timeout: Flag.Int("timeout").pipe(
      Flag.withDefault(2_000),
      Flag.withMetavar("MS"),
      Flag.withDescription("How long to wait for the answer, in milliseconds (default 2000)."),
    ),
    address: Argument.String("address").pipe(
      Argument.withDescription("Address of the node to ask, such as /ip4/192.0.2.1/tcp/4001."),
    ),
  };
  return Command.make("probe", flags, ({ config, timeout, address }) =>
    Effect.gen(function* () {
      const { probe } = yield* Effect.promise(() => import("./probe.ts"));
      yield* probe({ role, config, timeoutMs: timeout, address });
    })).pipe(Command.withDescription("Ask a node whether it is healthy, with this node's own certificate."));
}

/** The program's command line. */
function programOf(role: Role) {
  return Command.make(`hypha-${role}`).pipe(
    Command.withDescription(purposes[role]),
    Command.withSubcommands([initCommand(role), runCommand(role), probeCommand(role)]),
  );
}

/** The level of a program's log has its own flag, and its own lines. */
const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/** Runs the program and ends the process: with 0 when it did what it was asked, 1 when not, 2 on wrong usage. */
export async function runProgram(role: Role): Promise<void> {
  const program = Command.runWith(programOf(role), { version })(process.argv.slice(2)).pipe(
    Effect.provide(CliConfig.layer({ builtIns })),
    Effect.provide(nodeServices),
  );
  const exit = await Effect.runPromiseExit(program);
  exitAfterOutput(Exit.isSuccess(exit) ? 0 : sayFailure(role, Cause.squash(exit.cause)));
}

function sayFailure(role: Role, error: unknown): ExitCode {
  if (CliError.isCliError(error)) return 2; // said already, with the help
  const message = error instanceof ProgramFailed
    ? error.said
    : permissionMessage(role, error) ?? (error instanceof Error ? error.message : String(error));
  if (message !== undefined) {
    const lines = message.split("\n").map((line) => `hypha-${role}: ${escapeUnsafe(line)}\n`);
    process.stderr.write(lines.join(""));
  }
  return error instanceof ProgramFailed ? error.exitCode : 1;
}
