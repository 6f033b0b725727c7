/**
 * A node's supervisor: loads key and trust, listens, joins the network, starts the role, and drains in order.
 *
 * ```
 *  loading ──▶ listening ──▶ joining ──▶ ready ──▶ draining ──▶ stopped
 *     │            │            │ ⟲ dials   │         (role ─▶ counting ─▶ closing)
 *     │            │            │           │             │
 *     └────────────┴────────────┴───────────┴──▶ failed ◀─┘
 *
 *  joining, ready ── another key ──▶ rekeying ──▶ listening (again, with a transport of its own)
 *  drain, from every state on the way ──▶ draining
 * ```
 *
 * A replaced key gives the node another PeerID. `rekeying` hands transport and role over to an actor of the previous
 * identity (`previous_identity.ts`), and takes over its addresses. The new role starts after the previous one has ended
 * where both need the same things: a worker's resources and directory, a scheduler's job. A drain waits for the roles of all
 * identities.
 *
 * Key and trust, the operator's rules, the refusal log, and a link to each gateway are children of their own. A changed trust snapshot goes to
 * the transport at once, in every state. Facts are passed on to the role; health is answered here, and only a ready node is
 * healthy. Revocation lists are exchanged by a child (`actors/crl_exchange/`), audit logs witnessed by another (`actors/witness/`). Losing all gateways does not end readiness: the links dial again for as long as the node runs. `stopped` and
 * `failed` ignore all events; the output tells how the node ended.
 *
 * The roles' machines are provided: all of them by `node.ts`, a program's own by `node_of_role.ts`.
 *
 * @module
 */
import { makeRules } from "../../transport/authorization/rules.ts";
import { type Failure, node } from "./actions.ts";
import { hintingPorts } from "./ca_hints.ts";
import { identityInput } from "./enrolling.ts";
import { crlUrlsOf, trustInputOf } from "./inputs.ts";
import type { ChildEnded, NodeContext, NodeFailed, OwnRefused } from "./node_setup.ts";
import { makePeerNames } from "./peer_names.ts";

/** The node fails at a stage, of the error that the event carries. */
function failAt<Stage extends NodeFailed["stage"]>(stage: Stage) {
  return {
    type: "fail",
    params: ({ event: { error } }: { readonly event: { readonly error: unknown } }): Failure => ({
      stage,
      cause: error,
      detail: error instanceof Error ? error.message : String(error),
    }),
  } as const;
}

/** Loading took too long: own trust refuses the pair, or key and trust are not there. */
const failLate = {
  type: "fail",
  params: ({ context: { ownRefusal } }: { readonly context: NodeContext }): Failure => ({
    stage: "load",
    cause: ownRefusal,
    detail: ownRefusal?.message ?? "key and trust were not loaded in time",
  }),
} as const;

/** The end of a role is the end of its node. */
const noteRoleEnd = [
  { type: "notePreviousRole", params: ended },
  { type: "noteRoleDone", params: ended },
] as const;

/** While the node loads, own trust refuses its pair, which may still change. */
const noteRefusal = [
  { type: "noteOwnRefused", params: refused },
  { type: "reportOwnRefused", params: refused },
] as const;

function refused({ event }: { readonly event: OwnRefused }): OwnRefused {
  return event;
}

function ended({ event }: { readonly event: ChildEnded }): ChildEnded {
  return event;
}

