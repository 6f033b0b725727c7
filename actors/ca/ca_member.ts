/**
 * A CA as a member of its network: it is linked with the gateways and announces its lists to them. Each list is on its way a moment
 * after the transaction that made it.
 *
 * ```
 *  choosing ─▶ awaiting (the CA's certificate) ─▶ preparing ─▶ running: resting ── 0.2 s ──▶ looking ─▶ resting
 *     │           ▲ └── failed ──▶ waiting ── 10 s ──▶ preparing         │
 *     ▼           └──────────────── another certificate ────────────────┘
 *    off (no gateways)
 * ```
 *
 * It looks at the register instead of being told: whatever makes a list, its transaction is all that counts.
 *
 * @module
 */
import { Effect } from "effect";
import { type ActorRefFrom, assign, type CallbackActorLogic, enqueueActions, setup, type SnapshotFrom } from "xstate";
import type {
  MakeGate,
  NodeIdentity,
  StartAnswer,
  TransportAsk,
  TransportFact,
  TransportInput,
} from "../../transport/port.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import { handshakeTimeoutMsDefault, rotationDefault } from "../config/defaults.ts";
import { crlExchangeMachine, type CrlExchangeRef } from "../crl_exchange/exchange.ts";
import { gatewayLinkMachine, type GatewayLinkRef } from "../node/gateway_link.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { witnessMachine, type WitnessRef } from "../witness/witness.ts";
import type { HeldLog } from "../witness/held_head.ts";
import type { WitnessPort } from "../witness/witness_port.ts";
import { makeIdentity } from "../trust/make_identity.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { type MemberLists, readMemberLists } from "./member_lists.ts";
import type { ServerIdentity } from "./own_certificate.ts";

/** How often the register is looked at, in milliseconds: a part of the two seconds that a revocation may take. */
export const registerLookMs = 200;
/** The time until what failed is tried again, in milliseconds. */
export const memberRetryMs = 10_000;

/** What a CA's member is made with. */
export interface CaMemberInput {
  readonly ports: Ports;
  readonly ca: CertificateAuthority;
  /** The CA's own certificate, of role `ca`; undefined while it has none. */
  readonly own: () => ServerIdentity | undefined;
  /** State directory of the member, with the lists that it announces. */
  readonly stateDir: string;
  readonly transport: CallbackActorLogic<TransportAsk, TransportInput>;
  readonly makeGate: MakeGate;
  /** The CA's audit log, and the states of other logs that it holds; it witnesses none where undefined. */
  readonly witness?: WitnessPort | undefined;
}

/** What a member knows. */
export interface CaMemberContext extends CaMemberInput {
  readonly identity: NodeIdentity | undefined;
  readonly lists: MemberLists | undefined;
  /** The certificate that the transport shows. */
  readonly shown: ServerIdentity | undefined;
  readonly actor: ActorRefFrom<CaMemberInput["transport"]> | undefined;
}

/** The input of its Effects. */
export type Work = EffectInput & Pick<CaMemberContext, "ports" | "ca" | "stateDir" | "lists">;

const readLists = ({ ca, stateDir, lists: before, ports }: Work) =>
  readMemberLists({ ca, stateDir, before, at: new Date(ports.now()) });

const prepare = fromEffect("prepare", (work: Work & Pick<CaMemberInput, "own">) =>
  Effect.gen(function* () {
    const shown = present(work.own(), "the CA's certificate");
    const identity = yield* Effect.fromResult(makeIdentity(shown, { at: new Date(work.ports.now()) }));
    return { shown, identity, lists: yield* readLists(work) };
  }));

const look = fromEffect("look", (work: Work) => readLists(work));

const actors = {
  prepare,
  look,
  exchange: crlExchangeMachine,
  witness: witnessMachine,
  gatewayLink: gatewayLinkMachine,
};

/** What a member receives. */
export type CaMemberEvent = EventsOf<typeof actors> | TransportFact | StartAnswer;

