/**
 * Input, context, events and children of a witness.
 *
 * @module
 */
import { Effect } from "effect";
import { type ActorRef, setup, type Snapshot } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity, RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { AuditResponse, ProofAsked } from "../../transport/protocols/messages.ts";
import { bindKey, type KeyBinding } from "../audit/key_binding.ts";
import type { WitnessedHead } from "../audit/witnessed_log.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { ReceivedRequest, WaitingRequest } from "../runtime/requests.ts";
import type { TransportRef } from "../runtime/role.ts";
import type { WitnessBook } from "./book.ts";
import { auditCheckMachine } from "./check.ts";
import type { HeldLog } from "./held_head.ts";
import { type HeadStore, witnessEveryMs, type WitnessPort } from "./witness_port.ts";

/** Checks at once. */
export const checksMax = 8;
/** Requests for proofs that wait; with more, the next ones are answered `unavailable`. */
export const proofsWaitingMax = 64;
/** How often a period is looked at: nodes whose turn it is are asked, other witnesses are told what is new. */
const looksEach = 20;
/** The wait before what could not be read or stored is read or stored again, in milliseconds. */
const againMs = 10_000;

/** The input of a witness. */
export interface WitnessInput extends WitnessPort {
  readonly ports: Ports;
}

/** What a witness is told. */
export type WitnessCommand =
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  | { readonly type: "identity.changed"; readonly identity: NodeIdentity }
  /** The node has another transport: another key. */
  | { readonly type: "transport.changed"; readonly transport: TransportRef }
  | Extract<TransportFact, { type: "peer.established" | "peer.reconnected" | "peer.closed" }>
  | ReceivedRequest;

/** A witness as its node sees it. */
export type WitnessRef = ActorRef<Snapshot<unknown>, WitnessCommand>;

/** Its events to itself. */
export type OwnEvent =
  | { readonly type: "witness.told"; readonly witness: string; readonly answer: RequestAnswer }
  /** Checks may begin. */
  | { readonly type: "witness.next" };

/** A request for a proof that waits for its turn. */
interface WaitingProof extends WaitingRequest {
  readonly asked: ProofAsked;
}

export interface WitnessContext extends WitnessInput {
  readonly transport: TransportRef | undefined;
  readonly identity: NodeIdentity | undefined;
  readonly snapshot: TrustSnapshot | undefined;
  readonly book: WitnessBook;
  readonly waiting: readonly WaitingProof[];
  /** Origins of logs whose states are to be stored, or forgotten. */
  readonly unstored: ReadonlySet<string>;
  /** The states could not be read, or stored: that was reported. */
  readonly isUnstored: boolean;
  /** Looks since everything was told. */
  readonly looks: number;
  readonly bound: OwnBinding | undefined;
}

/** The newest state of the node's own log, and the binding of its key by an identity of this generation. */
interface OwnBinding {
  readonly generation: number;
  readonly newest: WitnessedHead;
  readonly binding: KeyBinding | undefined;
}

const promised = <A>(work: () => Promise<A>) =>
  Effect.tryPromise({ try: work, catch: (error) => error instanceof Error ? error : new Error(String(error)) });

const read = fromEffect(
  "read",
  ({ heads }: EffectInput & { readonly heads: HeadStore }) => promised(() => heads.read()),
);

/** What is stored. */
export interface StoreInput extends EffectInput, Pick<WitnessPort, "heads"> {
  readonly logs: readonly (readonly [origin: string, log: HeldLog | undefined])[];
}

/** What was stored, and why not everything was. */
export interface Stored {
  readonly logs: StoreInput["logs"];
  readonly failure: Error | undefined;
}

const store = fromEffect("store", ({ heads, logs }: StoreInput) =>
  Effect.map(
    Effect.partition(logs, (each) =>
      promised(async () => {
        const [origin, log] = each;
        await (log === undefined ? heads?.remove(origin) : heads?.write(log));
        return each;
      })),
    ([logs, [failure]]): Stored => ({ logs, failure }),
  ));

/** What is proven. */
export interface ProveInput extends EffectInput, Pick<WitnessPort, "log"> {
  readonly exchange: string;
  readonly newest: WitnessedHead;
  readonly binding: KeyBinding;
  readonly old: number;
  readonly size: number;
}

const prove = fromEffect("prove", ({ exchange, log, newest, binding, old, size }: ProveInput) =>
  Effect.map(
    promised(() => present(log, "the log").prove({ old, size })),
    (path): { readonly exchange: string; readonly message: AuditResponse } => {
      const head = { checkpoint: newest.note, ...binding };
      return { exchange, message: { Proof: { head, path } } };
    },
  ));

const actors = { read, store, prove, check: auditCheckMachine };

/** Types, guards, delays and children of a witness. */
export const witnessSetup = setup({
  types: {
    input: {} as WitnessInput,
    context: {} as WitnessContext,
    events: {} as WitnessCommand | OwnEvent | EventsOf<typeof actors>,
  },
  actors,
  guards: {
    isWitness: ({ context }) => context.heads !== undefined,
    isUnstored: ({ context }) => context.unstored.size > 0,
    isAllStored: (_, { failure }: Stored) => failure === undefined,
    isProofWaiting: ({ context }) => context.waiting.length > 0,
  },
  delays: {
    look: ({ context: { ports, everyMs = witnessEveryMs } }) => everyMs / looksEach * (0.9 + ports.random() / 5),
    again: againMs,
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type WitnessArgs = Omit<Parameters<Parameters<typeof witnessSetup.enqueueActions>[0]>[0], "event">;

/** Looks after which everything is told again. */
export const looksUntilRepeat = looksEach;

/** The binding of the node's own log to its certificate; undefined where there is none. */
export function ownBinding({ log, identity, bound }: WitnessContext): OwnBinding | undefined {
  const newest = log?.newest();
  if (newest === undefined || identity === undefined) return undefined;
  const { generation } = identity;
  const isBound = bound?.generation === generation && bound.newest.key === newest.key;
  return { generation, newest, binding: isBound ? bound.binding : bindKey(identity, newest.key) };
}