/** The machine of a node that has no role. Its output is a {@linkcode NodeExit}. */
export const rolelessNode = node.createMachine({
  id: "node",
  context: ({ input, spawn }) => {
    const names = makePeerNames();
    const ports = hintingPorts(input.ports, input.config.membership);
    return {
      ...input,
      ports,
      names,
      namedPorts: names.naming(ports),
      snapshot: undefined,
      identity: undefined,
      actor: undefined,
      activeIdentity: undefined,
      identityCount: 0,
      previousIdentities: [],
      handover: undefined,
      relistens: 0,
      refusalLog: spawn("refusalLog", { id: "refusalLog", input: { ports, sink: input.audit } }),
      rules: makeRules(input.config.authorization?.rules ?? []),
      members: [],
      linked: [],
      isReachable: false,
      isDhtReady: false,
      isReady: false,
      counters: undefined,
      cell: undefined,
      isOwnAccepted: false,
      ownRefusal: undefined,
      areListsFetched: crlUrlsOf(input.config).length === 0,
      exit: { type: "stopped", reason: "it was stopped" },
    };
  },
  output: ({ context }) => context.exit,
  initial: "running",
  states: {
    running: {
      entry: ["watchRules", "startExchange", "startWitness", "startEnrolment", "startPartners"],
      invoke: [
        {
          id: "trustStore",
          src: "trustStore",
          input: ({ context: { ports, config } }) => ({ ports, ...trustInputOf(config) }),
        },
        {
          id: "identity",
          src: "identity",
          input: ({ context }) => identityInput(context),
        },
      ],
      on: {
        drain: { target: ".draining", actions: { type: "noteDrain", params: ({ event }) => event } },
        "rules.changed": { actions: { type: "passRules", params: ({ event }) => event } },
        "trust.reload": { actions: "reload" },
        "trust.loaded": { actions: { type: "passTrust", params: ({ event }) => event } },
        "trust.changed": { actions: { type: "passTrust", params: ({ event }) => event } },
        "crls.fetched": { actions: "noteFetched" },
        "crls.lost": { actions: { type: "passToExchange", params: ({ event }) => event } },
        "trust.failed": { target: "failed", actions: failAt("load") },
        "identity.loaded": { actions: { type: "takeIdentity", params: ({ event }) => event } },
        "identity.unchanged": { actions: "passUnchanged" },
        "identity.failed": { target: "failed", actions: failAt("load") },
        "identity.awaited": { actions: { type: "reportAwaited", params: ({ event }) => event } },
        "identity.accepted": { actions: "noteOwnAccepted" },
        "identity.refused": { actions: { type: "reportOwnRefused", params: ({ event }) => event } },
        "identity.revoked": {
          target: ".draining",
          actions: [{ type: "reportOwnRefused", params: ({ event }) => event }, failAt("revoked")],
        },
        "peer.established": {
          actions: [
            { type: "noteEstablished", params: ({ event }) => event },
            { type: "passToExchange", params: ({ event }) => event },
            { type: "passToWitness", params: ({ event }) => event },
            { type: "passToRole", params: ({ event }) => event },
            { type: "passToPrevious", params: ({ event }) => event },
          ],
        },
        "peer.closed": {
          actions: [
            { type: "noteClosed", params: ({ event }) => event },
            { type: "passToExchange", params: ({ event }) => event },
            { type: "passToWitness", params: ({ event }) => event },
            { type: "passToRole", params: ({ event }) => event },
          ],
        },
        "peer.reconnected": {
          actions: [
            { type: "passToExchange", params: ({ event }) => event },
            { type: "passToWitness", params: ({ event }) => event },
          ],
        },
        "peer.refused": { actions: { type: "passRefusal", params: ({ event }) => event } },
        "request.received": { actions: { type: "routeRequest", params: ({ event }) => event } },
        "act.refused": { actions: { type: "passRefusal", params: ({ event }) => event } },
        "authorization.changed": { actions: { type: "passToRole", params: ({ event }) => event } },
        "request.malformed": { actions: { type: "reportMalformed", params: ({ event }) => event } },
        "stream.received": { actions: { type: "routeStream", params: ({ event }) => event } },
        published: { actions: { type: "passToRole", params: ({ event }) => event } },
        reachable: {
          actions: [
            { type: "noteReachable", params: ({ event }) => event },
            { type: "passToRole", params: ({ event }) => event },
          ],
        },
        "reservation.lost": { actions: { type: "passToRole", params: ({ event }) => event } },
        "dht.ready": { actions: ["noteDhtReady", { type: "passToRole", params: ({ event }) => event }] },
        "link.up": { actions: { type: "noteLinked", params: ({ event }) => event } },
        "link.down": { actions: { type: "noteUnlinked", params: ({ event }) => event } },
        "dial.done": { actions: { type: "noteAnnounced", params: ({ event }) => event } },
        "dial.failed": { actions: { type: "noteAnnounced", params: ({ event }) => event } },
        "role.cell": { actions: { type: "noteCell", params: ({ event }) => event } },
        "transport.failed": { target: ".draining", actions: failAt("transport") },
        "xstate.done.actor.*": [
          {
            guard: { type: "isPreviousIdentity", params: ({ event }) => event },
            actions: [{ type: "notePreviousGone", params: ({ event }) => event }, "startRoleLate"],
          },
          {
            guard: { type: "isPreviousRole", params: ({ event }) => event },
            actions: [{ type: "notePreviousRole", params: ({ event }) => event }, "startRoleLate"],
          },
          { guard: { type: "isRole", params: ({ event }) => event }, target: ".draining", actions: noteRoleEnd },
        ],
        // The node does not continue without a child that died of an error.
        "xstate.error.actor.*": { target: ".draining", actions: failAt("internal") },
      },
      initial: "loading",
      states: {
        loading: {
          always: { guard: "isLoaded", target: "listening" },
          after: {
            loadMs: [
              { guard: "isAwaitingPair", target: "loading", reenter: true },
              { target: "#node.failed", actions: failLate },
            ],
            fetchMs: { actions: "noteFetched" },
          },
          on: {
            drain: { target: "#node.stopped", actions: { type: "noteDrain", params: ({ event }) => event } },
            "identity.refused": [
              // By lists that are out, perhaps: those that are being fetched count first.
              { guard: "areListsPending", actions: noteRefusal },
              {
                guard: { type: "isListAwaited", params: ({ event }) => event },
                actions: ["noteOwnAccepted", { type: "reportOwnRefused", params: ({ event }) => event }],
              },
              // Trust and pair are renewed together, and read one after the other.
              { guard: "isEnrolling", actions: noteRefusal },
              { target: "#node.failed", actions: failAt("load") },
            ],
            "identity.revoked": { target: "#node.failed", actions: failAt("revoked") },
          },
        },
        listening: {
          entry: ["makeTransport", "startTransport"],
          on: {
            listening: {
              target: "joining",
              actions: ["clearListening", { type: "reportListening", params: ({ event }) => event }],
            },
            "transport.failed": [
              {
                guard: "isTakingOver",
                target: "relistening",
                actions: ["countListening", "stopTransport"],
              },
              { target: "#node.failed", actions: failAt("listen") },
            ],
          },
          after: {
            listenMs: {
              target: "#node.failed",
              actions: { type: "fail", params: { stage: "listen", detail: "the transport did not start in time" } },
            },
          },
        },
        relistening: { after: { relistenMs: "listening" } },
        rekeying: {
          entry: ["stopLinks", "retire"],
          on: {
            retired: { target: "listening", actions: { type: "takeHandover", params: ({ event }) => event } },
            // Of the transport that retires: the next one dials these peers.
            "dial.done": {},
            "dial.failed": {},
          },
          after: {
            retireMs: {
              target: "draining",
              actions: { type: "fail", params: { stage: "transport", detail: "it did not stop listening" } },
            },
          },
        },
        joining: {
          entry: ["serveHealth", "serveCrls", "serveWitnesses", "startLinks", "announce"],
          always: [{ guard: "isIdentityReplaced", target: "rekeying" }, { guard: "isJoined", target: "ready" }],
          initial: "waiting",
          states: {
            waiting: { after: { joiningReportMs: { target: "waiting", reenter: true, actions: "reportJoining" } } },
          },
        },
        ready: {
          entry: ["noteReady", "reportReady", "startRole"],
          exit: "noteUnready",
          always: { guard: "isIdentityReplaced", target: "rekeying" },
        },
        draining: {
          entry: ["reportDraining", "stopLinks", "endPreviousIdentities"],
          // The node ends, whatever fails now.
          on: {
            drain: {},
            "identity.revoked": {},
            "transport.failed": { actions: failAt("transport") },
            "xstate.error.actor.*": { actions: failAt("internal") },
            "xstate.done.actor.*": [
              {
                guard: { type: "isPreviousIdentity", params: ({ event }) => event },
                actions: { type: "notePreviousGone", params: ({ event }) => event },
              },
              { guard: { type: "isRole", params: ({ event }) => event }, actions: noteRoleEnd },
            ],
          },
          initial: "role",
          states: {
            role: {
              entry: "drainRole",
              on: { "xstate.error.actor.*": { target: "counting", actions: failAt("internal") } },
              after: { drainMs: "counting" },
              initial: "active",
              states: {
                active: {
                  on: {
                    "xstate.done.actor.*": {
                      guard: { type: "isActiveRole", params: ({ event }) => event },
                      target: "previous",
                      actions: noteRoleEnd,
                    },
                    "role.over": "previous",
                  },
                },
                /** Roles of previous identities have the rest of the drain's time. */
                previous: {
                  always: { guard: "hasNoPreviousRole", target: "#node.running.draining.counting" },
                },
              },
            },
            counting: {
              entry: "count",
              on: {
                counters: { target: "closing", actions: { type: "takeCounters", params: ({ event }) => event } },
              },
              always: { guard: "isUnstarted", target: "left" },
              after: { countersMs: "closing" },
            },
            closing: {
              entry: "closeTransport",
              exit: "reportSummary",
              on: { drained: "parting" },
              after: { closeMs: "parting" },
            },
            /** Previous identities end within the same times. */
            parting: {
              always: [{ guard: "hasPreviousIdentities", target: "waiting" }, { target: "left" }],
            },
            waiting: {
              on: {
                "xstate.done.actor.*": {
                  guard: { type: "isPreviousIdentity", params: ({ event }) => event },
                  target: "parting",
                  actions: { type: "notePreviousGone", params: ({ event }) => event },
                },
              },
              after: { closeMs: "left" },
            },
            left: {
              always: [{ guard: "isFailed", target: "#node.failed" }, { target: "#node.stopped" }],
            },
          },
        },
      },
    },
    stopped: { type: "final" },
    failed: { type: "final" },
  },
});
