/**
 * How a node gets its certificate, and renews it as long as it runs. Writes files; `identity` and the trust store take them up.
 *
 * ```
 * reading ─▶ absent       (no pair, no token: waits for files, reads again every minute)
 *    │  └──▶ requesting ─▶ pending ─▶ requesting      (a token: the first certificate; an approval may be awaited)
 *    │           │  └────▶ refused ─▶ failed          (says which command helps; waits for other files)
 *    │           ▼             ▲
 *    │       installing ─▶ reading
 *    │           ▲             │
 *    └──▶ resting ⇄ looking     renewing ⇄ waiting    (the CA is away: keeps the pair, tries again)
 *            └── due ──────────────▶
 * ```
 *
 * The files are read before each request, and again before a file is written: what an operator put there meanwhile stays, and the request
 * is made again with it.
 *
 * A pair that has ended is renewed too, as long as the CA takes it. Where a file is there and cannot be read, the node keeps what it has
 * and reads the files again.
 *
 * Timers stand still while a machine sleeps, and no timer learns that a clock was set: `pair.unchanged` comes with each look at the files of
 * the pair, and a renewal or another attempt whose moment has passed by the clock begins then.
 *
 * Of a node whose identity is in hardware, a token brings the identity's certificate (`certifying`), and the identity's signature
 * everything else (`identifying`): the first pair, where none is there at a start, and each next one. While CA or hardware are away the
 * node keeps its pair and tries again.
 *
 * @module
 */
import { present } from "../runtime/present.ts";
import { enrolmentSetup, forIdentity, forRenewal, noFiles, termsOf } from "./enrolment_setup.ts";
import type { Obtained } from "./obtain.ts";

export type {
  EnrolmentCommand,
  EnrolmentContext,
  EnrolmentEvent,
  EnrolmentInput,
  EnrolmentPolicy,
} from "./enrolment_setup.ts";

const failure = ({ event }: { readonly event: { readonly error: unknown } }) => ({ error: event.error });
const obtained = ({ event }: { readonly event: { readonly value: Obtained } }) => event.value;

/** After a request with a token: the certificate came, or the CA decides later. */
const tokenAnswered = [
  {
    guard: { type: "isPending", params: obtained },
    target: "pending",
    actions: [{ type: "notePending", params: obtained }, "reportPending"],
  },
  { target: "installing", actions: { type: "takeObtained", params: obtained } },
] as const;
/** After one that failed. */
const tokenFailed = [
  {
    guard: { type: "mayAskAgain", params: failure },
    target: "pending",
    actions: { type: "noteFailure", params: failure },
  },
  { target: "refused", actions: { type: "noteRefusal", params: failure } },
] as const;

/** The files cannot be read: they may hold the pair in force. */
const unread = {
  target: "waiting",
  actions: [{ type: "noteFailure", params: failure }, "reportRetry"],
} as const;

