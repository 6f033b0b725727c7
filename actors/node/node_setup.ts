/**
 * Input, context, events, guards, delays and children of the node's machine.
 *
 * @module
 */
import { Data } from "effect";
import { type ActorRefFrom, type CallbackActorLogic, fromCallback, setup } from "xstate";
import type { ConnectedMember } from "../../pki/member.ts";
import type { RefusalCode } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { Rule } from "../../transport/authorization/authorize.ts";
import type {
  AddressText,
  CountersAnswer,
  DialAnswer,
  DrainAnswer,
  MakeGate,
  NodeIdentity,
  RetireAnswer,
  StartAnswer,
  TransportAsk,
  TransportCounters,
  TransportFact,
  TransportInput,
} from "../../transport/port.ts";
import type { AuditSink } from "../trust/audit.ts";
import type { RoleConfig } from "../config/config.ts";
import type { dataMachine } from "../data/data.ts";
import { witnessMachine } from "../witness/witness.ts";
import type { WitnessPort } from "../witness/witness_port.ts";
import { crlExchangeMachine } from "../crl_exchange/exchange.ts";
import { previousIdentityMachine } from "./previous_identity.ts";
import type { gatewayMachine } from "../gateway/gateway.ts";
import { gatewayLinkMachine } from "./gateway_link.ts";
import type { AskHttps } from "../enrolment/ask_https.ts";
import { enrolmentMachine } from "../enrolment/enrolment.ts";
import { partnerBundleMachine } from "../partners/partner_bundle.ts";
import { type IdentityEvent, identityMachine } from "../trust/identity.ts";
import type { EventsOf } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import type { OwnCertificateRefused } from "../trust/own_certificate.ts";
import { refusalLogMachine } from "../trust/refusal_log.ts";
import type { RoleOutcome, TransportRef } from "../runtime/role.ts";
import type { Evaluator } from "../training/evaluator.ts";
import type { schedulerMachine } from "../scheduler/scheduler.ts";
import { type TrustEvent, trustStoreMachine } from "../trust/trust_store.ts";
import type { workerMachine } from "../worker/worker.ts";
import type { PeerNames } from "./peer_names.ts";
import { type RuleSource, ruleStoreMachine } from "./rule_store.ts";

/** Key, certificate and trust are loaded within this, in milliseconds. */
export const loadMs = 30_000;
/** The transport listens within this, in milliseconds. */
export const listenMs = 30_000;
/** The transport of a previous identity stops listening within this, in milliseconds. */
export const retireMs = 5_000;
/** A transport that takes over the addresses tries again after this, in milliseconds: the system may free them late. */
export const relistenMs = 200;
/** A node waits this long for revocation lists from its `crl_urls` before it goes on without, in milliseconds. */
export const fetchMs = 10_000;
/** Tries to take over the addresses. */
export const relistensMax = 25;
/** Previous identities that may have running work; with one more, the oldest ends at once. */
export const previousIdentitiesMax = 4;
/** How often a node that cannot join reports what it waits for, in milliseconds. */
export const joiningReportMs = 10_000;
/** Counters are answered within this, in milliseconds. */
export const countersMs = 1_000;
/** The transport closes its connections within this, in milliseconds; the role has the rest of the drain's time. */
export const closeMs = 5_000;

/** The input of a node. */
export interface NodeInput {
  /** The configuration of its role. */
  readonly config: RoleConfig;
  /** Clock, randomness, log and Effects of its actors. */
  readonly ports: Ports;
  /** The transport: `transportLogic`, or a simulated one. */
  readonly transport: CallbackActorLogic<TransportAsk, TransportInput>;
  /** From `makeGateFactory` (`gate.ts`). */
  readonly makeGate: MakeGate;
  /** Where refusals are recorded; `logAlone` keeps them in the log only. */
  readonly audit: AuditSink;
  /** The node's audit log and the states of others' logs; the node takes no part in witnessing where undefined. */
  readonly witness?: WitnessPort | undefined;
  /** Where the operator's rules are read again; those of `config` hold for good where undefined. */
  readonly ruleSource?: RuleSource | undefined;
  /** How the CA is asked where the configuration has `[membership]`; the node renews nothing where undefined. */
  readonly askCa?: AskHttps | undefined;
  /** Measures the model of a scheduler's job after each round; a job with `evaluation` fails without one. */
  readonly evaluator?: Evaluator | undefined;
  /** Names of trainings that the operator of a scheduler is submitting now. */
  readonly receiving?: ReadonlySet<string> | undefined;
}

/** The node could not start, or could not continue. */
export class NodeFailed extends Data.TaggedError("NodeFailed")<{
  readonly stage: "load" | "listen" | "transport" | "role" | "revoked" | "internal";
  readonly detail: string;
  /** The typed error that led to it, such as `LoadError`. */
  readonly cause: unknown;
}> {
  /** The failure in one line. */
  override get message(): string {
    return this.cause instanceof Error ? this.cause.message : `Cannot go on (${this.stage}): ${this.detail}`;
  }
}

