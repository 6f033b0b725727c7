/**
 * The command lines of `hypha-scheduler` about trainings; `status` is among those of all roles (`operator_commands.ts`).
 *
 * @module
 */
import { Effect, Option } from "effect";
import { Argument, Command, Flag } from "effect/cli";

const id = Argument.String("id").pipe(
  Argument.withDescription("The training, as hypha-scheduler ls names it: t-7f3a90c1."),
);
const json = Flag.Boolean("json").pipe(
  Flag.withDefault(false),
  Flag.withDescription("Print JSON on standard output."),
);

const trainings = Effect.promise(() => import("./trainings.ts"));
const formatOf = (asJson: boolean) => asJson ? "json" as const : "text" as const;

/** All of them. `config`: the flag that names the scheduler's configuration. */
export function trainingCommands(config: Flag.Flag<string>) {
  const common = { config, json };
  const submit = Command.make(
    "submit",
    { ...common, file: Argument.String("file").pipe(Argument.withDescription("The job: TOML or JSON.")) },
    ({ config, json, file }) =>
      Effect.flatMap(trainings, (commands) => commands.submit({ config, file, format: formatOf(json) })),
  ).pipe(Command.withDescription("Submit a training job to the running scheduler; prints the training's id."));
  const list = Command.make(
    "ls",
    common,
    ({ config, json }) => Effect.flatMap(trainings, (commands) => commands.list({ config, format: formatOf(json) })),
  ).pipe(Command.withDescription("List the running scheduler's trainings."));
  const worker = Flag.String("worker").pipe(
    Flag.optional,
    Flag.withMetavar("NAME"),
    Flag.withDescription("Only lines about the worker with this name in its certificate."),
  );
  const logs = Command.make(
    "logs",
    { ...common, id, worker },
    ({ config, json, id, worker }) =>
      Effect.flatMap(
        trainings,
        (commands) => commands.logs({ config, id, worker: Option.getOrUndefined(worker), format: formatOf(json) }),
      ),
  ).pipe(Command.withDescription("Print a training's log, the oldest line first."));
  const cancel = Command.make(
    "cancel",
    { ...common, id },
    ({ config, json, id }) =>
      Effect.flatMap(trainings, (commands) => commands.cancel({ config, id, format: formatOf(json) })),
  ).pipe(Command.withDescription("End a training: its executors and leases."));
  const resume = Command.make(
    "resume",
    { ...common, id },
    ({ config, json, id }) =>
      Effect.flatMap(trainings, (commands) => commands.resume({ config, id, format: formatOf(json) })),
  ).pipe(
    Command.withDescription(
      "Let a training that failed or was cancelled go on after its newest round; at round 0 where its model is not kept.",
    ),
  );
  return [submit, list, logs, cancel, resume] as const;
}
