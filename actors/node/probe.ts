/**
 * Asks one node whether it is healthy: over a connection of its own, verified like every other.
 *
 * ```
 * starting ──▶ dialling ──▶ asking ──▶ leaving ──▶ done
 *     │            │           │          ▲
 *     └── failed, refused, unhealthy, or the time is over
 * ```
 *
 * Where the address names another PeerID than the node has, the probe dials again without the PeerID, because PeerIDs change
 * with their keys. The outcome names the peer that answered.
 *
 * The time runs from the machine's start to the answer. The machine keeps established and refused peers of the transport's
 * facts for their names; only the answers decide the outcome.
 *
 * @module
 */
import { type ActorRefFrom, assign, type CallbackActorLogic, enqueueActions, sendTo, setup } from "xstate";
import type { MemberRole } from "../../pki/certificate.ts";
import type { Refusal } from "../../pki/refusal.ts";
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
} from "../../transport/port.ts";
import { withoutPeer } from "../../transport/core/addresses.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";

/** The input of a probe. */
export interface ProbeInput {
  /** Makes identifiers, and measures the answer. */
  readonly ports: Pick<Ports, "uuid" | "now">;
  /** The real transport, or a simulated one. */
  readonly logic: CallbackActorLogic<TransportAsk, TransportInput>;
  /** Its input: no addresses to listen on, no gateways. */
  readonly transport: TransportInput;
  /** The node to ask: a multiaddr, with or without `/p2p/…`. */
  readonly address: AddressText;
  /** The time limit in milliseconds. */
  readonly timeoutMs: number;
}

/** The peer at the address, by its certificate. */
export interface Probed {
  readonly peer: PeerText;
  readonly name?: string | undefined;
  readonly role?: MemberRole | undefined;
}

/** The peer that answered, and the time from request to answer in milliseconds. */
export interface Answered extends Probed {
  readonly latencyMs: number;
}

/** The outcome of a probe. */
export type ProbeOutcome =
  | (Answered & {
    readonly type: "healthy";
    /** The level at which a worker confines its executors. Only our workers send it. */
    readonly cell?: string | undefined;
  })
  /** The node answered that it is not ready. */
  | (Answered & { readonly type: "unhealthy" })
  /** No connection: this node refused the peer (whose certificate is then known), the peer refused, or no peer is there. */
  | { readonly type: "refused"; readonly refusal: Refusal; readonly presented: Probed | undefined }
  /** The peer was connected and did not answer. */
  | (Probed & { readonly type: "unanswered"; readonly error: TransportError })
  | { readonly type: "timed-out"; readonly during: string; readonly timeoutMs: number }
  | { readonly type: "failed"; readonly error: TransportError };

interface ProbeContext extends ProbeInput {
  /** The PeerID that the dial led to. */
  readonly peer: PeerText | undefined;
  /** Established peers: the node itself, and a relay before it. */
  readonly established: readonly Probed[];
  /** The peer that was refused here last. */
  readonly presented: Probed | undefined;
  readonly askedAt: number;
  readonly outcome: ProbeOutcome | undefined;
  /** The address to dial: the given one, or that without its PeerID. */
  readonly target: AddressText;
  readonly actor: ActorRefFrom<ProbeInput["logic"]>;
}

/** The node that was dialled, by its certificate. */
function probedOf({ peer: dialled, established }: ProbeContext): Probed {
  const peer = present(dialled, "the PeerID that was dialled");
  return established.find((known) => known.peer === peer) ?? { peer };
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
    start: sendTo(({ context }) => context.actor, ({ self }) => ({ type: "start", replyTo: self })),
    dial: sendTo(({ context }) => context.actor, ({ context, self }) => ({
      type: "dial",
      id: context.ports.uuid(),
      target: { address: context.target },
      replyTo: self,
    })),
    dialAddressAlone: assign({ target: ({ context }) => withoutPeer(context.address) }),
    ask: enqueueActions(({ context, self, enqueue }) => {
      enqueue.assign({ askedAt: context.ports.now() });
      enqueue.sendTo(context.actor, {
        type: "request",
        id: context.ports.uuid(),
        peer: present(context.peer, "the PeerID that was dialled"),
        protocol: health,
        message: {},
        timeoutMs: context.timeoutMs,
        replyTo: self,
      });
    }),
    takePeer: assign((_, { peer }: { readonly peer: PeerText }) => ({ peer })),
    noteEstablished: assign({
      established: (
        { context },
        { peer, identity: { name, role } }: Extract<TransportFact, { type: "peer.established" }>,
      ) => [
        ...context.established,
        { peer, name, role },
      ],
    }),
    notePresented: assign({
      presented: (_, { peer }: Extract<TransportFact, { type: "peer.refused" }>) =>
        peer && { peer: peer.id, name: peer.name },
    }),
    drain: sendTo(({ context }) => context.actor, ({ self }) => ({ type: "drain", replyTo: self })),
  },
  delays: { timeoutMs: ({ context }) => context.timeoutMs, leaveTimeoutMs },
}).createMachine({
  id: "probe",
  context: ({ input, spawn }) => ({
    ...input,
    peer: undefined,
    established: [],
    presented: undefined,
    askedAt: 0,
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
              during: peer === undefined ? "the handshake" : "its answer",
              timeoutMs,
            }),
          },
        },
      },
      on: {
        "peer.established": {
          actions: { type: "noteEstablished", params: ({ event }) => event },
        },
        "peer.refused": {
          actions: { type: "notePresented", params: ({ event }) => event },
        },
        "transport.failed": {
          target: "leaving",
          actions: { type: "setOutcome", params: ({ event }) => ({ type: "failed", error: event.error }) },
        },
      },
      states: {
        starting: {
          entry: "start",
          on: {
            listening: "dialling",
          },
        },
        dialling: {
          entry: "dial",
          on: {
            "dial.done": { target: "asking", actions: { type: "takePeer", params: ({ event }) => event } },
            "dial.failed": [
              {
                guard: { type: "isRekeyed", params: ({ event }) => ({ refusal: event.refusal }) },
                target: "dialling",
                reenter: true,
                actions: "dialAddressAlone",
              },
              {
                target: "#probe.leaving",
                actions: {
                  type: "setOutcome",
                  params: ({ context: { presented }, event: { refusal } }) => ({ type: "refused", refusal, presented }),
                },
              },
            ],
          },
        },
        asking: {
          entry: "ask",
          on: {
            response: {
              target: "#probe.leaving",
              actions: {
                type: "setOutcome",
                params: ({ context, event: { message } }) => {
                  const { healthy, cell } = message as { readonly healthy?: unknown; readonly cell?: string };
                  const answered = { ...probedOf(context), latencyMs: context.ports.now() - context.askedAt };
                  return healthy === true ? { type: "healthy", ...answered, cell } : { type: "unhealthy", ...answered };
                },
              },
            },
            "request.failed": {
              target: "#probe.leaving",
              actions: {
                type: "setOutcome",
                params: ({ context, event: { error } }) => ({ type: "unanswered", ...probedOf(context), error }),
              },
            },
          },
        },
      },
    },
    leaving: {
      entry: "drain",
      after: { leaveTimeoutMs: "done" },
      on: { drained: "done" },
    },
    done: { type: "final" },
  },
});