/** How a node ended: the machine's output. `failed` makes the program exit with a code other than 0. */
export type NodeExit =
  | { readonly type: "stopped"; readonly reason: string }
  | { readonly type: "failed"; readonly error: NodeFailed };

/** The context of a node. */
export interface NodeContext extends NodeInput {
  readonly names: PeerNames;
  /** The ports that children report through: every line about a peer carries its name. */
  readonly namedPorts: Ports;
  readonly snapshot: TrustSnapshot | undefined;
  readonly identity: NodeIdentity | undefined;
  readonly actor: ActorRefFrom<NodeInput["transport"]> | undefined;
  /** The identity that the transport presents; the node rekeys when `identity` has another key. */
  readonly activeIdentity: NodeIdentity | undefined;
  /** Identities so far, each with its own transport. {@linkcode roleIdOf} it names the role of the active one. */
  readonly identityCount: number;
  /** Previous identities with running work, oldest first. */
  readonly previousIdentities: readonly PreviousIdentity[];
  /** The answer of the previous transport: where to listen, and the peers whose dial under the new PeerID has not ended. */
  readonly handover: RetireAnswer | undefined;
  readonly relistens: number;
  /** The operator's rules on acts of peers. */
  readonly rules: readonly Rule[];
  readonly refusalLog: ActorRefFrom<typeof refusalLogMachine>;
  /** Established members. */
  readonly members: readonly ConnectedMember[];
  /** Linked gateways, by configured address. */
  readonly linked: readonly AddressText[];
  /** Whether the node's own trust has accepted its own certificate. The node does not listen before. */
  readonly isOwnAccepted: boolean;
  /** The last refusal while the node loads: why it fails where no pair is accepted in time. */
  readonly ownRefusal: OwnCertificateRefused | undefined;
  /** Whether the node waits for revocation lists no longer. It dials no peer before. */
  readonly areListsFetched: boolean;
  readonly isReachable: boolean;
  readonly isDhtReady: boolean;
  readonly isReady: boolean;
  readonly counters: TransportCounters | undefined;
  /** The level at which a worker confines its executors. The node tells it to peers that probe. */
  readonly cell: string | undefined;
  readonly exit: NodeExit;
}

/** A previous identity's actor, its transport, and the role that it may still have. */
export interface PreviousIdentity {
  readonly id: string;
  readonly roleId: string | undefined;
  readonly transport: ActorRefFrom<NodeInput["transport"]>;
}

/** The id of an identity's role among the node's children. */
export function roleIdOf(identityCount: number): string {
  return identityCount <= 1 ? "role" : `role/${identityCount}`;
}

/** Whether the role of a previous identity still has work. */
export function hasPreviousRole({ previousIdentities }: Pick<NodeContext, "previousIdentities">): boolean {
  return previousIdentities.some(({ roleId }) => roleId !== undefined);
}

/** A node's roles that have an actor: the active identity's, then those of previous ones that still have work. */
export function rolesOf(
  { identityCount, previousIdentities }: Pick<NodeContext, "identityCount" | "previousIdentities">,
  children: Readonly<Record<string, unknown>>,
): readonly unknown[] {
  const ids = [roleIdOf(identityCount), ...previousIdentities.flatMap(({ roleId }) => roleId ?? [])];
  return ids.flatMap((id) => children[id] ?? []);
}

/** xstate's own: a child reached its end. The type names the child. Of the node's children only roles have an output. */
export interface ChildEnded {
  readonly type: `xstate.done.actor.${string}`;
  readonly output?: RoleOutcome;
}

/** Own trust refuses the node's own pair. */
export type OwnRefused = Extract<IdentityEvent, { type: "identity.refused" }>;

/** Whether the child of this id reached its end. */
export function isDone({ type }: ChildEnded, id: string | undefined): boolean {
  return id !== undefined && type === `xstate.done.actor.${id}`;
}

/** The commands that a node takes from outside: end, and read the files again (SIGHUP). */
export type NodeCommand =
  | { readonly type: "drain"; readonly reason: string }
  /** The operator's rules were loaded again. */
  | { readonly type: "rules.changed"; readonly rules: readonly Rule[] }
  | { readonly type: "trust.reload" };

/** Refusals for want of a list in force. */
const listCodes: ReadonlySet<RefusalCode> = new Set([
  "revocation-unknown",
  "crl-expired",
  "crl-rollback",
  "crl-not-yet-valid",
]);

/** In place of a role's machine that was not provided. */
const notProvided = fromCallback(() => {
  throw new Error("Cannot start the role: its machine was not provided");
});