const memberSetup = setup({
  types: { input: {} as CaMemberInput, context: {} as CaMemberContext, events: {} as CaMemberEvent },
  actors,
  guards: {
    hasGateways: ({ context }) => context.ca.gateways.length > 0,
    hasOwn: ({ context }) => context.own() !== undefined,
    isRenewed: ({ context: { own, shown } }) => own() !== shown,
  },
  delays: {
    again: registerLookMs,
    retry: memberRetryMs,
  },
});
type MemberArgs = Omit<Parameters<Parameters<typeof memberSetup.enqueueActions>[0]>[0], "event">;

function transportInput({ ports, ca, identity, lists, makeGate }: CaMemberContext): TransportInput {
  return {
    role: "ca",
    identity: present(identity, "the identity"),
    snapshot: present(lists, "the lists").snapshot,
    makeGate,
    listenAddresses: [],
    externalAddresses: [],
    gatewayAddresses: ca.gateways,
    excludeCidr: [],
    rotation: rotationDefault,
    relay: "off",
    keyExchange: "hybrid",
    handshakeTimeoutMs: handshakeTimeoutMsDefault,
    limits: defaultLimits,
    now: ports.now,
    random: ports.random,
    uuid: ports.uuid,
  };
}

function start({ context, self, enqueue }: MemberArgs): void {
  const { ports, stateDir, actor, lists, witness, identity } = context;
  const transport = present(actor, "the transport");
  const { snapshot } = present(lists, "the lists");
  if (witness !== undefined) {
    enqueue.spawnChild("witness", { id: "witness", input: { ports, ...witness } });
    enqueue.sendTo<WitnessRef>("witness", { type: "transport.changed", transport });
    enqueue.sendTo<WitnessRef>("witness", { type: "trust.changed", snapshot });
    enqueue.sendTo<WitnessRef>("witness", { type: "identity.changed", identity: present(identity, "the identity") });
  }
  enqueue.spawnChild("exchange", { id: "exchange", input: { parent: self, ports, stateDir, urls: [] } });
  enqueue.sendTo<CrlExchangeRef>("exchange", { type: "transport.changed", transport });
  enqueue.sendTo<CrlExchangeRef>("exchange", { type: "trust.changed", snapshot });
  enqueue.sendTo(transport, { type: "start", replyTo: self });
}

function join({ context: { ca, ports, actor, witness }, self, enqueue }: MemberArgs): void {
  const transport = present(actor, "the transport");
  enqueue.sendTo(transport, { type: "serve", protocol: "/hypha-crl/1" });
  if (witness !== undefined) enqueue.sendTo(transport, { type: "serve", protocol: "/hypha-audit/1" });
  for (const [index, address] of ca.gateways.entries()) {
    const input = { address, transport, ports, parent: self, handshakeTimeoutMs: handshakeTimeoutMsDefault };
    enqueue.spawnChild("gatewayLink", { id: `link/${index}`, input });
  }
}

function leave({ context: { ca, actor, witness }, enqueue }: MemberArgs): void {
  for (const index of ca.gateways.keys()) enqueue.stopChild(`link/${index}`);
  enqueue.stopChild("exchange");
  if (witness !== undefined) enqueue.stopChild("witness");
  if (actor !== undefined) enqueue.stopChild(actor);
  enqueue.assign({ actor: undefined });
}

type MemberFact = Extract<
  TransportFact,
  { type: "peer.established" | "peer.reconnected" | "peer.closed" | "request.received" }
>;

function passFact({ context: { ca, witness }, enqueue }: MemberArgs, fact: MemberFact): void {
  const isAudit = fact.type === "request.received" && fact.protocol === "/hypha-audit/1";
  if (!isAudit) enqueue.sendTo<CrlExchangeRef>("exchange", fact);
  if (witness !== undefined && (isAudit || fact.type !== "request.received")) {
    enqueue.sendTo<WitnessRef>("witness", fact);
  }
  if (fact.type !== "peer.closed") return;
  const { peer, reason } = fact;
  for (const index of ca.gateways.keys()) {
    enqueue.sendTo<GatewayLinkRef>(`link/${index}`, { type: "peer.closed", peer, reason });
  }
}

