/**
 * A node's actions on facts of its transport: it keeps the list of peers, logs the fact, and passes it on to the role.
 *
 * @module
 */
import { isConnectedAs, withConnected, withoutConnected } from "../../pki/member.ts";
import type { CloseReason, TransportFact } from "../../transport/port.ts";
import type { MessageProtocol } from "../../transport/protocols/messages.ts";
import type { ReceivedRequest } from "../runtime/requests.ts";
import type { CrlExchangeRef } from "../crl_exchange/exchange.ts";
import type { CrlsLost } from "../trust/trust_reading.ts";
import type { WitnessRef } from "../witness/witness.ts";
import type { GatewayLinkRef } from "./gateway_link.ts";
import { type NodeArgs, type NodeContext, roleIdOf, transportOf } from "./node_setup.ts";
import type { PreviousIdentityRef, RoleRef } from "./previous_identity.ts";

/** Passes a fact on to the role. A role that starts later learns the peers from its input. */
export function passToRole({ context, self, enqueue }: NodeArgs, fact: TransportFact): void {
  const role = roleIdOf(context.identityCount);
  if (isRunning(self.getSnapshot(), role)) enqueue.sendTo<RoleRef>(role, fact);
}

/** Tells the roles of previous identities who connected: a member's former PeerID under which they know it may have ended. */
export function passToPrevious(
  { context, enqueue }: NodeArgs,
  { identity }: Extract<TransportFact, { type: "peer.established" }>,
): void {
  for (const { id, roleId } of context.previousIdentities) {
    if (roleId !== undefined) enqueue.sendTo<PreviousIdentityRef>(id, { type: "member.connected", identity });
  }
}

/** The id of the exchange of revocation lists among the node's children. */
export const exchangeId = "crlExchange";

/** Passes a fact on to the exchange of revocation lists. */
export function passToExchange(
  { self, enqueue }: NodeArgs,
  fact: Extract<TransportFact, { type: "peer.established" | "peer.reconnected" | "peer.closed" }> | CrlsLost,
): void {
  if (isRunning(self.getSnapshot(), exchangeId)) enqueue.sendTo<CrlExchangeRef>(exchangeId, fact);
}

/** The id of the witness among the node's children. */
export const witnessId = "witness";

/** Passes a fact on to the witness. */
export function passToWitness(
  { self, enqueue }: NodeArgs,
  fact: Extract<TransportFact, { type: "peer.established" | "peer.reconnected" | "peer.closed" }>,
): void {
  if (isRunning(self.getSnapshot(), witnessId)) enqueue.sendTo<WitnessRef>(witnessId, fact);
}

/** Whether there is a child of this id that takes events. */
export function isRunning(
  snapshot: { readonly children: Readonly<Record<string, unknown>> },
  id: string,
): boolean {
  const child = snapshot.children[id] as { getSnapshot(): { readonly status: string } } | undefined;
  return child !== undefined && child.getSnapshot().status === "active";
}

/** Notes a member's first connection. */
export function noteEstablished(
  { context, enqueue }: NodeArgs,
  { peer, identity }: Extract<TransportFact, { type: "peer.established" }>,
): void {
  enqueue.assign({ members: withConnected(context.members, identity) });
  enqueue(() => {
    context.names.remember(peer, identity.name);
    context.ports.report({
      level: "info",
      event: "peer.established",
      message: `Connected with ${identity.name} (${peer})`,
      fields: { peer, name: identity.name, ...(identity.role === undefined ? {} : { role: identity.role }) },
    });
  });
}

/**
 * Notes the end of a member's last connection. Tells the gateway links, of which one may have led to this peer, unless another
 * member of the PeerID that may be a gateway is still connected.
 */