const actors = {
  trustStore: trustStoreMachine,
  identity: identityMachine,
  ruleStore: ruleStoreMachine,
  crlExchange: crlExchangeMachine,
  witness: witnessMachine,
  refusalLog: refusalLogMachine,
  enrolment: enrolmentMachine,
  partnerBundle: partnerBundleMachine,
  gatewayLink: gatewayLinkMachine,
  previousIdentity: previousIdentityMachine,
  gateway: notProvided as unknown as typeof gatewayMachine,
  scheduler: notProvided as unknown as typeof schedulerMachine,
  worker: notProvided as unknown as typeof workerMachine,
  data: notProvided as unknown as typeof dataMachine,
};

/** The events that a node receives. */
export type NodeEvent =
  | NodeCommand
  | TrustEvent
  | IdentityEvent
  | EventsOf<typeof actors>
  | TransportFact
  | StartAnswer
  | CountersAnswer
  | DrainAnswer
  | RetireAnswer
  | DialAnswer
  /** There is no role that has to drain. */
  | { readonly type: "role.over" }
  | ChildEnded
  /** xstate's own: a child died of an error. */
  | { readonly type: `xstate.error.actor.${string}`; readonly error: unknown };

/** Whether the node gets and renews its certificate by itself. */
export function isEnrolling({ config, askCa }: Pick<NodeInput, "config" | "askCa">): boolean {
  return config.membership !== undefined && askCa !== undefined;
}

/** The active identity's transport. */
export function transportOf({ actor }: NodeContext): ActorRefFrom<NodeInput["transport"]> & TransportRef {
  if (actor === undefined) throw new Error("Cannot use transport: it was not made");
  return actor;
}

/** What a joining node still lacks: a gateway, an address at which others can reach it, its place in the DHT. */
export function lacking({ config, linked, isReachable, isDhtReady }: NodeContext): readonly string[] {
  if (config.role === "gateway" || config.gatewayAddresses.length === 0) return [];
  const lacks = {
    "a gateway": linked.length === 0,
    "an address that others reach": !isReachable && config.relayCircuit,
    "its place in the DHT": !isDhtReady,
  };
  return Object.entries(lacks).filter(([, isLacking]) => isLacking).map(([what]) => what);
}

/** Types, guards, delays and children of the node's machine. `node.ts` adds the actions. */
export const nodeSetup = setup({
  types: {
    input: {} as NodeInput,
    context: {} as NodeContext,
    events: {} as NodeEvent,
    output: {} as NodeExit,
  },
  actors,
  guards: {
    isLoaded: ({ context }) =>
      context.snapshot !== undefined && context.identity !== undefined && context.isOwnAccepted &&
      context.areListsFetched,
    areListsPending: ({ context }) => !context.areListsFetched,
    isEnrolling: ({ context }) => isEnrolling(context),
    /** The node waits for a pair, as long as it takes: its CA issues one, or an operator puts one there. */
    isAwaitingPair: ({ context }) => isEnrolling(context) && context.identity === undefined,
    /** Revocation lists are missing or out, which says nothing of the certificate: a node with `[membership]` fetches them. */
    isListAwaited: ({ context }, { error }: { error: OwnCertificateRefused }) =>
      context.config.membership !== undefined && listCodes.has(error.code),
    isJoined: ({ context }) => lacking(context).length === 0,
    /** The key was replaced: the transport presents a PeerID that is no longer the node's. */
    isIdentityReplaced: ({ context: { identity, activeIdentity } }) =>
      activeIdentity !== undefined && identity?.peer !== activeIdentity.peer,
    isTakingOver: ({ context }) => context.identityCount > 1 && context.relistens < relistensMax,
    isPreviousIdentity: ({ context }, ended: ChildEnded) =>
      context.previousIdentities.some(({ id }) => isDone(ended, id)),
    /** The role of a previous identity ended because it drained, not because its work is done. */
    isPreviousRole: ({ context }, ended: ChildEnded) =>
      context.previousIdentities.some(({ roleId }) => isDone(ended, roleId)) && ended.output?.type === "drained",
    isActiveRole: ({ context }, ended: ChildEnded) => isDone(ended, roleIdOf(context.identityCount)),
    /** The active identity's role, or that of a previous identity whose end is the node's. */
    isRole: ({ context }, ended: ChildEnded) =>
      isDone(ended, roleIdOf(context.identityCount)) ||
      context.previousIdentities.some(({ roleId }) => isDone(ended, roleId)),
    hasNoPreviousRole: ({ context }) => !hasPreviousRole(context),
    hasPreviousIdentities: ({ context }) => context.previousIdentities.length > 0,
    isUnstarted: ({ context }) => context.actor === undefined,
    isFailed: ({ context }) => context.exit.type === "failed",
  },
  delays: {
    loadMs,
    listenMs,
    joiningReportMs,
    countersMs,
    closeMs,
    retireMs,
    relistenMs,
    fetchMs,
    drainMs: ({ context }) => context.config.drainTimeoutMs,
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type NodeArgs = Omit<Parameters<Parameters<typeof nodeSetup.enqueueActions>[0]>[0], "event">;
