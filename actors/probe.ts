/**
 * Asks one node whether it is healthy: over a connection of its own, verified like every other.
 *
 * ```
 * starting ──▶ dialling ──▶ asking ──▶ leaving ──▶ done
 *     │            │           │          ▲
 *     └── failed, refused, unhealthy, or the time is over
 * ```
 *
 * An address that names another PeerID than is there is asked again without it, since PeerIDs change with their keys; who
 * answered is in the outcome.
 *
 * The time runs from the machine's start to the answer. Every state ignores the transport's facts: the answers tell all.
 *
 * @module
 */
import { type ActorRefFrom, assign, type CallbackActorLogic, sendTo, setup } from "xstate";
import type { Refusal } from "../pki/refusal.ts";
import type {
  AddressText,
  DialAnswer,
  DrainAnswer,
  PeerText,
  RequestAnswer,
  StartAnswer,
  TransportAsk,
  TransportError,
  TransportFact,
  TransportInput,
} from "../transport/port.ts";
import { withoutPeer } from "../transport/connections.ts";
import type { Ports } from "./ports.ts";

/** What a probe is born with. */
export interface ProbeInput {
  /** Makes identifiers. */
  readonly ports: Pick<Ports, "uuid">;
  /** What speaks for this node: the real transport, or a simulated one. */
  readonly logic: CallbackActorLogic<TransportAsk, TransportInput>;
  /** Listening nowhere, joining nothing. */
  readonly transport: TransportInput;
  /** Whom to ask: a multiaddr, with or without `/p2p/…`. */
  readonly address: AddressText;
  /** How long it may take, in milliseconds. */
  readonly timeoutMs: number;
}

/** What came of it. */
export type ProbeOutcome =
  | {
    readonly type: "healthy";
    readonly peer: PeerText;
    /** The level at which a worker of ours confines its executors. */
    readonly cell?: string | undefined;
  }
  /** The node is there and says that it is not ready. */
  | { readonly type: "unhealthy"; readonly peer: PeerText }
  /** No connection: refused here, refused there, or nobody there. */
  | { readonly type: "refused"; readonly refusal: Refusal }
  /** A connection, but no answer. */
  | { readonly type: "unanswered"; readonly peer: PeerText; readonly error: TransportError }
  | { readonly type: "timed-out"; readonly during: string; readonly timeoutMs: number }
  | { readonly type: "failed"; readonly error: TransportError };

interface ProbeContext extends ProbeInput {
  readonly peer: PeerText;
  readonly outcome: ProbeOutcome | undefined;
  /** What is dialled: the address, or that without its PeerID. */
  readonly target: AddressText;
  readonly actor: ActorRefFrom<ProbeInput["logic"]>;
}

const health = "/hypha-health/0.0.1" as const;

/** How long the transport may take to close its connection afterwards, in milliseconds. */
export const leaveTimeoutMs = 1_000;

/** One question to one node. Its output is a {@linkcode ProbeOutcome}. */
export const probeMachine = setup({
  types: {
    input: {} as ProbeInput,
    context: {} as ProbeContext,
    events: {} as StartAnswer | DialAnswer | RequestAnswer | DrainAnswer | TransportFact,
    output: {} as ProbeOutcome,
  },
  guards: {
    isRekeyed: ({ context }, { refusal }: { readonly refusal: Refusal }) =>
      refusal.code === "peer-id-mismatch" && context.target !== withoutPeer(context.address),
  },
  actions: {
    setOutcome: assign((_, outcome: ProbeOutcome) => ({ outcome })),
  },
  delays: { timeoutMs: ({ context }) => context.timeoutMs, leaveTimeoutMs },
}).createMachine({
  id: "probe",
  context: ({ input, spawn }) => ({
    ...input,
    peer: "",
    outcome: undefined,
    target: input.address,
    actor: spawn(input.logic, { input: input.transport }),
  }),
  initial: "probing",
  output: ({ context: { outcome, timeoutMs } }) => outcome ?? { type: "timed-out", during: "its answer", timeoutMs },
  states: {
    probing: {
      initial: "starting",
      after: {
        timeoutMs: {
          target: "leaving",
          actions: {
            type: "setOutcome",
            params: ({ context: { peer, timeoutMs } }) => ({
              type: "timed-out",
              during: peer === "" ? "the handshake" : "its answer",
              timeoutMs,
            }),
          },
        },
      },
      on: {
        "transport.failed": {
          target: "leaving",
          actions: { type: "setOutcome", params: ({ event }) => ({ type: "failed", error: event.error }) },
        },
      },
      states: {
        starting: {
          entry: sendTo(({ context }) => context.actor, ({ self }) => ({ type: "start", replyTo: self })),
          on: {
            listening: "dialling",
          },
        },
        dialling: {
          entry: sendTo(
            ({ context }) => context.actor,
            ({ context, self }) => ({
              type: "dial",
              id: context.ports.uuid(),
              target: { address: context.target },
              replyTo: self,
            }),
          ),
          on: {
            "dial.done": { target: "asking", actions: assign(({ event }) => ({ peer: event.peer })) },
            "dial.failed": [
              {
                guard: { type: "isRekeyed", params: ({ event }) => ({ refusal: event.refusal }) },
                target: "dialling",
                reenter: true,
                actions: assign({ target: ({ context }) => withoutPeer(context.address) }),
              },
              {
                target: "#probe.leaving",
                actions: { type: "setOutcome", params: ({ event }) => ({ type: "refused", refusal: event.refusal }) },
              },
            ],
          },
        },
        asking: {
          entry: sendTo(
            ({ context }) => context.actor,
            ({ context, self }) => ({
              type: "request",
              id: context.ports.uuid(),
              peer: context.peer,
              protocol: health,
              message: {},
              timeoutMs: context.timeoutMs,
              replyTo: self,
            }),
          ),
          on: {
            response: {
              target: "#probe.leaving",
              actions: {
                type: "setOutcome",
                params: ({ context: { peer }, event: { message } }) => {
                  const { healthy, cell } = message as { readonly healthy?: unknown; readonly cell?: string };
                  return healthy === true ? { type: "healthy", peer, cell } : { type: "unhealthy", peer };
                },
              },
            },
            "request.failed": {
              target: "#probe.leaving",
              actions: {
                type: "setOutcome",
                params: ({ context: { peer }, event: { error } }) => ({ type: "unanswered", peer, error }),
              },
            },
          },
        },
      },
    },
    leaving: {
      entry: sendTo(({ context }) => context.actor, ({ self }) => ({ type: "drain", replyTo: self })),
      after: { leaveTimeoutMs: "done" },
      on: { drained: "done" },
    },
    done: { type: "final" },
  },
});
