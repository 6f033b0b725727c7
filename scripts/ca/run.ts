/**
 * `hypha-ca run`: a CA from its configuration to its end.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { Effect, Exit, Result, Scope } from "effect";
import { logRoutes } from "../../actors/admin/log_routes.ts";
import { adminRoutes, type ProgramView } from "../../actors/ca/admin_routes.ts";
import { auditRoutes } from "../../actors/audit/audit_routes.ts";
import { alarmLevels } from "../../actors/ca/alarm.ts";
import { caMachine } from "../../actors/ca/ca.ts";
import { CaConfigError, loadCaConfig } from "../../actors/ca/ca_config.ts";
import { approversProblem, checkApprovals } from "../../actors/ca/check_approvals.ts";
import { openAuthority, socketPath } from "../../actors/ca/open_authority.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { realNow } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { keepAudit, type KeptAudit } from "../program/audit.ts";
import { exitAfterOutput } from "../program/failure.ts";
import { type Log, makeLog, wantsColour, writeToStderr } from "../program/log.ts";
import type { LogFormat } from "../program/log_line.ts";
import { makePorts } from "../program/ports.ts";
import { listenToSignals } from "../program/signals.ts";
import type { RunningMember } from "./member.ts";
import { type CaTracing, makeCaTracing, readTelemetry, telemetryVariables } from "./telemetry.ts";

/** Runs until a signal comes, then ends the process: with 1 where the port or the admin socket cannot be opened. */
export function run(file: string, format: LogFormat) {
  return Effect.gen(function* () {
    const config = yield* loadCaConfig(file);
    const telemetry = yield* Effect.fromResult(
      Result.mapError(readTelemetry(telemetryVariables()), (detail) => new CaConfigError({ file, detail })),
    );
    const log = makeLog("hypha-ca", {
      level: "info",
      format,
      colour: format === "text" && wantsColour(process.env),
      now: () => Date.now(),
      write: writeToStderr(),
    });
    const audit = keepAudit({ ...config.audit, now: realNow });
    const tracing = yield* Effect.promise(() => makeCaTracing(telemetry));
    const report = tracing.meter(log.report);
    const ca = yield* openAuthority(config, ({ kind, ...fields }) => {
      const message = `${kind}: ${fields.identity}`;
      audit.inbox.record({ type: "ca.alarm", outcome: kind, peer: fields.identity, detail: fields });
      report({ level: alarmLevels[kind], event: `ca.alarm.${kind}`, message, fields });
    });
    ca.register.recordTo(audit.inbox);
    const checked = checkApprovals(ca, config, { configFile: file, at: new Date(realNow()) });
    if (Result.isFailure(checked)) {
      yield* Effect.promise(() => audit.end(log));
      ca.register.close();
      return yield* checked.failure;
    }
    log.name(config.name);
    const reason = yield* Effect.promise(() => untilDone(config, ca, { file, log, report, audit, tracing }));
    ca.register.close();
    exitAfterOutput(reason === undefined ? 0 : 1);
  });
}

/** Why it ended; undefined where a signal stopped it. */
async function untilDone(
  config: Effect.Success<ReturnType<typeof loadCaConfig>>,
  ca: Effect.Success<ReturnType<typeof openAuthority>>,
  { file, log, report, audit, tracing }: {
    /** The configuration's path, as the operator gave it. */
    readonly file: string;
    readonly log: Log;
    /** Reports to the log and to the collector. */
    readonly report: Log["report"];
    readonly audit: KeptAudit;
    readonly tracing: CaTracing;
  },
): Promise<string | undefined> {
  const ports = makePorts(audit.meter(report));
  tracing.begin(ports);
  const { name, host, port, domain } = config;
  // Nothing is issued before: it could not be recorded.
  await audit.begin(() => `spiffe://${domain}/ca/${name}`, ports);
  const { startMember } = ca.gateways.length === 0 ? { startMember: undefined } : await import("./member.ts");
  let member: RunningMember | undefined;
  const forks = () => member?.forks() ?? [];
  let problem: string | undefined;
  const nextStart = () => approversProblem(ca, config, file);
  const view = { forks, problem: () => problem, nextStart };
  const closeConsole = await beginConsole(config, ca, { ports, log, view });
  const reason = await new Promise<string | undefined>((resolve) => {
    const crash = (error: unknown) => {
      report({ level: "error", event: "ca.crashed", message: `Cannot continue: ${error}` });
      exitAfterOutput(1);
    };
    const actor = superviseRoot(caMachine, {
      id: "ca",
      input: {
        ...{ ports, ca, name, host, port, socket: socketPath(config) },
        programRoutes: { ...logRoutes(log), ...auditRoutes(config.audit.dir) },
        watch: tracing.watch,
        forks,
        nextStart,
      },
      onError: crash,
      onSnapshot: ({ status, context }) => {
        problem = context.problem;
        if (status === "done") resolve(context.reason);
      },
    });
    member = startMember?.({
      ...{ ports, ca, stateDir: join(config.stateDir, "node"), log: audit.log, onError: crash },
      own: () => actor.getSnapshot().context.identity,
    });
    listenToSignals({
      stop: () => actor.send({ type: "ca.stop" }),
      abort: () => exitAfterOutput(130),
      reload: () => reportUnread(report),
      crash,
    });
  });
  member?.stop();
  await closeConsole();
  if (reason !== undefined) report({ level: "error", event: "ca.failed", message: reason });
  await tracing.end();
  await audit.end(ports);
  await ports.dispose();
  return reason;
}

/** SIGHUP changes nothing. */
function reportUnread(report: Log["report"]): void {
  const message =
    "Nothing was read again: a CA reads its configuration, keys and certificates when it starts. Restart it";
  report({ level: "warn", event: "ca.unread", message });
}

/** Opens the console where one is configured; the result closes it. */
async function beginConsole(
  { console: place, audit: { dir } }: Effect.Success<ReturnType<typeof loadCaConfig>>,
  ca: Effect.Success<ReturnType<typeof openAuthority>>,
  { ports, log, view }: { readonly ports: Ports; readonly log: Log; readonly view: ProgramView },
): Promise<() => Promise<void>> {
  if (place === undefined) return () => Promise.resolve();
  const { openConsole } = await import("../program/console.ts");
  const scope = Effect.runSync(Scope.make());
  await Effect.runPromise(
    Scope.provide(
      openConsole(place, {
        routes: { ...adminRoutes(ca, ports, view), ...auditRoutes(dir) },
        ports,
        log,
        kind: "ca",
      }),
      scope,
    ),
  );
  return () => Effect.runPromise(Scope.close(scope, Exit.void));
}
