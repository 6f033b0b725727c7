/**
 * What a node lets its operator do over its admin socket. Bodies and answers are JSON.
 *
 * @module
 */
import { Result, Schema } from "effect";
import type { AdminAnswer, AdminRoute, AdminRoutes } from "../admin/serve_admin.ts";
import type { EnrolmentCommand } from "../enrolment/enrolment.ts";
import { type LogLevel, logLevels } from "../runtime/ports.ts";
import type { NodeCommand } from "./node_setup.ts";
import type { NodeLooks, ShownNode } from "./shown_node.ts";

/** A node that is operated. */
export interface OperatedNode {
  getSnapshot(): NodeLooks;
  send(command: NodeCommand): void;
}

/** What the routes are made with. */
export interface OperatorRoutesInit {
  /** Undefined until the node was started. */
  readonly node: () => OperatedNode | undefined;
  readonly show: (looks: NodeLooks) => ShownNode;
  /** A scheduler's trainings; undefined for other roles. */
  readonly trainings?: (() => Promise<unknown>) | undefined;
  readonly setLogLevel: (level: LogLevel) => void;
  /** Ends the program in order; how long that may take, in milliseconds. */
  readonly drain: (reason: string) => number;
}

const emptyBody = Schema.Struct({});
const levelBody = Schema.Struct({ level: Schema.Literals(logLevels) });
const reasonBody = Schema.Struct({ reason: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256))) });

const starting: AdminAnswer = { status: 503, body: { code: "starting", error: "the node is starting: try again" } };

/** All of them. */
export function operatorRoutes({ node, show, trainings, setLogLevel, drain }: OperatorRoutesInit): AdminRoutes {
  const route =
    <A>(schema: Schema.Codec<A>, act: (node: OperatedNode, body: A) => AdminAnswer | Promise<AdminAnswer>) =>
    async (body: unknown): ReturnType<AdminRoute> => {
      const decoded = Schema.decodeUnknownResult(schema, { onExcessProperty: "error" })(body);
      if (Result.isFailure(decoded)) {
        return { status: 400, body: { code: "wrong-body", error: decoded.failure.message } };
      }
      const running = node();
      return running === undefined ? starting : await act(running, decoded.success);
    };
  return {
    "GET /status": route(emptyBody, async (running) => {
      const shown = show(running.getSnapshot());
      return { status: 200, body: trainings === undefined ? shown : { ...shown, trainings: await trainings() } };
    }),
    "POST /reload": route(emptyBody, (running) => {
      running.send({ type: "trust.reload" });
      return { status: 200, body: {} };
    }),
    "POST /drain": route(reasonBody, (_, { reason = "its operator asked for it" }) => {
      return { status: 200, body: { withinMs: drain(reason) } };
    }),
    "POST /renew": route(emptyBody, (running) => renew(running)),
    "POST /log-level": route(levelBody, (_, { level }) => {
      setLogLevel(level);
      return { status: 200, body: { level } };
    }),
  };
}

/** Enrolment as it is operated. */
interface OperatedEnrolment {
  getSnapshot(): { can(command: EnrolmentCommand): boolean };
  send(command: EnrolmentCommand): void;
}

/** Begins a renewal. How it ends is in the status. */
function renew(running: OperatedNode): AdminAnswer {
  const enrolment = running.getSnapshot().children["enrolment"] as OperatedEnrolment | undefined;
  if (enrolment === undefined) {
    const error = "the node does not renew its certificate by itself";
    const hint = "Name its CA in [membership] of the configuration, or replace the files: the node takes them up";
    return { status: 409, body: { code: "no-membership", error, hint } };
  }
  if (!enrolment.getSnapshot().can({ type: "pair.renew" })) {
    return { status: 409, body: { code: "busy", error: "the node is getting a certificate already" } };
  }
  enrolment.send({ type: "pair.renew" });
  return { status: 200, body: {} };
}
