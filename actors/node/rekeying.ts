/**
 * A node's actions when its key was replaced: running work continues under the previous identity until it has ended, and new
 * work begins under the new one.
 *
 * @module
 */
import { successorPeersMax } from "../../transport/core/successor.ts";
import type { DialAnswer, PeerText, RetireAnswer } from "../../transport/port.ts";
import { rotationDefault } from "../config/defaults.ts";
import type { Report } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { isRunning } from "./facts.ts";
import {
  type ChildEnded,
  isDone,
  type NodeArgs,
  type NodeContext,
  previousIdentitiesMax,
  roleIdOf,
  transportOf,
} from "./node_setup.ts";
import type { PreviousIdentityRef } from "./previous_identity.ts";

/**
 * Hands transport and role over to an actor of the previous identity, which receives their facts from now on. The transport
 * retires first: without a role that actor drains it at once, and a transport that drains does not retire.
 */
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
  enqueue.sendTo(transport, {
    type: "retire",
    replyTo: self,
    factsTo: { send: (fact) => self.getSnapshot().children[id]?.send(fact) },
  });
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
    previousIdentities: [...previousIdentities, { id, roleId: role === undefined ? undefined : roleId, transport }],
    members: [],
    linked: [],
    isReachable: false,
    isDhtReady: false,
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

/**
 * Takes the previous transport's addresses and peers, and the peers that it had not yet sent its own PeerID. Stops that
 * transport where its previous identity is gone already.
 */
export function takeHandover({ context, enqueue }: NodeArgs, answer: RetireAnswer): void {
  const { previousIdentities, actor } = context;
  if (!previousIdentities.some(({ transport }) => transport === actor)) enqueue.stopChild(transportOf(context));
  const listed = new Set(answer.peers.map(({ peer }) => peer));
  const unannounced = (context.handover?.peers ?? []).filter(({ peer }) => !listed.has(peer));
  enqueue.assign({ handover: { ...answer, peers: [...answer.peers, ...unannounced].slice(0, successorPeersMax) } });
}

const announceId = ({ identityCount }: NodeContext, peer: PeerText): string => `announce/${identityCount}/${peer}`;

/** Dials the peers of the previous identity: from the certificate's name they learn the new PeerID. */
export function announce({ context, self, enqueue }: NodeArgs): void {
  for (const { peer, addresses: [address] } of context.handover?.peers ?? []) {
    if (address === undefined || peer === context.identity?.peer) continue;
    const id = announceId(context, peer);
    enqueue.sendTo(transportOf(context), { type: "dial", id, target: { address }, replyTo: self });
  }
}

/** A dial to a peer of the previous identity ended: the next identity does not repeat it. */
export function noteAnnounced({ context, enqueue }: NodeArgs, answer: DialAnswer): void {
  const { handover, ports } = context;
  const dialled = handover?.peers.find(({ peer }) => announceId(context, peer) === answer.id);
  if (handover === undefined || dialled === undefined) return;
  enqueue.assign({ handover: { ...handover, peers: handover.peers.filter((each) => each !== dialled) } });
  if (answer.type === "dial.failed") enqueue(() => reportUnannounced(ports.report, dialled.peer, answer));
}

function reportUnannounced(
  report: (report: Report) => void,
  peer: PeerText,
  { refusal: { code, message } }: Extract<DialAnswer, { type: "dial.failed" }>,
): void {
  report({
    level: "debug",
    event: "node.unannounced",
    message: `Cannot tell ${peer} of the new PeerID: ${message}`,
    fields: { peer, code },
  });
}

/** The role of a previous identity ended: it is stopped, and the identity's actor drains its transport. */
export function notePreviousRole({ context, enqueue }: NodeArgs, ended: ChildEnded): void {
  const previous = context.previousIdentities.find(({ roleId }) => isDone(ended, roleId));
  if (previous === undefined) return;
  enqueue.assign({
    previousIdentities: context.previousIdentities.map((each) =>
      each === previous ? { ...each, roleId: undefined } : each
    ),
  });
  enqueue.sendTo<PreviousIdentityRef>(previous.id, { type: "role.over" });
  if (previous.roleId !== undefined) enqueue.stopChild(previous.roleId);
}

/**
 * A previous identity is gone: stops its actor, its transport, and a role that did not end in its time. xstate keeps children
 * that are done until they are stopped.
 */
export function notePreviousGone({ context, enqueue }: NodeArgs, ended: ChildEnded): void {
  const gone = context.previousIdentities.find(({ id }) => isDone(ended, id));
  if (gone === undefined) return;
  enqueue.assign({ previousIdentities: context.previousIdentities.filter((each) => each !== gone) });
  enqueue.stopChild(gone.id);
  if (gone.roleId !== undefined) enqueue.stopChild(gone.roleId);
  // A transport that has not answered `retire` yet is stopped by `takeHandover`.
  if (gone.transport !== context.actor) enqueue.stopChild(gone.transport);
}

/** Ends the time of all previous identities. */
export function endPreviousIdentities({ context, enqueue }: NodeArgs): void {
  for (const { id } of context.previousIdentities) {
    enqueue.sendTo<PreviousIdentityRef>(id, { type: "previous.end" });
  }
}