/** Enrolment and renewal as a machine. */
export const enrolmentMachine = enrolmentSetup.createMachine({
  id: "enrolment",
  context: ({ input }) => ({
    ...input,
    files: noFiles,
    pair: undefined,
    revocation: undefined,
    obtained: undefined,
    renewAt: 0,
    isWanted: false,
    installedAt: undefined,
    failures: 0,
    isPending: false,
    waitMs: 0,
    waitUntil: 0,
    error: undefined,
  }),
  on: { "trust.changed": { actions: { type: "takeTrust", params: ({ event }) => event } } },
  initial: "reading",
  states: {
    reading: {
      invoke: { src: "readFiles", input: ({ context }) => context },
      on: {
        "pair.changed": { target: "reading", reenter: true },
        "effect.done.readFiles": {
          target: "deciding",
          actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
        },
        "effect.failed.readFiles": [
          { guard: "isJoining", target: "refused", actions: { type: "noteRefusal", params: failure } },
          unread,
        ],
      },
    },
    deciding: {
      always: [
        { guard: "isTorn", target: "installing", actions: "takeTorn" },
        { guard: "hasPair", target: "resting", actions: "spendToken" },
        { guard: "hasToken", target: "choosingWay" },
        { guard: "isInHardware", target: "identifying" },
        { target: "absent" },
      ],
    },
    choosingWay: { always: [{ guard: "isInHardware", target: "certifying" }, { target: "requesting" }] },
    /** A pair that `identity` does not take, because it has ended, is not announced. */
    absent: {
      entry: "reportAbsent",
      on: { "pair.changed": "reading" },
      initial: "idle",
      states: {
        idle: { after: { readAgain: "looking" } },
        looking: {
          invoke: { src: "readFiles", input: ({ context }) => context },
          on: {
            "effect.done.readFiles": [
              {
                guard: { type: "holdPair", params: ({ event }) => ({ files: event.value }) },
                target: "#enrolment.deciding",
                actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
              },
              { target: "idle" },
            ],
            "effect.failed.readFiles": {
              target: "#enrolment.waiting",
              actions: [{ type: "noteFailure", params: failure }, "reportRetry"],
            },
          },
        },
      },
    },
    requesting: {
      invoke: {
        src: "enrol",
        input: ({ context }) => ({
          ports: context.ports,
          files: context.files,
          terms: termsOf(context),
          token: present(context.token, "the token"),
        }),
      },
      on: {
        "effect.done.enrol": tokenAnswered,
        "effect.failed.enrol": tokenFailed,
      },
    },
    /** The token brings the certificate of the identity in hardware; with that, the node gets one for TLS. */
    certifying: {
      invoke: {
        src: "certify",
        input: ({ context }) => ({ ...forIdentity({ context }), token: present(context.token, "the token") }),
      },
      on: {
        "effect.done.certify": tokenAnswered,
        "effect.failed.certify": tokenFailed,
      },
    },
    /** A certificate for TLS, the first or the next one, for the signature of the identity in hardware. */
    identifying: {
      invoke: { src: "identify", input: forIdentity },
      on: {
        "pair.changed": "reading",
        "effect.done.identify": { target: "installing", actions: { type: "takeObtained", params: obtained } },
        "effect.failed.identify": [
          {
            guard: { type: "mayTryAgain", params: failure },
            target: "waiting",
            actions: [{ type: "noteFailure", params: failure }, "reportRetry"],
          },
          { target: "refused", actions: { type: "noteRefusal", params: failure } },
        ],
      },
    },
    pending: { after: { wait: "rereading" } },
    /** The key of the request is in the files by now. */
    rereading: {
      invoke: { src: "readFiles", input: ({ context }) => context },
      on: {
        "effect.done.readFiles": {
          target: "choosingWay",
          actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
        },
        "effect.failed.readFiles": tokenFailed,
      },
    },
    installing: {
      invoke: {
        src: "install",
        input: ({ context: { ports, store, files, obtained } }) => ({
          ...{ ports, store, before: files },
          files: present(obtained, "what was obtained").files,
        }),
      },
      on: {
        "effect.done.install": [
          {
            guard: { type: "isStale", params: ({ event }) => ({ isWritten: event.value }) },
            target: "reading",
            actions: "dropObtained",
          },
          { guard: "isTrust", target: "waiting", actions: ["noteUnusable", "reportRetry"] },
          { target: "clearing", actions: ["reportInstalled", "spendToken", "noteInstalled"] },
        ],
        "effect.failed.install": [
          { guard: "isJoining", target: "refused", actions: { type: "noteRefusal", params: failure } },
          { target: "waiting", actions: [{ type: "noteFailure", params: failure }, "reportRetry"] },
        ],
      },
    },
    clearing: {
      invoke: { src: "forgetNext", input: ({ context }) => context },
      on: { "effect.done.forgetNext": "reading", "effect.failed.forgetNext": "reading" },
    },
    resting: {
      on: { "pair.changed": "reading", "pair.renew": { target: "refreshing", actions: "makeDue" } },
      initial: "deciding",
      states: {
        deciding: { always: [{ guard: "renews", target: "scheduled" }, { target: "idle" }] },
        scheduled: {
          on: { "pair.unchanged": { guard: "isRenewalPast", target: "#enrolment.refreshing" } },
          after: { look: "#enrolment.refreshing" },
        },
        idle: {},
      },
    },
    /** What is asked of the CA, and written, follows from the files as they are now. */
    refreshing: {
      invoke: { src: "readFiles", input: ({ context }) => context },
      on: {
        "pair.changed": "reading",
        "effect.done.readFiles": {
          target: "refreshed",
          actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
        },
        "effect.failed.readFiles": unread,
      },
    },
    refreshed: { always: [{ guard: "isWhole", target: "choosing" }, { target: "deciding" }] },
    choosing: {
      always: [
        { guard: "isDueInHardware", target: "identifying" },
        { guard: "isDue", target: "renewing" },
        { target: "looking" },
      ],
    },
    looking: {
      invoke: { src: "look", input: forRenewal },
      on: {
        "pair.changed": "reading",
        "effect.done.look": {
          target: "resting",
          actions: { type: "noteNetwork", params: ({ event }) => event.value },
        },
        // Nothing depends on this request: a renewal reports that the CA cannot be reached.
        "effect.failed.look": "resting",
      },
    },
    renewing: {
      invoke: { src: "renew", input: forRenewal },
      on: {
        "pair.changed": "reading",
        "effect.done.renew": [
          {
            guard: { type: "isPending", params: obtained },
            target: "waiting",
            actions: [{ type: "notePending", params: obtained }, "reportPending"],
          },
          { target: "installing", actions: { type: "takeObtained", params: obtained } },
        ],
        "effect.failed.renew": [
          {
            guard: { type: "mayTryAgain", params: failure },
            target: "waiting",
            actions: [{ type: "noteFailure", params: failure }, "reportRetry"],
          },
          { target: "refused", actions: { type: "noteRefusal", params: failure } },
        ],
      },
    },
    /** Reads the files again: an operator may have put a pair there, and the key of the request is among them. */
    waiting: {
      entry: "noteWait",
      on: {
        "pair.changed": "reading",
        "pair.unchanged": { guard: "isWaitPast", target: "retrying" },
        "pair.renew": { target: "retrying", actions: "makeDue" },
      },
      after: { wait: "retrying" },
    },
    retrying: {
      invoke: { src: "readFiles", input: ({ context }) => context },
      on: {
        "effect.done.readFiles": {
          target: "deciding",
          actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
        },
        "effect.failed.readFiles": unread,
      },
    },
    refused: { entry: "reportFailure", always: "failed" },
    failed: {
      on: { "pair.changed": "reading", "pair.renew": { guard: "isHeld", target: "refreshing", actions: "makeDue" } },
    },
  },
});
