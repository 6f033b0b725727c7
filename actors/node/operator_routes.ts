/**
 * What a node lets its operator do over its admin socket. Bodies and answers are JSON.
 *
 * @module
 */
import { Schema } from "effect";
import { emptyBody, jsonRoute, type JsonRouteInit } from "../admin/json_route.ts";
import { logRoutes, type OperatedLog } from "../admin/log_routes.ts";
import type { AdminAnswer, AdminRoutes } from "../admin/serve_admin.ts";
import type { EnrolmentCommand } from "../enrolment/enrolment.ts";
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
  /** A scheduler's trainings, null while it cannot say them; undefined for other roles. */
  readonly trainings?: (() => Promise<unknown>) | undefined;
  readonly log: OperatedLog;
  /** Ends the program in order; how long that may take, in milliseconds. */
  readonly drain: (reason: string) => number;
}

const reasonBody = Schema.Struct({ reason: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256))) });

const starting: AdminAnswer = { status: 503, body: { code: "starting", error: "the node is starting: try again" } };

/** All of them. */
export function operatorRoutes(
  { node, show, trainings, log, drain }: OperatorRoutesInit,
): AdminRoutes {
  const route = <A>(
    init: JsonRouteInit<A>,
    act: (node: OperatedNode, body: A) => AdminAnswer | Promise<AdminAnswer>,
  ) =>
    jsonRoute(init, (body) => {
      const running = node();
      return running === undefined ? starting : act(running, body);
    });
  return {
    "GET /status": route({ summary: "Show the node.", body: emptyBody }, async (running) => {
      const shown = show(running.getSnapshot());
      return { status: 200, body: trainings === undefined ? shown : { ...shown, trainings: await trainings() } };
    }),
    "POST /reload": route(
      { summary: "Read certificate, trust, lists and rules again.", body: emptyBody },
      (running) => {
        running.send({ type: "trust.reload" });
        return { status: 200, body: {} };
      },
    ),
    "POST /drain": route(
      { summary: "End the node in order.", body: reasonBody },
      (_, { reason = "its operator requested it" }) => ({ status: 200, body: { withinMs: drain(reason) } }),
    ),
    "POST /renew": route({ summary: "Renew the node's certificate.", body: emptyBody }, renew),
    ...logRoutes(log),
  };
}

/** Enrolment as it is operated. */
interface OperatedEnrolment {
  getSnapshot(): { can(command: EnrolmentCommand): boolean; matches(state: "absent" | "failed"): boolean };
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
  const snapshot = enrolment.getSnapshot();
  if (!snapshot.can({ type: "pair.renew" })) {
    if (snapshot.matches("absent") || snapshot.matches("failed")) {
      const hint = "Get the first one with the command join, or put certificate and key in their places";
      return { status: 409, body: { code: "no-certificate", error: "there is no certificate to renew", hint } };
    }
    return { status: 409, body: { code: "busy", error: "the node is getting a certificate already" } };
  }
  enrolment.send({ type: "pair.renew" });
  return { status: 200, body: {} };
}
