/**
 * The actions of the node's machine, by name. The longer ones have files of their own.
 *
 * @module
 */
import { assign, enqueueActions, sendTo } from "xstate";
import type { TransportCounters, TransportFact } from "../../transport/port.ts";
import type { RoleOutcome } from "../runtime/role.ts";
import {
  drainRole,
  noteFetched,
  passRules,
  passTrust,
  passUnchanged,
  reload,
  serveCrls,
  serveWitnesses,
  startExchange,
  startLinks,
  startPartners,
  startRole,
  startRoleLate,
  startTransport,
  startWitness,
  stopLinks,
  stopTransport,
  takeIdentity,
  transportInput,
  watchRules,
} from "./children.ts";
import {
  isRunning,
  noteClosed,
  noteEstablished,
  passToExchange,
  passToPrevious,
  passToRole,
  passToWitness,
  reportSummary,
  routeRequest,
  routeStream,
} from "./facts.ts";
import { reportAwaited, startEnrolment } from "./enrolling.ts";
import type { GatewayLinkEvent } from "./gateway_link.ts";
import {
  type ChildEnded,
  type NodeArgs,
  type NodeContext,
  NodeFailed,
  nodeSetup,
  type OwnRefused,
  roleIdOf,
  transportOf,
} from "./node_setup.ts";
import type { RoleRef } from "./previous_identity.ts";
import {
  announce,
  endPreviousIdentities,
  noteAnnounced,
  notePreviousGone,
  notePreviousRole,
  retire,
  takeHandover,
} from "./rekeying.ts";
import {
  reportDraining,
  reportJoining,
  reportListening,
  reportMalformed,
  reportOwnRefused,
  reportReady,
} from "./reports.ts";

/** Why the node fails. */
export interface Failure {
  readonly stage: NodeFailed["stage"];
  /** The error that led to it; undefined where a deadline did. */
  readonly cause?: unknown;
  readonly detail: string;
}

/** How the node ends when its role ended so. The first failure counts. */
function exitAfter({ exit }: NodeContext, outcome: RoleOutcome | undefined): NodeContext["exit"] {
  if (exit.type === "failed" || outcome === undefined || outcome.type === "drained") return exit;
  if (outcome.type === "finished") return { type: "stopped", reason: "its work is done" };
  return { type: "failed", error: new NodeFailed({ stage: "role", cause: undefined, detail: outcome.reason }) };
}

/** A gateway was found: the role may have to repeat its announcements there. */
function noteLinked(
  { context, self, enqueue }: NodeArgs,
  { address }: Extract<GatewayLinkEvent, { type: "link.up" }>,
): void {
  enqueue.assign({ linked: [...context.linked, address] });
  const role = roleIdOf(context.identityCount);
  if (isRunning(self.getSnapshot(), role)) enqueue.sendTo<RoleRef>(role, { type: "rejoined" });
}

/** Writes the refusal log's summaries and asks the transport for its counters. */
function count({ context, self, enqueue }: NodeArgs): void {
  enqueue.sendTo(context.refusalLog, { type: "refusals.flush" });
  if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "counters", replyTo: self });
}

/** Closes all connections. */
function closeTransport({ context, self, enqueue }: NodeArgs): void {
  if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "drain", replyTo: self });
}

/** The node's setup with its actions. */
export const node = nodeSetup.extend({
  actions: {
    makeTransport: assign(({ context, spawn }) => ({
      actor: spawn(context.transport, { input: transportInput(context) }),
      activeIdentity: context.identity,
      identityCount: context.relistens > 0 ? context.identityCount : context.identityCount + 1,
    })),
    startTransport: enqueueActions(startTransport),
    stopTransport: enqueueActions(stopTransport),
    serveHealth: sendTo(({ context }) => transportOf(context), { type: "serve", protocol: "/hypha-health/0.0.1" }),
    countListening: assign({ relistens: ({ context }) => context.relistens + 1 }),
    clearListening: assign({ relistens: 0 }),
    startLinks: enqueueActions(startLinks),
    stopLinks: enqueueActions(stopLinks),
    noteLinked: enqueueActions(noteLinked),
    noteUnlinked: assign({
      linked: ({ context }, { address }: { readonly address: string }) =>
        context.linked.filter((other) => other !== address),
    }),
    startRole: enqueueActions(startRole),
    startRoleLate: enqueueActions(startRoleLate),
    drainRole: enqueueActions(drainRole),
    noteRoleDone: assign({ exit: ({ context }, { output }: ChildEnded) => exitAfter(context, output) }),
    noteCell: assign({ cell: (_, { level }: { readonly level: string }) => level }),
    passTrust: enqueueActions(passTrust),
    passRules: enqueueActions(passRules),
    watchRules: enqueueActions(watchRules),
    startEnrolment: enqueueActions(startEnrolment),
    startPartners: enqueueActions(startPartners),
    passUnchanged: enqueueActions(passUnchanged),
    takeIdentity: enqueueActions(takeIdentity),
    noteOwnAccepted: assign({ isOwnAccepted: true }),
    noteOwnRefused: assign({ ownRefusal: (_, { error }: OwnRefused) => error }),
    reload: enqueueActions(reload),
    retire: enqueueActions(retire),
    announce: enqueueActions(announce),
    noteAnnounced: enqueueActions(noteAnnounced),
    takeHandover: enqueueActions(takeHandover),
    notePreviousRole: enqueueActions(notePreviousRole),
    notePreviousGone: enqueueActions(notePreviousGone),
    endPreviousIdentities: enqueueActions(endPreviousIdentities),
    noteEstablished: enqueueActions(noteEstablished),
    noteClosed: enqueueActions(noteClosed),
    passToRole: enqueueActions(passToRole),
    passToPrevious: enqueueActions(passToPrevious),
    passToExchange: enqueueActions(passToExchange),
    startExchange: enqueueActions(startExchange),
    serveCrls: enqueueActions(serveCrls),
    passToWitness: enqueueActions(passToWitness),
    startWitness: enqueueActions(startWitness),
    serveWitnesses: enqueueActions(serveWitnesses),
    noteFetched: enqueueActions(noteFetched),
    passRefusal: sendTo(
      ({ context }) => context.refusalLog,
      (_, fact: Extract<TransportFact, { type: "peer.refused" | "act.refused" }>) => fact,
    ),
    routeRequest: enqueueActions(routeRequest),
    routeStream: enqueueActions(routeStream),
    noteReachable: assign({
      isReachable: (_, { addresses }: { readonly addresses: readonly string[] }) => addresses.length > 0,
    }),
    noteDhtReady: assign({ isDhtReady: true }),
    noteReady: assign({ isReady: true }),
    noteUnready: assign({ isReady: false }),
    /** The first failure counts. */
    fail: assign({
      exit: ({ context: { exit } }, { stage, cause, detail }: Failure) =>
        exit.type === "failed" ? exit : { type: "failed", error: new NodeFailed({ stage, cause, detail }) },
    }),
    noteDrain: assign({
      exit: ({ context: { exit } }, { reason }: { readonly reason: string }) =>
        exit.type === "failed" ? exit : { type: "stopped", reason },
    }),
    count: enqueueActions(count),
    takeCounters: assign({
      counters: (_, { counters }: { readonly counters: TransportCounters }) => counters,
    }),
    closeTransport: enqueueActions(closeTransport),
    reportAwaited,
    reportOwnRefused,
    reportListening,
    reportMalformed,
    reportJoining,
    reportReady,
    reportDraining,
    reportSummary: ({ context }) => reportSummary(context),
  },
});
