/**
 * A node's actions when its key was replaced: running work continues under the previous identity until it has ended, and new
 * work begins under the new one.
 *
 * @module
 */
import type { DialAnswer } from "../../transport/port.ts";
import { rotationDefault } from "../config/defaults.ts";
import type { Report } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { isRunning } from "./facts.ts";
import { type ChildEnded, isDone, type NodeArgs, previousIdentitiesMax, roleIdOf, transportOf } from "./node_setup.ts";
import type { PreviousIdentityRef } from "./previous_identity.ts";

/** Hands transport and role over to an actor of the previous identity, which receives their facts from now on. */
export function retire({ context, self, enqueue }: NodeArgs): void {
  const { config, previousIdentities, identityCount } = context;
  const identity = present(context.activeIdentity, "the active identity");
  const transport = transportOf(context);
  const id = `previous/${identityCount}`;
  const roleId = roleIdOf(identityCount);
  const role = isRunning(self.getSnapshot(), roleId) ? self.getSnapshot().children[roleId] : undefined;
  const excess = Math.max(0, previousIdentities.length + 1 - previousIdentitiesMax);
  for (const { id: oldest } of previousIdentities.slice(0, excess)) {
    enqueue.sendTo<PreviousIdentityRef>(oldest, { type: "previous.end" });
  }
  enqueue.spawnChild("previousIdentity", {
    id,
    input: {
      ports: context.namedPorts,
      parent: self,
      transport,
      role,
      identity,
      drainMs: (config.rotation ?? rotationDefault).drainMs,
      leaveMs: config.drainTimeoutMs,
    },
  });
  enqueue.assign({
    previousIdentities: [...previousIdentities, { id, roleId: role === undefined ? undefined : roleId }],
    members: [],
    linked: [],
    isReachable: false,
    isDhtReady: false,
  });
  enqueue.sendTo(transport, {
    type: "retire",
    replyTo: self,
    factsTo: { send: (fact) => self.getSnapshot().children[id]?.send(fact) },
  });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "node.rekeying",
      message: `Becoming ${context.identity?.peer}; work that was started as ${identity.peer} continues until it ends`,
      fields: { peer: context.identity?.peer, formerPeer: identity.peer, name: identity.name },
    })
  );
}

/** Dials the peers of the previous identity: from the certificate's name they learn the new PeerID. */
export function announce({ context, enqueue }: NodeArgs): void {
  const { handover } = context;
  if (handover === undefined) return;
  enqueue.assign({ handover: undefined });
  for (const { peer, addresses: [address] } of handover.peers) {
    if (address === undefined || peer === context.identity?.peer) continue;
    enqueue.sendTo(transportOf(context), {
      type: "dial",
      id: `announce/${context.identityCount}/${peer}`,
      target: { address },
      replyTo: { send: (answer: DialAnswer) => reportUnannounced(context.ports.report, peer, answer) },
    });
  }
}

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

/** The role of a previous identity ended: the identity's actor is told, and drains its transport. */
export function notePreviousRole({ context, enqueue }: NodeArgs, ended: ChildEnded): void {
  const previous = context.previousIdentities.find(({ roleId }) => isDone(ended, roleId));
  if (previous === undefined) return;
  enqueue.assign({
    previousIdentities: context.previousIdentities.map((each) =>
      each === previous ? { ...each, roleId: undefined } : each
    ),
  });
  enqueue.sendTo<PreviousIdentityRef>(previous.id, { type: "role.over" });
}

/** Ends the time of all previous identities. */
export function endPreviousIdentities({ context, enqueue }: NodeArgs): void {
  for (const { id } of context.previousIdentities) {
    enqueue.sendTo<PreviousIdentityRef>(id, { type: "previous.end" });
  }
}
