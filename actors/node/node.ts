/**
 * A node's supervisor: loads key and trust, listens, joins the network, starts the role, and takes leave in order.
 *
 * ```
 *  loading ──▶ listening ──▶ joining ──▶ ready ──▶ draining ──▶ stopped
 *     │            │            │ ⟲ dials   │         (role ─▶ counting ─▶ closing)
 *     │            │            │           │             │
 *     └────────────┴────────────┴───────────┴──▶ failed ◀─┘
 *
 *  joining, ready ── another key ──▶ turning ──▶ listening (again, with a transport of its own)
 *  drain, from every state on the way ──▶ draining
 * ```
 *
 * A replaced key makes the node another PeerID. `turning` hands transport and role over to an actor of the former key
 * (`former.ts`), and takes its addresses over. A new role begins once the role before is over, where the two would want the
 * same things: a worker's resources and directory, a scheduler's job.
 *
 * Key and trust, the refusal ledger, and a link to each gateway live beside the states. A changed trust snapshot goes to the
 * transport at once, in every state. Facts go on to the role; health is answered here: healthy is only who is ready. Losing all
 * gateways doesn't end readiness: the links dial again for as long as the node runs. `stopped` and `failed` ignore everything; the
 * output says how it ended.
 *
 * @module
 */
import { assign } from "xstate";
import type { PeerText } from "../../transport/port.ts";
import { signerOf } from "../data/grant.ts";
import { forward, isRunning, noteClosed, noteEstablished, reportSummary, routeRequest, routeStream } from "./facts.ts";
import { policyOf, transportInputOf } from "./inputs.ts";
import { NodeFailed, nodeSetup, roleIdOf, transportOf } from "./node_setup.ts";
import { announce, endFormers, noteFormerGone, noteFormerRole, retire } from "./turning.ts";
import { makePeerNames } from "./peer_names.ts";
import {
  reportDraining,
  reportJoining,
  reportListening,
  reportMalformed,
  reportOwnRefused,
  reportReady,
} from "./reports.ts";

export { type NodeCommand, type NodeExit, NodeFailed, type NodeInput } from "./node_setup.ts";

const detailOf = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause);

/** The node failed, by the error that the event carries. */
const failAt = (stage: NodeFailed["stage"]) =>
  nodeSetup.assign({
    exit: ({ context, event }) => {
      if (context.exit.type === "failed") return context.exit;
      const cause = "error" in event ? event.error : undefined;
      return { type: "failed", error: new NodeFailed({ stage, cause, detail: detailOf(cause ?? event.type) }) };
    },
  });

const failLate = (stage: NodeFailed["stage"], detail: string) =>
  nodeSetup.assign({ exit: { type: "failed", error: new NodeFailed({ stage, cause: undefined, detail }) } });

/** Why the node ends, unless it failed before. */
const noteDrain = nodeSetup.assign({
  exit: ({ context, event }) =>
    context.exit.type === "failed" || event.type !== "drain" ? context.exit : { type: "stopped", reason: event.reason },
});

const spawnTransport = nodeSetup.assign({
  actor: ({ context, spawn }) => {
    const { config, ports, identity, snapshot, makeGate, heritage } = context;
    if (identity === undefined || snapshot === undefined) throw new Error("Cannot listen: nothing was loaded");
    return spawn(context.transport, {
      input: transportInputOf(config, {
        ports,
        identity,
        snapshot,
        makeGate,
        listenAddresses: heritage?.listenAddresses,
      }),
    });
  },
  spoken: ({ context }) => context.identity,
  turns: ({ context }) => context.relistens > 0 ? context.turns : context.turns + 1,
});

const spawnLinks = nodeSetup.enqueueActions(({ context, enqueue }) => {
  for (const [index, address] of context.config.gatewayAddresses.entries()) {
    enqueue.spawnChild("gatewayLink", {
      id: `link/${index}`,
      input: { address, transport: transportOf(context), ports: context.namedPorts },
    });
  }
});

