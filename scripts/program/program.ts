/**
 * The command line of a role's program: `init`, `join`, `run`, `probe`, and those to a node that runs (`operator_commands.ts`); of a
 * scheduler's, those about trainings too.
 *
 * Each command loads its modules when it runs, so `--help` and `init` stay fast.
 *
 * @module
 */
import process from "node:process";
import { Cause, Effect, Exit, Option } from "effect";
import { Argument, CliConfig, CliError, Command, Flag, GlobalFlag } from "effect/cli";
import { type ConfigKey, keysOf } from "../../actors/config/keys.ts";
import { logLevels } from "../../actors/runtime/ports.ts";
import type { Role } from "../../pki/certificate.ts";
import { permissionMessage } from "./deno_permissions.ts";
import { exitAfterOutput, type ExitCode, ProgramFailed } from "./failure.ts";
import type { GivenFlags } from "./given_flags.ts";
import { escapeUnsafe } from "./log_line.ts";
import { nodeServices } from "./node_services.ts";
import { operatorCommands } from "./operator_commands.ts";
import { trainingCommands } from "./training_commands.ts";
import { usageErrors } from "./usage.ts";
import { version } from "./version.ts";

/** The purpose of each role, for the help text. */
const purposes: Readonly<Record<Role, string>> = {
  gateway: "Where nodes of the network find each other, and through which they are reached.",
  scheduler: "Allocates workers for training jobs and leads them through their rounds.",
  worker: "Offers its resources and runs the jobs it leases them for.",
  data: "Serves a dataset in slices.",
};

/** The default file of all commands, as in the existing network. */
const fileDefault = "config.toml";

const configFlag = Flag.String("config").pipe(
  Flag.withAlias("c"),
  Flag.withMetavar("FILE"),
  Flag.withDefault(fileDefault),
  Flag.withDescription(`Configuration file (TOML), ${fileDefault} where none is named.`),
);

/** One letter for flags that have one in the existing network's programs. */
const letters: Readonly<Record<string, string>> = { "dataset-path": "d" };

/** The flag of one key. Without it, file and environment decide. Flags of lists may be repeated. */
function keyFlag({ flag, flagAliases, kind, description, expected, secret }: ConfigKey) {
  const named = [...flagAliases, ...(letters[flag] === undefined ? [] : [letters[flag]])].reduce(
    (made, alias) => Flag.withAlias(made, alias),
    Flag.String(flag).pipe(
      Flag.withMetavar("VALUE"),
      Flag.withDescription(`${description} (${expected})${secret ? " Shows in the list of processes." : ""}`),
    ),
  );
  const isList = kind === "texts" || kind === "numbers" || kind === "tables";
  return isList ? Flag.atLeast(named, 0) : Flag.atMost(named, 1);
}

/** Every key of the configuration as a flag. */
const keyFlags = (role: Role) => Object.fromEntries(keysOf(role).map((key) => [key.flag, keyFlag(key)]));

/** The job of a scheduler, whole. */
const jobFlags = (role: Role): { readonly job?: Flag.Flag<Option.Option<string>> } =>
  role !== "scheduler" ? {} : {
    job: Flag.String("job").pipe(
      Flag.withAlias("j"),
      Flag.optional,
      Flag.withMetavar("FILE|JSON"),
      Flag.withDescription("The training job in place of [scheduler.job]: a TOML or JSON file of it, or JSON."),
    ),
  };

/** The given flags: a list for keys of lists, else one value. */
function given(
  role: Role,
  flags: Readonly<Record<string, readonly string[]>>,
  job: { readonly job?: Option.Option<string> },
): GivenFlags {
  const isList = new Map(keysOf(role).map(({ flag, kind }) => [flag, /^(texts|numbers|tables)$/.test(kind)]));
  return {
    keys: Object.fromEntries(
      Object.entries(flags).flatMap(([name, values]) =>
        values.length === 0 ? [] : [[name, isList.get(name) === true ? values : values[0] ?? ""]]
      ),
    ),
    job: job.job === undefined ? undefined : Option.getOrUndefined(job.job),
  };
}

function initCommand(role: Role) {
  const flags = {
    output: Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("FILE"),
      Flag.withDefault(fileDefault),
      Flag.withDescription(`File to write, ${fileDefault} where none is named.`),
    ),
    name: Flag.String("name").pipe(
      Flag.withAlias("n"),
      Flag.withMetavar("NAME"),
      Flag.withDefault(role as string),
      Flag.withDescription(
        `The node's name, after which its certificate's files are called; ${role} where none is given.`,
      ),
    ),
    force: Flag.Boolean("force").pipe(
      Flag.withDefault(false),
      Flag.withDescription("Replace the file where it is there."),
    ),
    keys: keyFlags(role),
    job: jobFlags(role),
  };
  return Command.make("init", flags, ({ output, name, force, keys, job }) =>
    Effect.gen(function* () {
      const { init } = yield* Effect.promise(() => import("./init.ts"));
      yield* init({ role, name, output, force, flags: given(role, keys, job) });
    })).pipe(
      Command.withDescription("Write a commented configuration, with what is given here and the files that are there."),
    );
}

