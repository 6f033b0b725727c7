/**
 * A node's actions on what its transport tells: remembers who is there, says so in the log, and hands it on to the role.
 *
 * @module
 */
import type { CloseReason, TransportFact } from "../../transport/port.ts";
import type { NodeContext, NodeEvent } from "./node_setup.ts";
import { nodeSetup, roleIdOf } from "./node_setup.ts";

const factTypes: ReadonlySet<string> = new Set<TransportFact["type"]>([
  "peer.established",
  "peer.closed",
  "request.received",
  "stream.received",
  "published",
  "reachable",
  "reservation.lost",
  "dht.ready",
]);

function isFact(event: NodeEvent): event is TransportFact {
  return factTypes.has(event.type);
}

/** Hands a fact to the role. What came before the role was there it learns from its input. */
export const forward = nodeSetup.enqueueActions(({ context, event, self, enqueue }) => {
  const role = roleIdOf(context.turns);
  if (isFact(event) && isRunning(self.getSnapshot(), role)) enqueue.sendTo(role, event);
});

/** Whether a child is there and takes events. */
export function isRunning(
  snapshot: { readonly children: Readonly<Record<string, unknown>> },
  id: string,
): boolean {
  const child = snapshot.children[id] as { getSnapshot(): { readonly status: string } } | undefined;
  return child !== undefined && child.getSnapshot().status === "active";
}

/** A peer is here. */
export const noteEstablished = nodeSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "peer.established") return;
  const { peer, identity } = event;
  enqueue.assign({ peers: [...context.peers.filter((other) => other !== peer), peer] });
  enqueue(() => {
    context.names.remember(peer, identity.name);
    context.ports.report({
      level: "info",
      event: "peer.established",
      message: `Connected with ${identity.name} (${peer})`,
      fields: { peer, name: identity.name, ...(identity.role === undefined ? {} : { role: identity.role }) },
    });
  });
});

/** A peer is gone: said with the reason, and to the links, of which one may have led to it. */
export const noteClosed = nodeSetup.enqueueActions(({ context, event, self, enqueue }) => {
  if (event.type !== "peer.closed") return;
  const { peer, identity, reason } = event;
  enqueue.assign({ peers: context.peers.filter((other) => other !== peer) });
  for (const index of context.config.gatewayAddresses.keys()) {
    if (isRunning(self.getSnapshot(), `link/${index}`)) {
      enqueue.sendTo(`link/${index}`, { type: "peer.closed", peer, reason });
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
});

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

/** Health is the node's own to answer: healthy is who is ready. Others' requests are the role's, or nobody's. */
export const routeRequest = nodeSetup.enqueueActions(({ context, event, self, enqueue }) => {
  if (event.type !== "request.received" || context.actor === undefined) return;
  const { exchange, protocol } = event;
  if (protocol === "/hypha-health/0.0.1") {
    const message = { healthy: context.isReady, ...(context.cell === undefined ? {} : { cell: context.cell }) };
    enqueue.sendTo(context.actor, { type: "respond", exchange, message });
  } else if (isRunning(self.getSnapshot(), roleIdOf(context.turns))) enqueue.sendTo(roleIdOf(context.turns), event);
  else enqueue.sendTo(context.actor, { type: "decline", exchange });
});

/** Streams are the role's, or nobody's. */
export const routeStream = nodeSetup.enqueueActions(({ context, event, self, enqueue }) => {
  if (event.type !== "stream.received" || context.actor === undefined) return;
  const role = roleIdOf(context.turns);
  if (isRunning(self.getSnapshot(), role)) enqueue.sendTo(role, event);
  else enqueue.sendTo(context.actor, { type: "stream.reject", exchange: event.exchange });
});

/** The node's last line: what it did. */
export function reportSummary({ ports, counters, ledger }: NodeContext): void {
  ports.report({
    level: "info",
    event: "node.summary",
    message: "What this node did",
    fields: {
      accepted: counters?.accepted ?? null,
      refused: ledger.getSnapshot().context.counts,
      bytesReceived: counters?.bytesReceived ?? null,
      bytesSent: counters?.bytesSent ?? null,
    },
  });
}
