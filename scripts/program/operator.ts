/**
 * Serves a program's operator over the admin socket, from before the node starts until it has ended.
 *
 * @module
 */
import { Effect, type Scope } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { AnyStateMachine } from "xstate";
import { type AdminAnswer, type AdminNotServed, type AdminRoutes, serveAdmin } from "../../actors/admin/serve_admin.ts";
import { adminSocketPath } from "../../actors/admin/socket_path.ts";
import { auditRoutes } from "../../actors/audit/audit_routes.ts";
import { auditFolder } from "../../actors/config/audit_schema.ts";
import type { RoleConfig, SchedulerConfig } from "../../actors/config/config.ts";
import type { MachineShape } from "../../actors/console/machine_shape.ts";
import { makeStateDirectory } from "../../actors/files/state_directory.ts";
import { rolelessNode } from "../../actors/node/node_machine.ts";
import { rolesOf } from "../../actors/node/node_setup.ts";
import { connectionGateMachine } from "../../actors/gate/connection_gate.ts";
import type { OpenConnections } from "../../actors/node/open_connections.ts";
import { type OperatedNode, operatorRoutes } from "../../actors/node/operator_routes.ts";
import { showNode } from "../../actors/node/shown_node.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import type { AdminAsk, AdminAsked } from "../../actors/scheduler/admin_routes.ts";
import type { Role } from "../../pki/certificate.ts";
import type { Log } from "./log.ts";
import { version } from "./version.ts";

/** The parts of a program that its operator reaches. */
export interface Operated {
  /** Undefined until the node was started. `drain` ends the program in order; how long that may take, in milliseconds. */
  node: { readonly actor: OperatedNode; readonly drain: (reason: string) => number } | undefined;
  readonly connections: OpenConnections;
  /** Names of trainings that are being received: a scheduler that takes another key meanwhile leaves them alone. */
  readonly receiving: Set<string>;
}

interface OperatorInit {
  readonly log: Log;
  readonly ports: Ports;
  readonly operated: Operated;
}

/** Whether a scheduler runs only while it holds the lock of its admin socket: it takes its trainings over it. */
export const holdsSocket = ({ stateDir, job }: Pick<SchedulerConfig, "stateDir" | "job">): boolean =>
  stateDir !== undefined && job === undefined;

/**
 * Serves until the scope closes. A node goes on without its operator's commands where the socket cannot be opened; a scheduler that
 * takes its trainings over it does not, nor one whose socket another process serves: both would write the same models.
 */
export function serveOperator(
  config: RoleConfig,
  { log, ports, operated }: OperatorInit,
): Effect.Effect<void, AdminNotServed, FileSystem | Scope.Scope> {
  const { stateDir, role } = config;
  if (stateDir === undefined) return Effect.void;
  const goOn = (error: AdminNotServed) => {
    if (config.role === "scheduler" && (holdsSocket(config) || error.isTaken)) return Effect.fail(error);
    const message = `${error.message}. The node goes on; hypha-${role} status and the other commands to it do not work`;
    return Effect.sync(() => ports.report({ level: "warn", event: "admin.unserved", message }));
  };
  return Effect.gen(function* () {
    yield* Effect.ignore(makeStateDirectory(stateDir)); // the socket says what is wrong with it
    const routes = yield* Effect.promise(() => routesOf(config, stateDir, { log, ports, operated }));
    yield* Effect.catch(serveAdmin(adminSocketPath(stateDir), routes), goOn);
    const { console: place } = config;
    if (place === undefined) return;
    const { openConsole } = yield* Effect.promise(() => import("./console.ts"));
    const machines = yield* Effect.promise(() => shapesOf(role));
    yield* openConsole(place, { routes, machines, ports, log, kind: "node" });
  });
}

/** The machines that the console of a role draws. */
async function shapesOf(role: Role): Promise<readonly MachineShape[]> {
  const { shapeOf } = await import("../../actors/console/machine_shape.ts");
  const machines = [connectionGateMachine, rolelessNode] as unknown as AnyStateMachine[];
  if (role === "scheduler") {
    const { trainingMachine } = await import("../../actors/training/training_machine.ts");
    machines.push(trainingMachine as unknown as AnyStateMachine);
  }
  return machines.map(shapeOf);
}

async function routesOf(
  config: RoleConfig,
  stateDir: string,
  { log, ports, operated }: OperatorInit,
): Promise<AdminRoutes> {
  const startedAt = ports.now();
  const ask = (asked: AdminAsk) => askScheduler(operated.node?.actor, asked);
  const isScheduler = config.role === "scheduler";
  const searched = config.audit === undefined ? {} : auditRoutes(auditFolder(config.audit, stateDir));
  const operator = operatorRoutes({
    node: () => operated.node?.actor,
    show: (looks) => {
      const { connections } = operated;
      return showNode(looks, {
        ...{ version, startedAt, now: ports.now(), open: connections.list(), gates: connections.gates() },
      });
    },
    trainings: isScheduler ? async () => trainingsOf(await ask({ type: "list" })) : undefined,
    log,
    drain: (reason) => operated.node?.drain(reason) ?? 0,
  });
  const routes = { ...operator, ...searched };
  if (!isScheduler) return routes;
  const { adminRoutes } = await import("../../actors/scheduler/admin_routes.ts");
  return { ...adminRoutes({ ports, stateDir, ask, receiving: operated.receiving }), ...routes };
}

/** The trainings in a scheduler's answer; null while it cannot answer. */
const trainingsOf = ({ status, body }: AdminAnswer): unknown =>
  status === 200 ? (body as { readonly trainings: unknown }).trainings : null;

/** A scheduler's actor, as it is asked. */
interface AskedScheduler {
  getSnapshot(): { can(event: AdminAsked): boolean };
  send(event: AdminAsked): void;
}

/** Asks the scheduler of a node: the active identity's, or a previous one that still has trainings. */
function askScheduler(node: OperatedNode | undefined, ask: AdminAsk): Promise<AdminAnswer> {
  return new Promise((reply) => {
    const asked = { type: "admin.asked", ask, reply } as const;
    const { context, children } = node?.getSnapshot() ?? {};
    const schedulers = context === undefined ? [] : rolesOf(context, children ?? {}) as readonly AskedScheduler[];
    const scheduler = schedulers.find((each) => each.getSnapshot().can(asked));
    if (scheduler !== undefined) return scheduler.send(asked);
    reply({
      status: 503,
      body: { code: "not-ready", error: "the scheduler is not ready: try again, or see hypha-scheduler status" },
    });
  });
}