const stopLinks = nodeSetup.enqueueActions(({ context, enqueue }) => {
  for (const index of context.config.gatewayAddresses.keys()) enqueue.stopChild(`link/${index}`);
});

/** Roles that want nothing that a former one of the same node still has. */
const besideFormer: ReadonlySet<string> = new Set(["gateway", "data"]);

const spawnRole = nodeSetup.enqueueActions(({ context, self: node, enqueue }) => {
  const { config } = context;
  const id = roleIdOf(context.turns);
  if (isRunning(node.getSnapshot(), id)) return;
  if (!besideFormer.has(config.role) && context.formers.some(({ roleId }) => roleId !== undefined)) return;
  const self: PeerText = context.identity?.peer ?? "";
  const shared = { ports: context.namedPorts, transport: transportOf(context), self, peers: context.peers };
  if (config.role === "gateway") enqueue.spawnChild("gateway", { id, input: { ...shared, config } });
  else if (config.role === "scheduler") {
    const sign = context.identity === undefined ? undefined : signerOf(context.identity);
    enqueue.spawnChild("scheduler", { id, input: { ...shared, config, sign, evaluator: context.evaluator } });
  } else if (config.role === "worker") enqueue.spawnChild("worker", { id, input: { ...shared, config } });
  else enqueue.spawnChild("data", { id, input: { ...shared, config } });
});

const countListening = nodeSetup.assign({ relistens: ({ context }) => context.relistens + 1 });
const restListening = nodeSetup.assign({ relistens: 0 });
const takeHeritage = nodeSetup.assign({
  heritage: ({ context, event }) => event.type === "retired" ? event : context.heritage,
});

/** A transport that could not listen. */
const stopTransport = nodeSetup.enqueueActions(({ context, enqueue }) => {
  if (context.actor !== undefined) enqueue.stopChild(context.actor);
});

/** The role of a former key made room. */
const spawnRoleLate = nodeSetup.enqueueActions(({ context, enqueue }) => {
  if (context.isReady) enqueue(spawnRole);
});

/** How the role ended is how the node ends. */
const noteRoleDone = nodeSetup.assign({
  exit: ({ context, event }) => {
    const outcome = "output" in event ? (event as { readonly output?: unknown }).output : undefined;
    const role = outcome as { readonly type: string; readonly reason?: string } | undefined;
    if (context.exit.type === "failed" || role === undefined) return context.exit;
    return role.type === "failed"
      ? {
        type: "failed",
        error: new NodeFailed({ stage: "role", cause: undefined, detail: role.reason ?? "its role failed" }),
      }
      : role.type === "finished"
      ? { type: "stopped", reason: "its work is done" }
      : context.exit;
  },
});

/** New trust reaches the transport inside the same event: the clock to the closed connections runs. */
const passTrust = nodeSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "trust.changed" && event.type !== "trust.loaded") return;
  const { snapshot } = event;
  enqueue.assign({ snapshot });
  enqueue.sendTo("identity", { type: "trust.changed", snapshot });
  if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "trust.changed", snapshot });
  for (const { id } of context.formers) enqueue.sendTo(id, { type: "trust.changed", snapshot });
});

/** The pair was loaded: for the first time, or anew. */
const takeIdentity = nodeSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "identity.loaded") return;
  const { identity } = event;
  enqueue.assign({ identity });
  enqueue(() => context.names.remember(identity.peer, identity.name));
  if (context.snapshot !== undefined) {
    enqueue.sendTo("identity", { type: "trust.changed", snapshot: context.snapshot });
  }
  // Another key is another PeerID, which wants a transport of its own: `turning` sees to it.
  if (context.actor !== undefined && identity.peer === context.spoken?.peer) {
    enqueue.sendTo(context.actor, { type: "identity.changed", identity });
  }
});

