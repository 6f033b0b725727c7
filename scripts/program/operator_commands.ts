/**
 * The command lines of a role's program to a node that runs: `status`, `renew`, `reload`, `drain`, `log-level`.
 *
 * @module
 */
import { Effect, Option } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { logLevels } from "../../actors/runtime/ports.ts";
import type { Role } from "../../pki/certificate.ts";

const json = Flag.Boolean("json").pipe(
  Flag.withDefault(false),
  Flag.withDescription("Print JSON on standard output."),
);
const watch = Flag.Boolean("watch").pipe(
  Flag.withDefault(false),
  Flag.withDescription("Print it again whenever it changed, until a signal ends the command."),
);

const operate = Effect.promise(() => import("./operate.ts"));
const formatOf = (asJson: boolean) => asJson ? "json" as const : "text" as const;

/** All of them. `config`: the flag that names the node's configuration. */
export function operatorCommands(role: Role, config: Flag.Flag<string>) {
  const status = role === "scheduler" ? schedulerStatus(config) : Command.make(
    "status",
    { config, json, watch },
    ({ config, json, watch }) =>
      Effect.flatMap(operate, (commands) => commands.status({ role, config, watch, format: formatOf(json) })),
  ).pipe(
    Command.withDescription("Show the running node: certificate, revocation lists, peers, refusals, work."),
  );
  const renew = Command.make(
    "renew",
    { config, json },
    ({ config, json }) =>
      Effect.flatMap(operate, (commands) => commands.renew({ role, config, format: formatOf(json) })),
  ).pipe(Command.withDescription("Let the running node renew its certificate now; waits for the new one."));
  const reload = Command.make(
    "reload",
    { config },
    ({ config }) => Effect.flatMap(operate, (commands) => commands.reload({ role, config })),
  ).pipe(Command.withDescription("Let the running node read its files again, as SIGHUP does."));
  const drain = Command.make(
    "drain",
    { config },
    ({ config }) => Effect.flatMap(operate, (commands) => commands.drain({ role, config })),
  ).pipe(Command.withDescription("Let the running node end in order, as SIGTERM does; waits for its end."));
  const level = Argument.Literals("level", logLevels).pipe(
    Argument.withDescription("Least level that it writes to its log from now on."),
  );
  const logLevel = Command.make(
    "log-level",
    { config, level },
    ({ config, level }) => Effect.flatMap(operate, (commands) => commands.logLevel({ role, config, level })),
  ).pipe(Command.withDescription("Change the level of the running node's log, until it ends."));
  return [status, renew, reload, drain, logLevel] as const;
}

/** Of a scheduler, also of one training. */
function schedulerStatus(config: Flag.Flag<string>) {
  const id = Argument.String("id").pipe(
    Argument.optional,
    Argument.withDescription("The training, as hypha-scheduler ls names it: t-7f3a90c1. The node where none is named."),
  );
  return Command.make("status", { config, json, watch, id }, ({ config, json, watch, id }) =>
    Effect.gen(function* () {
      const format = formatOf(json);
      if (Option.isNone(id)) {
        const commands = yield* operate;
        return yield* commands.status({ role: "scheduler", config, watch, format });
      }
      const commands = yield* Effect.promise(() => import("./trainings.ts"));
      return yield* commands.status({ config, id: id.value, watch, format });
    })).pipe(
      Command.withDescription("Show the running scheduler, or a training: members, losses, rejections."),
    );
}
