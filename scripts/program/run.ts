/**
 * `run`: one node, from its configuration to its end.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem } from "effect";
import { auditFolder } from "../../actors/config/audit_schema.ts";
import { errorOfRules } from "../../actors/config/broken_rules.ts";
import type { RoleConfig } from "../../actors/config/config.ts";
import { telemetryLeaveMs } from "../../actors/config/defaults.ts";
import { readConfig } from "../../actors/config/load.ts";
import type { ConfigError } from "../../actors/config/problem.ts";
import { askHttps } from "../../actors/enrolment/ask_https.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { nodeOfRole } from "../../actors/node/node_of_role.ts";
import { checkPlaces } from "../../actors/node/places.ts";
import { closeMs, countersMs, type NodeExit } from "../../actors/node/node_setup.ts";
import { makeOpenConnections } from "../../actors/node/open_connections.ts";
import type { RuleSource } from "../../actors/node/rule_store.ts";
import type { LogLevel, Ports } from "../../actors/runtime/ports.ts";
import { realNow } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import type { Evaluator } from "../../actors/training/evaluator.ts";
import type { ObservedNode } from "../../actors/telemetry/samples.ts";
import { type LineTally, makeGateTally, makeLineTally } from "../../actors/telemetry/tallies.ts";
import { headFiles, witnessFolder } from "../../actors/witness/head_files.ts";
import type { WitnessPort } from "../../actors/witness/witness_port.ts";
import type { Role } from "../../pki/certificate.ts";
import { makeTransportLogic, transportLogic } from "../../transport/libp2p/transport.ts";
import { auditCloseMs, keepAudit, logNameOf, noAudit, type ProgramAudit } from "./audit.ts";
import { permissionMessage } from "./deno_permissions.ts";
import { exitAfterOutput, type ExitCode, ProgramFailed } from "./failure.ts";
import { type GivenFlags, surroundingsOf } from "./given_flags.ts";
import { type Log, makeLog, wantsColour, writeToStderr } from "./log.ts";
import type { LogFormat } from "./log_line.ts";
import { type Operated, serveOperator } from "./operator.ts";
import { makePorts, type RealPorts } from "./ports.ts";
import { listenToSignals } from "./signals.ts";
import { boundYoungGeneration, returnStartMemory } from "./small_heap.ts";
import { noTracing, type Tracing } from "./no_tracing.ts";
import type { TelemetrySources } from "./telemetry.ts";

/** The options of `run`. */
export interface RunOptions {
  readonly role: Role;
  /** Path of the configuration file. */
  readonly config: string;
  readonly level: LogLevel;
  readonly format: LogFormat;
  /** Keys of the configuration given as flags. */
  readonly flags: GivenFlags;
}

/** Time after the limit of a drain until the program exits, in milliseconds. */
const patienceMs = 2_000;
/** Effects that still run at the end are interrupted within this, in milliseconds. */
export const disposeMs = 2_000;

/**
 * The time until a node that ends is ended at once, in milliseconds: each step of its end has its own limit, and they come one after the
 * other. Previous identities have `closeMs` too.
 */
export const leaveMsOf = ({ drainTimeoutMs }: Pick<RoleConfig, "drainTimeoutMs">): number =>
  drainTimeoutMs + countersMs + 2 * closeMs + telemetryLeaveMs + auditCloseMs + disposeMs + patienceMs;

