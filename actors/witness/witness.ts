/**
 * A witness: asks nodes for proofs that their audit logs only grow, keeps the newest state of each, and tells other witnesses what it
 * holds of the logs of gateways and CAs. A log that shrank, was rewritten, or shows different states to different witnesses is forked:
 * both signed checkpoints are kept and reported. Also answers witnesses about the node's own log.
 *
 * ```
 *  looking:  off ─▶ reading ─▶ waiting ── a part of the period ─▶ waiting (nodes whose turn it is are asked: check.ts; witnesses are told)
 *                      └── failed ─▶ pausing ── 10 s ─▶ reading
 *  proving:  resting ── a request ─▶ binding ─▶ making ── made, or not possible ─▶ resting
 *  storing:  resting ── a state changed ─▶ writing ─▶ resting
 *                                             └── failed for some ─▶ pausing ── 10 s ─▶ writing (these again)
 * ```
 *
 * @module
 */
import { assign, enqueueActions } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity, TransportFact } from "../../transport/port.ts";
import { present } from "../runtime/present.ts";
import { WitnessBook } from "./book.ts";
import {
  answerRequest,
  beginChecks,
  bind,
  endCheck,
  established,
  look,
  notRead,
  notStored,
  proveInput,
  refuse,
  respond,
  restore,
  stored,
  storeInput,
  takeTransport,
  told,
} from "./witness_actions.ts";
import { witnessEveryMs } from "./witness_port.ts";
import { witnessSetup } from "./witness_setup.ts";

export type { WitnessCommand, WitnessInput, WitnessRef } from "./witness_setup.ts";

const witness = witnessSetup.extend({
  guards: { isProvable: ({ context }) => proveInput(context) !== undefined },
  actions: {
    takeTrust: assign((_, { snapshot }: { readonly snapshot: TrustSnapshot }) => ({ snapshot })),
    takeIdentity: assign((_, { identity }: { readonly identity: NodeIdentity }) => ({ identity })),
    takeTransport: enqueueActions(takeTransport),
    established: enqueueActions(established),
    reconnected: ({ context }, { identity }: Extract<TransportFact, { type: "peer.reconnected" }>) =>
      context.book.reconnected(identity),
    closed: ({ context }, { identity }: Extract<TransportFact, { type: "peer.closed" }>) =>
      context.book.closed(identity),
    restore: enqueueActions(restore),
    answerRequest: enqueueActions(answerRequest),
    look: enqueueActions(look),
    beginChecks: enqueueActions(beginChecks),
    endCheck: enqueueActions(endCheck),
    told: enqueueActions(told),
    bind: enqueueActions(bind),
    respond: enqueueActions(respond),
    refuse: enqueueActions(refuse),
    stored: enqueueActions(stored),
    notRead: enqueueActions(notRead),
    notStored: enqueueActions(notStored),
  },
});

/** A witness as a machine. */
export const witnessMachine = witness.createMachine({
  id: "witness",
  context: ({ input }) => ({
    ...input,
    transport: undefined,
    identity: undefined,
    snapshot: undefined,
    book: new WitnessBook(input.everyMs ?? witnessEveryMs),
    waiting: [],
    unstored: new Set(),
    isUnstored: false,
    looks: 0,
    bound: undefined,
  }),
  on: {
    "trust.changed": { actions: { type: "takeTrust", params: ({ event }) => event } },
    "identity.changed": { actions: { type: "takeIdentity", params: ({ event }) => event } },
    "transport.changed": { actions: { type: "takeTransport", params: ({ event }) => event } },
    "peer.established": { actions: { type: "established", params: ({ event }) => event } },
    "peer.reconnected": { actions: { type: "reconnected", params: ({ event }) => event } },
    "peer.closed": { actions: { type: "closed", params: ({ event }) => event } },
    "request.received": { actions: { type: "answerRequest", params: ({ event }) => event } },
    "witness.next": { actions: "beginChecks" },
    "witness.told": { actions: { type: "told", params: ({ event }) => event } },
    "check.ended": { actions: { type: "endCheck", params: ({ event }) => event } },
  },
  type: "parallel",
  states: {
    looking: {
      initial: "off",
      states: {
        off: { always: { guard: "isWitness", target: "reading" } },
        reading: {
          invoke: {
            src: "read",
            input: ({ context: { ports, heads } }) => ({ ports, heads: present(heads, "the store") }),
          },
          on: {
            "effect.done.read": { target: "waiting", actions: { type: "restore", params: ({ event }) => event } },
            "effect.failed.read": { target: "pausing", actions: { type: "notRead", params: ({ event }) => event } },
          },
        },
        pausing: { after: { again: "reading" } },
        waiting: { after: { look: { target: "waiting", reenter: true, actions: "look" } } },
      },
    },
    proving: {
      initial: "resting",
      states: {
        resting: { always: { guard: "isProofWaiting", target: "binding", actions: "bind" } },
        binding: {
          always: [
            { guard: "isProvable", target: "making" },
            { target: "resting", actions: { type: "refuse", params: { detail: undefined } } },
          ],
        },
        making: {
          invoke: { src: "prove", input: ({ context }) => present(proveInput(context), "the proof") },
          on: {
            "effect.done.prove": {
              target: "resting",
              actions: { type: "respond", params: ({ event }) => event.value },
            },
            "effect.failed.prove": {
              target: "resting",
              actions: { type: "refuse", params: ({ event }) => ({ detail: event.error.message }) },
            },
          },
        },
      },
    },
    storing: {
      initial: "resting",
      states: {
        resting: { always: { guard: "isUnstored", target: "writing" } },
        writing: {
          invoke: { src: "store", input: ({ context }) => storeInput(context) },
          on: {
            "effect.done.store": [
              {
                guard: { type: "isAllStored", params: ({ event }) => event.value },
                target: "resting",
                actions: { type: "stored", params: ({ event }) => event },
              },
              { target: "pausing", actions: { type: "stored", params: ({ event }) => event } },
            ],
            "effect.failed.store": { target: "pausing", actions: { type: "notStored", params: ({ event }) => event } },
          },
        },
        pausing: { after: { again: "writing" } },
      },
    },
  },
});