/** Other lists: for the peers of this member, and for its own checks of them. */
function takeLists({ context, enqueue }: MemberArgs, { lists }: { readonly lists: MemberLists }): void {
  if (lists === context.lists) return;
  enqueue.assign({ lists });
  const changed = { type: "trust.changed", snapshot: lists.snapshot } as const;
  enqueue.sendTo(present(context.actor, "the transport"), changed);
  enqueue.sendTo<CrlExchangeRef>("exchange", changed);
  if (context.witness !== undefined) enqueue.sendTo<WitnessRef>("witness", changed);
}

const member = memberSetup.extend({
  actions: {
    take: assign((_, prepared: Pick<CaMemberContext, "identity" | "shown" | "lists">) => prepared),
    makeTransport: assign({
      actor: ({ context, spawn }) => spawn(context.transport, { input: transportInput(context) }),
    }),
    start: enqueueActions(start),
    join: enqueueActions(join),
    leave: enqueueActions(leave),
    passFact: enqueueActions(passFact),
    takeLists: enqueueActions(takeLists),
    report: ({ context: { ports } }, { error }: { readonly error: Error }) =>
      ports.report({
        level: "error",
        event: "ca.member",
        message: `Cannot announce lists to the gateways: ${error.message}`,
      }),
  },
});

const failed = { type: "report", params: ({ event }: { readonly event: { readonly error: Error } }) => event } as const;
const work = ({ context: { ports, ca, own, stateDir, lists } }: { readonly context: CaMemberContext }) => ({
  ports,
  ca,
  own,
  stateDir,
  lists,
});

/** The member as a machine. */
export const caMemberMachine = member.createMachine({
  id: "caMember",
  context: ({ input }) => ({ ...input, identity: undefined, shown: undefined, lists: undefined, actor: undefined }),
  initial: "choosing",
  states: {
    choosing: { always: [{ guard: "hasGateways", target: "awaiting" }, { target: "off" }] },
    off: {},
    awaiting: { after: { again: [{ guard: "hasOwn", target: "preparing" }, { target: "awaiting", reenter: true }] } },
    preparing: {
      invoke: { src: "prepare", input: work },
      on: {
        "effect.done.prepare": { target: "running", actions: { type: "take", params: ({ event }) => event.value } },
        "effect.failed.prepare": { target: "waiting", actions: failed },
      },
    },
    waiting: { after: { retry: "preparing" } },
    running: {
      entry: ["makeTransport", "start"],
      exit: "leave",
      on: {
        listening: { actions: "join" },
        "transport.failed": { target: "waiting", actions: failed },
        "peer.established": { actions: { type: "passFact", params: ({ event }) => event } },
        "peer.reconnected": { actions: { type: "passFact", params: ({ event }) => event } },
        "peer.closed": { actions: { type: "passFact", params: ({ event }) => event } },
        "request.received": { actions: { type: "passFact", params: ({ event }) => event } },
      },
      initial: "resting",
      states: {
        resting: {
          always: { guard: "isRenewed", target: "#caMember.awaiting" },
          after: { again: "looking" },
        },
        looking: {
          invoke: { src: "look", input: work },
          on: {
            "effect.done.look": {
              target: "resting",
              actions: { type: "takeLists", params: ({ event }) => ({ lists: event.value }) },
            },
            // The register says why, where it is used.
            "effect.failed.look": "resting",
          },
        },
      },
    },
  },
});

/** The logs that a member's witness holds states of; none while there is no witness. */
export function witnessedLogs(member: Pick<ActorRefFrom<typeof caMemberMachine>, "getSnapshot">): readonly HeldLog[] {
  const witness = member.getSnapshot().children["witness"];
  if (witness === undefined) return [];
  const { book } = (witness.getSnapshot() as SnapshotFrom<typeof witnessMachine>).context;
  return [...book.logs.values()];
}