function joinCommand(role: Role) {
  const flags = {
    token: Argument.String("token").pipe(
      Argument.withDescription("File with the token that hypha-ca token made; - for standard input."),
    ),
    output: Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("FILE"),
      Flag.withDefault(`${role}.toml`),
      Flag.withDescription(`Configuration to write, ${role}.toml where none is named; the other files lie beside it.`),
    ),
    keys: keyFlags(role),
    job: jobFlags(role),
  };
  return Command.make("join", flags, ({ token, output, keys, job }) =>
    Effect.gen(function* () {
      const { join } = yield* Effect.promise(() => import("./join.ts"));
      yield* join({ role, token, output, flags: given(role, keys, job) });
    })).pipe(
      Command.withDescription("Get a certificate for a token, and write a configuration that runs as it stands."),
    );
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
    job: jobFlags(role),
  };
  return Command.make("run", flags, ({ config, level, format, keys, job }) =>
    Effect.gen(function* () {
      const { run } = yield* Effect.promise(() => import("./run.ts"));
      yield* run({ role, config, level, format, flags: given(role, keys, job) });
    })).pipe(Command.withDescription("Run the node until its work is done or a signal stops it (SIGINT, SIGTERM)."));
}

function probeCommand(role: Role) {
  const flags = {
    config: configFlag,
    timeout: Flag.Int("timeout").pipe(
      Flag.withDefault(2_000),
      Flag.withMetavar("MS"),
      Flag.withDescription("How long to wait for the answer, in milliseconds (default 2000)."),
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDefault(false),
      Flag.withDescription("Print one JSON object on standard output, whatever the outcome."),
    ),
    address: Argument.String("address").pipe(
      Argument.withDescription(
        "Address of the node to ask, such as /ip4/192.0.2.1/tcp/4001, or through a relay /…/p2p/RELAY/p2p-circuit/p2p/NODE.",
      ),
    ),
    keys: keyFlags(role),
    job: jobFlags(role),
  };
  return Command.make("probe", flags, ({ config, timeout, json, address, keys, job }) =>
    Effect.gen(function* () {
      const { probe } = yield* Effect.promise(() => import("./probe.ts"));
      const format = json ? "json" : "text";
      yield* probe({ role, config, timeoutMs: timeout, address, format, flags: given(role, keys, job) });
    })).pipe(Command.withDescription("Ask a node whether it is healthy, with this node's own certificate."));
}

function resultCommand() {
  const flags = {
    config: configFlag,
    output: Flag.String("output").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("FILE"),
      Flag.withDescription("File to write (safetensors)."),
    ),
    id: Argument.String("id").pipe(
      Argument.withDescription("The training, as the scheduler's log names it: t-7f3a90c1."),
    ),
  };
  return Command.make("result", flags, ({ config, output, id }) =>
    Effect.gen(function* () {
      const { result } = yield* Effect.promise(() => import("./result.ts"));
      yield* result({ id, output, config });
    })).pipe(Command.withDescription("Write the model of a training: its newest finished round."));
}

/** The program's command line. */
function programOf(role: Role) {
  const program = Command.make(`hypha-${role}`).pipe(Command.withDescription(purposes[role]));
  const common = [
    initCommand(role),
    joinCommand(role),
    runCommand(role),
    probeCommand(role),
    ...operatorCommands(role, configFlag),
  ] as const;
  return role === "scheduler"
    ? program.pipe(Command.withSubcommands([...common, ...trainingCommands(configFlag), resultCommand()]))
    : program.pipe(Command.withSubcommands(common));
}

/** Without effect's own log-level flag: `run` has its own. */
const builtIns = [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions];

/**
 * The program as an Effect of its arguments.
 *
 * @param around Changes the services. The build uses it to read the help.
 */
export function roleProgram(
  role: Role,
  args: readonly string[],
  around: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R> = (effect) => effect,
) {
  return around(Command.runWith(programOf(role), { version })(args)).pipe(
    Effect.provide(CliConfig.layer({ builtIns })),
    Effect.provide(usageErrors),
    Effect.provide(nodeServices),
  );
}

/** Runs the program and ends the process: with 0 on success, 1 on failure, 2 on wrong usage or a wrong configuration. */
export async function runProgram(role: Role): Promise<void> {
  const exit = await Effect.runPromiseExit(roleProgram(role, process.argv.slice(2)));
  exitAfterOutput(Exit.isSuccess(exit) ? 0 : sayFailure(role, Cause.squash(exit.cause)));
}

function sayFailure(role: Role, error: unknown): ExitCode {
  if (CliError.isCliError(error)) return 2; // printed already
  const message = error instanceof ProgramFailed
    ? error.notice
    : permissionMessage(role, error) ?? (error instanceof Error ? error.message : String(error));
  if (message !== undefined) {
    const lines = message.split("\n").map((line) => `hypha-${role}: ${escapeUnsafe(line)}\n`);
    process.stderr.write(lines.join(""));
  }
  return error instanceof ProgramFailed ? error.exitCode : 1;
}
