/**
 * What a node's machine is made of beside its states: input, context, events, guards, children, and its times.
 *
 * @module
 */
import { Data } from "effect";
import { type ActorRefFrom, type CallbackActorLogic, setup } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type {
  AddressText,
  CountersAnswer,
  DrainAnswer,
  MakeGate,
  NodeIdentity,
  PeerText,
  RetireAnswer,
  StartAnswer,
  TransportAsk,
  TransportCounters,
  TransportFact,
  TransportInput,
} from "../../transport/port.ts";
import type { AuditSink } from "../trust/audit.ts";
import type { RoleConfig } from "../config/config.ts";
import { dataMachine } from "../data/data.ts";
import { formerMachine } from "./former.ts";
import { gatewayMachine } from "../gateway/gateway.ts";
import { gatewayLinkMachine, type GatewayLinkSaid } from "./gateway_link.ts";
import { identityMachine, type IdentitySaid } from "../trust/identity.ts";
import type { Ports } from "../runtime/ports.ts";
import { refusalLedgerMachine } from "../trust/refusal_ledger.ts";
import type { RoleOutcome, TransportRef } from "../runtime/role.ts";
import type { Evaluator } from "../scheduler/evaluator.ts";
import { schedulerMachine } from "../scheduler/scheduler.ts";
import { type TrustSaid, trustStoreMachine } from "../trust/trust_store.ts";
import { workerMachine } from "../worker/worker.ts";
import type { PeerNames } from "./peer_names.ts";

/** Key, certificate and trust are loaded within this, in milliseconds. */
export const loadMs = 30_000;
/** The transport listens within this, in milliseconds. */
export const listenMs = 30_000;
/** The transport of a former key stops listening within this, in milliseconds. */
export const retireMs = 5_000;
/** A transport that takes the addresses over tries again after this, so often: the system may free them late. */
export const relistenMs = 200;
export const relistensMax = 25;
/** Former keys that may be at work beside the present one; the oldest ends at once where there is one more. */
export const formersMax = 4;
/** How often a node that can't join says what it waits for, in milliseconds. */
export const joiningReportMs = 10_000;
/** Counters are answered within this, in milliseconds. */
export const countersMs = 1_000;
/** The transport closes its connections within this, in milliseconds; the role has the rest of the drain's time. */
export const closeMs = 5_000;

/** What a node is born with. */
export interface NodeInput {
  /** The configuration of its role. */
  readonly config: RoleConfig;
  /** The world that its actors get. */
  readonly ports: Ports;
  /** What speaks for the node: `transportLogic`, or a simulated one. */
  readonly transport: CallbackActorLogic<TransportAsk, TransportInput>;
  /** From `makeGateFactory` (`gate.ts`). */
  readonly makeGate: MakeGate;
  /** Where refusals are recorded; `logAlone` keeps them in the log only. */
  readonly audit: AuditSink;
  /** Measures the model of a scheduler's job after each round; a job with `evaluation` fails without one. */
  readonly evaluator?: Evaluator | undefined;
}

/** The node could not start, or could not go on. */
export class NodeFailed extends Data.TaggedError("NodeFailed")<{
  readonly stage: "load" | "listen" | "transport" | "role" | "internal";
  readonly detail: string;
  /** The typed error that led to it, such as `LoadError`. */
  readonly cause: unknown;
}> {
  /** What happened, in one line. */
  override get message(): string {
    return this.cause instanceof Error ? this.cause.message : `Cannot go on (${this.stage}): ${this.detail}`;
  }
}

/** How a node ended: the machine's output. `failed` makes the program exit with a code other than 0. */
export type NodeExit =
  | { readonly type: "stopped"; readonly reason: string }
  | { readonly type: "failed"; readonly error: NodeFailed };

/** A node's state beside where it is. */
export interface NodeContext extends NodeInput {
  readonly names: PeerNames;
  /** The ports that children report through: every line about a peer carries its name. */
  readonly namedPorts: Ports;
  readonly snapshot: TrustSnapshot | undefined;
  readonly identity: NodeIdentity | undefined;
  readonly actor: ActorRefFrom<NodeInput["transport"]> | undefined;
  /** Whom the transport speaks as; another key than `identity`'s makes the node turn over. */
  readonly spoken: NodeIdentity | undefined;
  /** Transports so far. The role of the present one is called {@linkcode roleIdOf} it. */
  readonly turns: number;
  /** Former keys whose work goes on. Oldest first. */
  readonly formers: readonly FormerKey[];
  /** What the transport before left: where to listen, and whom to tell of the new PeerID. */
  readonly heritage: RetireAnswer | undefined;
  readonly relistens: number;
  readonly ledger: ActorRefFrom<typeof refusalLedgerMachine>;
  /** Who is established now. */
  readonly peers: readonly PeerText[];
  /** Gateways that are linked now, by configured address. */
  readonly linked: readonly AddressText[];
  /** Whether the node's own trust has accepted its own certificate: nothing is listened on before. */
  readonly isOwnAccepted: boolean;
  readonly isReachable: boolean;
  readonly isDhtReady: boolean;
  readonly isReady: boolean;
  readonly counters: TransportCounters | undefined;
  /** At which level a worker confines its executors: told to whoever probes. */
  readonly cell: string | undefined;
  readonly exit: NodeExit;
}