/** Runs a node until it is done or a signal stops it. Succeeds when it ended in order. */
export function run(options: RunOptions): Effect.Effect<void, ProgramFailed, FileSystem.FileSystem> {
  const { role, config: file, level, format, flags } = options;
  const log = makeLog(`hypha-${role}`, {
    level,
    format,
    colour: format === "text" && wantsColour(process.env),
    now: () => Date.now(),
    write: writeToStderr(),
  });
  const failed = (message: string, exitCode: ExitCode = 1) => {
    if (format === "json") log.report({ level: "error", event: "node.failed", message });
    return new ProgramFailed({ exitCode, notice: format === "json" ? undefined : message });
  };
  /** A new start changes nothing. */
  const misconfigured = ({ message }: ConfigError) => failed(message, 2);
  return Effect.gen(function* () {
    const around = yield* Effect.mapError(surroundingsOf(flags, "run"), misconfigured);
    const { config, reading: started } = yield* Effect.mapError(readConfig(role, file, around), misconfigured);
    for (const { event, message, keys } of config.warnings ?? []) {
      log.report({ level: "warn", event, message, fields: { keys } });
    }
    const broken = yield* checkPlaces(config, { searchPath: role === "worker" ? process.env["PATH"] ?? "" : "" });
    if (broken.length > 0) {
      // It may be mounted or installed later: a new start may change it.
      const error = yield* errorOfRules({ role, file, around }, broken);
      return yield* Effect.fail(failed(error.message));
    }
    const read = Effect.map(readConfig(role, file, around), ({ reading }) => reading);
    const lines = makeLineTally();
    const audit = auditOf(config);
    const tracing = yield* Effect.promise(() => beginTracing(config));
    const ports = makePorts(tracing.meter(lines.meter(audit.meter(log.report))));
    const operated: Operated = {
      node: undefined,
      connections: makeOpenConnections(ports),
      receiving: new Set(),
    };
    const exit = yield* Effect.scoped(
      Effect.andThen(
        Effect.mapError(serveOperator(config, { log, ports, operated }), (error) => failed(error.message)),
        Effect.promise(() =>
          runNode(config, { log, audit, lines, ports, tracing, ruleSource: { file, read, started }, operated })
        ),
      ),
    );
    if (exit.type === "failed") {
      yield* Effect.fail(failed(exit.error.message, exit.error.stage === "revoked" ? 3 : 1));
    }
  });
}

/** What a node is started with beside its configuration. */
interface NodeSurroundings {
  readonly log: Log;
  readonly audit: ProgramAudit;
  readonly lines: LineTally;
  readonly ports: RealPorts;
  readonly tracing: Tracing;
  readonly ruleSource: RuleSource;
  readonly operated: Operated;
}

/** The node as a root actor, with signals as its commands. */
async function runNode(
  config: RoleConfig,
  { log, audit, lines, ports, tracing, ruleSource, operated }: NodeSurroundings,
): Promise<NodeExit> {
  const gates = makeGateTally(ports);
  const [machine, evaluator] = await Promise.all([nodeOfRole(config.role), loadEvaluator(config, ports)]);
  const { checks, requests, outgoing } = tracing;
  const traced = tracing.follow(makeGateFactory({ ports, ...(checks === undefined ? {} : { checks }) }));
  const makeGate = operated.connections.follow(gates.meter(traced));
  const transport = requests === undefined ? transportLogic : makeTransportLogic({ watch: { requests } });
  let node: ObservedNode | undefined;
  const sources = { config, ports, gates, lines, lostRecords: audit.lost, outgoing, node: () => node };
  const leaveTelemetry = await beginTelemetry(sources);
  returnStartMemory();
  boundYoungGeneration();
  const crash = (error: unknown) => {
    const denied = permissionMessage(config.role, error);
    if (denied !== undefined) return endDenied(log, denied);
    log.report({
      level: "error",
      event: "node.crashed",
      message: `Cannot continue after an unexpected error: ${error instanceof Error ? error.message : error}`,
      fields: { stack: error instanceof Error ? error.stack : undefined },
    });
    exitAfterOutput(1);
  };
  const exit = await new Promise<NodeExit>((resolve) => {
    const actor = superviseRoot(machine, {
      id: "node",
      input: {
        ...{ config, ports, transport, makeGate, audit: audit.sink, ruleSource, evaluator },
        receiving: operated.receiving,
        askCa: askHttps,
        witness: witnessOf(config, audit),
      },
      onError: crash,
      onSnapshot: ({ status, output, context }) => {
        const { identity } = context;
        if (identity !== undefined) {
          log.name(identity.name);
          tracing.name(identity.peer);
          void audit.begin(() => logNameOf(identity), ports);
        }
        if (status === "done" && output !== undefined) resolve(output);
      },
    });
    node = actor;
    const drain = (reason: string) => {
      const ms = leaveMsOf(config);
      exitLater(log, ms);
      actor.send({ type: "drain", reason });
      return ms;
    };
    operated.node = { actor, drain };
    listenToSignals({
      stop: (signal) => void drain(`${signal} was received`),
      abort: (signal) => exitAtOnce(log, `Ending at once: ${signal} came while the node was taking leave`, 130),
      reload: () => actor.send({ type: "trust.reload" }),
      crash,
    });
  });
  // The program writes this line of the log when all has ended.
  const record = tracing.meter(lines.meter(audit.meter(() => {})));
  if (exit.type === "failed") record({ level: "error", event: "node.failed", message: exit.error.message });
  tracing.end();
  await leaveTelemetry();
  await audit.end(ports);
  await dispose(ports);
  return exit;
}