export function noteClosed(
  { context, self, enqueue }: NodeArgs,
  { peer, identity, reason }: Extract<TransportFact, { type: "peer.closed" }>,
): void {
  const members = withoutConnected(context.members, identity);
  const isGatewayLeft = isConnectedAs(members, peer, "gateway");
  enqueue.assign({ members });
  for (const index of context.config.gatewayAddresses.keys()) {
    if (!isGatewayLeft && isRunning(self.getSnapshot(), `link/${index}`)) {
      enqueue.sendTo<GatewayLinkRef>(`link/${index}`, { type: "peer.closed", peer, reason });
    }
  }
  enqueue(() =>
    context.ports.report({
      level: reason.type === "trust.changed" || reason.type === "expired" ? "warn" : "info",
      event: "peer.closed",
      message: `Connection with ${identity.name} (${peer}) closed: ${describeClose(reason)}`,
      fields: { peer, name: identity.name, reason: reason.type, ...closeFields(reason) },
    })
  );
}

function describeClose(reason: CloseReason): string {
  switch (reason.type) {
    case "trust.changed":
    case "expired":
      return reason.refusal.message;
    case "by-us":
      return reason.detail;
    case "by-them":
      return "by the peer";
    case "lost":
      return `lost (${reason.detail})`;
  }
}

function closeFields(reason: CloseReason): Record<string, unknown> {
  if ("refusal" in reason) return { code: reason.refusal.code, hint: reason.refusal.hint };
  return "detail" in reason ? { detail: reason.detail } : {};
}

/** The node's answer to a request. Health is its own to answer: only a ready node is healthy. The role gets the others. */
const requests = {
  "/hypha-health/0.0.1": answerHealth,
  "/hypha-api/0.0.1": passRequest,
  "/hypha-progress/0.0.1": passRequest,
  "/hypha-training/1": passRequest,
  "/hypha-crl/1": passCrlRequest,
  "/hypha-audit/1": passAuditRequest,
} as const satisfies Record<MessageProtocol, (args: NodeArgs, request: ReceivedRequest) => void>;

/** Answers a request, or passes it on to the role. */
export function routeRequest(args: NodeArgs, request: ReceivedRequest): void {
  requests[request.protocol](args, request);
}

function answerHealth({ context, enqueue }: NodeArgs, { exchange }: ReceivedRequest): void {
  const message = { healthy: context.isReady, ...(context.cell === undefined ? {} : { cell: context.cell }) };
  enqueue.sendTo(transportOf(context), { type: "respond", exchange, message });
}

function passRequest({ context, self, enqueue }: NodeArgs, request: ReceivedRequest): void {
  const role = roleIdOf(context.identityCount);
  if (isRunning(self.getSnapshot(), role)) enqueue.sendTo<RoleRef>(role, request);
  else enqueue.sendTo(transportOf(context), { type: "decline", exchange: request.exchange });
}

function passCrlRequest({ context, self, enqueue }: NodeArgs, request: ReceivedRequest): void {
  if (isRunning(self.getSnapshot(), exchangeId)) enqueue.sendTo<CrlExchangeRef>(exchangeId, request);
  else enqueue.sendTo(transportOf(context), { type: "decline", exchange: request.exchange });
}

function passAuditRequest({ context, self, enqueue }: NodeArgs, request: ReceivedRequest): void {
  if (isRunning(self.getSnapshot(), witnessId)) enqueue.sendTo<WitnessRef>(witnessId, request);
  else enqueue.sendTo(transportOf(context), { type: "decline", exchange: request.exchange });
}

/** Passes a stream on to the role; rejects it where there is none. */
export function routeStream(
  { context, self, enqueue }: NodeArgs,
  stream: Extract<TransportFact, { type: "stream.received" }>,
): void {
  const role = roleIdOf(context.identityCount);
  if (isRunning(self.getSnapshot(), role)) enqueue.sendTo<RoleRef>(role, stream);
  else enqueue.sendTo(transportOf(context), { type: "stream.reject", exchange: stream.exchange });
}

/** The last line of a node's log: its counters. */
export function reportSummary({ ports, counters, refusalLog }: NodeContext): void {
  ports.report({
    level: "info",
    event: "node.summary",
    message: "Summary of this node's work",
    fields: {
      accepted: counters?.accepted ?? null,
      refused: refusalLog.getSnapshot().context.counts,
      bytesReceived: counters?.bytesReceived ?? null,
      bytesSent: counters?.bytesSent ?? null,
    },
  });
}