/** A former key's actor, and the role that it may still have. */
export interface FormerKey {
  readonly id: string;
  readonly roleId: string | undefined;
}

/** What the role of a turn is called among the node's children. */
export function roleIdOf(turns: number): string {
  return turns <= 1 ? "role" : `role/${turns}`;
}

/** Whether an event says that the child of this id reached its end. */
export function isDone({ type }: { readonly type: string }, id: string | undefined): boolean {
  return id !== undefined && type === `xstate.done.actor.${id}`;
}

/** What a node hears from outside: that it is to end, and that its files are to be read again (SIGHUP). */
export type NodeCommand =
  | { readonly type: "drain"; readonly reason: string }
  | { readonly type: "trust.reload" };

/** All that a node hears. */
export type NodeEvent =
  | NodeCommand
  | TrustSaid
  | IdentitySaid
  | GatewayLinkSaid
  | TransportFact
  | StartAnswer
  | CountersAnswer
  | DrainAnswer
  | RetireAnswer
  | { readonly type: "role.over"; readonly outcome: RoleOutcome }
  | { readonly type: "role.cell"; readonly level: string }
  /** xstate's own: a child reached its end, or died of an error. */
  | { readonly type: `xstate.done.actor.${string}`; readonly output?: unknown }
  | { readonly type: `xstate.error.actor.${string}`; readonly error: unknown };

/** The transport, once it was made. */
export function transportOf({ actor }: NodeContext): TransportRef {
  if (actor === undefined) throw new Error("Cannot use transport: it was not made");
  return actor;
}

/** What a joining node still lacks: a gateway, an address at which others reach it, its place in the DHT. */
export function lacking({ config, linked, isReachable, isDhtReady }: NodeContext): readonly string[] {
  if (config.role === "gateway" || config.gatewayAddresses.length === 0) return [];
  const lacks = {
    "a gateway": linked.length === 0,
    "an address that others reach": !isReachable && config.relayCircuit,
    "its place in the DHT": !isDhtReady,
  };
  return Object.entries(lacks).filter(([, isLacking]) => isLacking).map(([what]) => what);
}

/** Types, guards and children of the node's machine; actions are made from it. */
export const nodeSetup = setup({
  types: {
    input: {} as NodeInput,
    context: {} as NodeContext,
    events: {} as NodeEvent,
    output: {} as NodeExit,
  },
  actors: {
    trustStore: trustStoreMachine,
    identity: identityMachine,
    ledger: refusalLedgerMachine,
    gatewayLink: gatewayLinkMachine,
    former: formerMachine,
    gateway: gatewayMachine,
    scheduler: schedulerMachine,
    worker: workerMachine,
    data: dataMachine,
  },
  guards: {
    isLoaded: ({ context }) =>
      context.snapshot !== undefined && context.identity !== undefined && context.isOwnAccepted,
    isJoined: ({ context }) => lacking(context).length === 0,
    /** The key was replaced: the transport speaks for a PeerID that the node is no longer. */
    isOvertaken: ({ context: { identity, spoken } }) => spoken !== undefined && identity?.peer !== spoken.peer,
    isTurning: ({ context }) => context.turns > 1 && context.relistens < relistensMax,
    isFormer: ({ context, event }) => context.formers.some(({ id }) => isDone(event, id)),
    /** It was the role of a former key that ended, and not because its work is done. */
    isFormerRole: ({ context, event }) =>
      context.formers.some(({ roleId }) => isDone(event, roleId)) && "output" in event &&
      (event.output as RoleOutcome | undefined)?.type === "drained",
    /** The present role, or one of a former key whose end is the node's. */
    isRole: ({ context, event }) =>
      isDone(event, roleIdOf(context.turns)) || context.formers.some(({ roleId }) => isDone(event, roleId)),
    hasFormers: ({ context }) => context.formers.length > 0,
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
    drainMs: ({ context }) => context.config.drainTimeoutMs,
  },
});