function auditOf({ audit, stateDir = "." }: RoleConfig): ProgramAudit {
  if (audit === undefined) return noAudit;
  return keepAudit({ dir: auditFolder(audit, stateDir), keepMs: audit.keepMs, key: audit.key, now: realNow });
}

/** Gateways with a state directory witness the logs of others; every node with a log answers witnesses. */
function witnessOf({ role, stateDir }: RoleConfig, { log }: ProgramAudit): WitnessPort | undefined {
  const heads = role === "gateway" && stateDir !== undefined ? headFiles(witnessFolder(stateDir)) : undefined;
  return log === undefined && heads === undefined ? undefined : { log, heads };
}

/** The evaluator of the demo's models, for a scheduler whose job has an evaluation, or that waits for jobs. */
async function loadEvaluator(config: RoleConfig, ports: Ports): Promise<Evaluator | undefined> {
  if (config.role !== "scheduler" || (config.job !== undefined && config.job.evaluation === undefined)) {
    return undefined;
  }
  const { digitsEvaluator } = await import("../executors/evaluator.ts");
  if (config.executors === undefined || config.executors.length === 0) return digitsEvaluator;
  const { measureIn } = await import("./measure.ts");
  const programs = config.executors.map(({ name }) => name);
  const { check, ...measuring } = measureIn(config, ports);
  // What cannot be started is reported now, not at the end of a training's first round.
  for (const name of programs) ports.run(Effect.ignore(check(name)), () => {});
  return { ...digitsEvaluator, programs, check, ...measuring };
}

/** Loads tracing only where it is configured. */
async function beginTracing({ telemetry }: RoleConfig): Promise<Tracing> {
  const { endpoint, sampler, logs = "none" } = telemetry;
  if (endpoint === undefined || (sampler === undefined && logs === "none")) return noTracing;
  const { makeTracing } = await import("./tracing.ts");
  return makeTracing(telemetry);
}

/** Loads telemetry only where it is configured: its libraries load slowly. */
async function beginTelemetry(sources: TelemetrySources): Promise<() => Promise<void>> {
  const { endpoint, listen } = sources.config.telemetry;
  if (endpoint === undefined && listen === undefined) return () => Promise.resolve();
  const { startTelemetry } = await import("./telemetry.ts");
  return startTelemetry(sources);
}

/** Deno throws some permission errors outside of any caller's reach: in the turn after a server starts to listen. */
function endDenied(log: Log, message: string): void {
  log.report({ level: "error", event: "node.denied", message });
  exitAfterOutput(1);
}

function exitAtOnce(log: Log, message: string, code: ExitCode): void {
  log.report({ level: "warn", event: "node.aborted", message });
  exitAfterOutput(code);
}

/** A drain has its own deadlines. This one is for a node that does not keep them. */
function exitLater(log: Log, ms: number): void {
  setTimeout(() => exitAtOnce(log, `Ending at once: taking leave took more than ${ms} ms`, 1), ms).unref();
}

async function dispose(ports: RealPorts): Promise<void> {
  const late = new Promise<void>((resolve) => setTimeout(resolve, disposeMs).unref());
  await Promise.race([ports.dispose(), late]);
}
