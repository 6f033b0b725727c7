/**
 * A node's actions when its key was replaced: what it was goes on under the former key until it has ended, what it is from
 * now on begins beside it.
 *
 * @module
 */
import type { DialAnswer } from "../../transport/port.ts";
import type { RoleRef } from "./previous_identity.ts";
import { rotationDefault } from "../config/defaults.ts";
import type { Report } from "../runtime/ports.ts";
import { isRunning } from "./facts.ts";
import { formersMax, isDone, nodeSetup, roleIdOf, transportOf } from "./node_setup.ts";

/** Hands transport and role of the former key to an actor of their own, which hears their facts from now on. */
export const retire = nodeSetup.enqueueActions(({ context, self, enqueue }) => {
  const { config, formers, spoken, turns } = context;
  if (spoken === undefined) return;
  const transport = transportOf(context);
  const id = `former/${turns}`;
  const roleId = roleIdOf(turns);
  const hasRole = isRunning(self.getSnapshot(), roleId);
  const role = hasRole ? self.getSnapshot().children[roleId] as unknown as RoleRef : undefined;
  for (const { id: oldest } of formers.slice(0, Math.max(0, formers.length + 1 - formersMax))) {
    enqueue.sendTo(oldest, { type: "former.end" });
  }
  enqueue.spawnChild("former", {
    id,
    input: {
      ports: context.namedPorts,
      transport,
      role,
      identity: spoken,
      drainMs: (config.rotation ?? rotationDefault).drainMs,
      leaveMs: config.drainTimeoutMs,
    },
  });
  enqueue.assign({
    formers: [...formers, { id, roleId: hasRole ? roleId : undefined }],
    peers: [],
    linked: [],
    isReachable: false,
    isDhtReady: false,
  });
  enqueue.sendTo(transport, {
    type: "retire",
    replyTo: self,
    factsTo: {
      send: (fact) => (self.getSnapshot().children[id] as { send(event: unknown): void } | undefined)?.send(fact),
    },
  });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "node.turning",
      message: `Becoming ${context.identity?.peer}; what was begun as ${spoken.peer} goes on until it ends`,
      fields: { peer: context.identity?.peer, formerPeer: spoken.peer, name: spoken.name },
    })
  );
});

/** Dials those who were connected: so they learn the new PeerID, by the certificate's name. */
export const announce = nodeSetup.enqueueActions(({ context, enqueue }) => {
  const { heritage } = context;
  if (heritage === undefined) return;
  enqueue.assign({ heritage: undefined });
  for (const { peer, addresses: [address] } of heritage.peers) {
    if (address === undefined || peer === context.identity?.peer) continue;
    enqueue.sendTo(transportOf(context), {
      type: "dial",
      id: `announce/${context.turns}/${peer}`,
      target: { address },
      replyTo: { send: (answer: DialAnswer) => reportUnannounced(context.ports.report, peer, answer) },
    });
  }
});

function reportUnannounced(report: (report: Report) => void, peer: string, answer: DialAnswer): void {
  if (answer.type === "dial.done") return;
  const { code, message } = answer.refusal;
  report({
    level: "debug",
    event: "node.unannounced",
    message: `Cannot tell ${peer} of the new PeerID: ${message}`,
    fields: { peer, code },
  });
}

/** The role of a former key ended: its actor is told, and lets the transport go. */
export const noteFormerRole = nodeSetup.enqueueActions(({ context, event, enqueue }) => {
  const former = context.formers.find(({ roleId }) => isDone(event, roleId));
  if (former === undefined) return;
  enqueue.assign({
    formers: context.formers.map((each) => each === former ? { ...each, roleId: undefined } : each),
  });
  enqueue.sendTo(former.id, { type: "role.over" });
});

/** Nothing goes on under a former key any more. */
export const noteFormerGone = nodeSetup.assign({
  formers: ({ context, event }) => context.formers.filter(({ id }) => !isDone(event, id)),
});

/** Former keys have no more time. */
export const endFormers = nodeSetup.enqueueActions(({ context, enqueue }) => {
  for (const { id } of context.formers) enqueue.sendTo(id, { type: "former.end" });
});