/** The machine of a node. Its output says how it ended ({@linkcode NodeExit}). */
export const nodeMachine = nodeSetup.createMachine({
  id: "node",
  context: ({ input, spawn }) => {
    const names = makePeerNames();
    return {
      ...input,
      names,
      namedPorts: names.naming(input.ports),
      snapshot: undefined,
      identity: undefined,
      actor: undefined,
      spoken: undefined,
      turns: 0,
      formers: [],
      heritage: undefined,
      relistens: 0,
      ledger: spawn("ledger", { id: "ledger", input: { ports: input.ports, sink: input.audit } }),
      peers: [],
      linked: [],
      isReachable: false,
      isDhtReady: false,
      isReady: false,
      counters: undefined,
      cell: undefined,
      isOwnAccepted: false,
      exit: { type: "stopped", reason: "it was stopped" },
    };
  },
  output: ({ context }) => context.exit,
  initial: "running",
  states: {
    running: {
      invoke: [
        {
          id: "trustStore",
          src: "trustStore",
          input: ({ context: { ports, config } }) => ({
            ports,
            trustPem: config.trustPem,
            crlsPem: config.crlsPem,
            domains: config.trustDomains,
            policy: policyOf(config),
            stateDir: config.stateDir,
          }),
        },
        {
          id: "identity",
          src: "identity",
          input: ({ context: { ports, config } }) => ({ ports, certPem: config.certPem, keyPem: config.keyPem }),
        },
      ],
      on: {
        drain: { target: ".draining", actions: noteDrain },
        "trust.reload": {
          actions: nodeSetup.enqueueActions(({ self, enqueue }) => {
            if (isRunning(self.getSnapshot(), "trustStore")) enqueue.sendTo("trustStore", { type: "trust.reload" });
            if (isRunning(self.getSnapshot(), "identity")) enqueue.sendTo("identity", { type: "identity.reload" });
          }),
        },
        "trust.loaded": { actions: passTrust },
        "trust.changed": { actions: passTrust },
        "trust.failed": { target: "failed", actions: failAt("load") },
        "identity.loaded": { actions: takeIdentity },
        "identity.failed": { target: "failed", actions: failAt("load") },
        "identity.accepted": { actions: assign({ isOwnAccepted: true }) },
        "identity.refused": { actions: reportOwnRefused },
        "peer.established": { actions: [noteEstablished, forward] },
        "peer.closed": { actions: [noteClosed, forward] },
        "peer.refused": { actions: nodeSetup.sendTo(({ context }) => context.ledger, ({ event }) => event as never) },
        "request.received": { actions: routeRequest },
        "request.malformed": { actions: reportMalformed },
        "stream.received": { actions: routeStream },
        published: { actions: forward },
        reachable: {
          actions: [assign({ isReachable: ({ event }) => event.addresses.length > 0 }), forward],
        },
        "reservation.lost": { actions: forward },
        "dht.ready": { actions: [assign({ isDhtReady: true }), forward] },
        "link.up": {
          actions: nodeSetup.enqueueActions(({ context, event, self, enqueue }) => {
            if (event.type !== "link.up") return;
            enqueue.assign({ linked: [...context.linked, event.address] });
            const role = roleIdOf(context.turns);
            if (isRunning(self.getSnapshot(), role)) enqueue.sendTo(role, { type: "rejoined" });
          }),
        },
        "link.down": {
          actions: assign({
            linked: ({ context, event }) => context.linked.filter((address) => address !== event.address),
          }),
        },
        "role.cell": { actions: assign({ cell: ({ event }) => event.level }) },
        "transport.failed": { target: ".draining", actions: failAt("transport") },
        "xstate.done.actor.*": [
          { guard: "isFormer", actions: noteFormerGone },
          {
            guard: "isFormerRole",
            actions: [noteFormerRole, spawnRoleLate],
          },
          {
            guard: "isRole",
            target: ".draining",
            actions: [noteFormerRole, noteRoleDone],
          },
        ],
        // A child that died of an error: whatever it was, the node doesn't go on without it.
        "xstate.error.actor.*": { target: ".draining", actions: failAt("internal") },
      },
      initial: "loading",
      states: {
        loading: {
          always: { guard: "isLoaded", target: "listening" },
          after: {
            loadMs: { target: "#node.failed", actions: failLate("load", "key and trust were not loaded in time") },
          },
          on: {
            drain: { target: "#node.stopped", actions: noteDrain },
            "identity.refused": { target: "#node.failed", actions: failAt("load") },
          },
        },
        listening: {
          entry: [
            spawnTransport,
            nodeSetup.enqueueActions(({ context, self, enqueue }) =>
              enqueue.sendTo(transportOf(context), { type: "start", replyTo: self })
            ),
          ],
          on: {
            listening: { target: "joining", actions: [restListening, reportListening] },
            "transport.failed": [
              {
                guard: "isTurning",
                target: "relistening",
                actions: [
                  countListening,
                  stopTransport,
                ],
              },
              { target: "#node.failed", actions: failAt("listen") },
            ],
          },
          after: {
            listenMs: { target: "#node.failed", actions: failLate("listen", "the transport did not start in time") },
          },
        },
        relistening: { after: { relistenMs: "listening" } },
        turning: {
          entry: [stopLinks, retire],
          on: { retired: { target: "listening", actions: takeHeritage } },
          after: { retireMs: { target: "draining", actions: failLate("transport", "it did not stop listening") } },
        },
        joining: {
          entry: [
            nodeSetup.sendTo(({ context }) => transportOf(context), { type: "serve", protocol: "/hypha-health/0.0.1" }),
            spawnLinks,
            announce,
          ],
          always: [{ guard: "isOvertaken", target: "turning" }, { guard: "isJoined", target: "ready" }],
          initial: "waiting",
          states: {
            waiting: { after: { joiningReportMs: { target: "waiting", reenter: true, actions: reportJoining } } },
          },
        },
        ready: {
          entry: [assign({ isReady: true }), reportReady, spawnRole],
          exit: assign({ isReady: false }),
          always: { guard: "isOvertaken", target: "turning" },
        },
        draining: {
          entry: [reportDraining, stopLinks, endFormers],
          // Nothing that goes wrong now changes that the node ends.
          on: {
            drain: {},
            "transport.failed": { actions: failAt("transport") },
            "xstate.error.actor.*": { actions: failAt("internal") },
          },
          initial: "role",
          states: {
            role: {
              entry: nodeSetup.enqueueActions(({ context, self, enqueue }) => {
                const role = roleIdOf(context.turns);
                if (isRunning(self.getSnapshot(), role)) enqueue.sendTo(role, { type: "role.drain" });
                else enqueue.raise({ type: "role.over", outcome: { type: "drained" } });
              }),
              on: {
                "xstate.done.actor.*": [
                  { guard: "isFormer", actions: noteFormerGone },
                  { guard: "isFormerRole", actions: noteFormerRole },
                  {
                    guard: "isRole",
                    target: "counting",
                    actions: [noteFormerRole, noteRoleDone],
                  },
                ],
                "xstate.error.actor.*": { target: "counting", actions: failAt("internal") },
                "role.over": "counting",
              },
              after: { drainMs: "counting" },
            },
            counting: {
              entry: [
                nodeSetup.sendTo(({ context }) => context.ledger, { type: "ledger.flush" }),
                nodeSetup.enqueueActions(({ context, self, enqueue }) => {
                  if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "counters", replyTo: self });
                }),
              ],
              on: {
                counters: { target: "closing", actions: assign({ counters: ({ event }) => event.counters }) },
              },
              always: { guard: "isUnstarted", target: "left" },
              after: { countersMs: "closing" },
            },
            closing: {
              entry: nodeSetup.enqueueActions(({ context, self, enqueue }) => {
                if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "drain", replyTo: self });
              }),
              exit: ({ context }) => reportSummary(context),
              on: { drained: "parting" },
              after: { closeMs: "parting" },
            },
            /** Former keys take leave beside the present one, within the same times. */
            parting: {
              always: [{ guard: "hasFormers", target: "waiting" }, { target: "left" }],
            },
            waiting: {
              on: {
                "xstate.done.actor.*": {
                  guard: "isFormer",
                  target: "parting",
                  actions: noteFormerGone,
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
