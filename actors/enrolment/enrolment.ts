/**
 * How a node gets its certificate, and renews it as long as it runs. Writes files; `identity` and the trust store take them up.
 *
 * ```
 * reading ─▶ absent       (no pair, no token: waits for files)
 *    │  └──▶ requesting ─▶ pending ─▶ requesting      (a token: the first certificate; an approval may be awaited)
 *    │           │  └────▶ refused ─▶ failed          (says which command helps; waits for other files)
 *    │           ▼             ▲
 *    │       installing ─▶ reading
 *    │           ▲             │
 *    └──▶ resting ⇄ looking     renewing ⇄ waiting    (the CA is away: keeps the pair, tries again)
 *            └── due ──────────────▶
 * ```
 *
 * A pair that has ended is renewed too, as long as the CA takes it.
 *
 * @module
 */
import { assign, setup } from "xstate";
import type { Role } from "../../pki/certificate.ts";
import type { Policy, TrustSnapshot } from "../../pki/trust.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { AskHttps } from "./ask_https.ts";
import { keyIdOf } from "./ca_trust.ts";
import { type EnrolmentRefused, refusalOf } from "./enrolment_refused.ts";
import { reportAbsent, reportFailure, reportInstalled, reportPending, reportRetry } from "./enrolment_reports.ts";
import type { EnrolmentStore, HeldFiles, NewFiles } from "./enrolment_store.ts";
import type { NetworkDocument } from "./est_client.ts";
import { type HeldPair, pairOf } from "./held_pair.ts";
import type { RequestKeys } from "./make_csr.ts";
import {
  enrol,
  type GivenToken,
  lookAtNetwork,
  type Obtained,
  purposeOfToken,
  renew,
  type RenewTerms,
} from "./obtain.ts";
import { lookAfterMs, lookEveryMs, renewAt, retryAfterMs } from "./schedule.ts";

/** What the operator decides; `[membership]` of the configuration. */
export interface EnrolmentPolicy {
  /** Where the CAs are, tried in this order. */
  readonly ca: readonly string[];
  readonly renew: boolean;
  readonly key: "same" | "new";
  /** How old a key gets that renewals keep, in milliseconds. */
  readonly newKeyEveryMs: number | undefined;
}

/** The input of the machine. */
export interface EnrolmentInput {
  readonly ports: Ports;
  readonly ask: AskHttps;
  readonly store: EnrolmentStore;
  /** Where keys come from; made in this process where undefined. */
  readonly keys?: RequestKeys | undefined;
  readonly role: Role;
  readonly policy: Policy;
  readonly membership: EnrolmentPolicy;
  /** The token of a node that joins. */
  readonly token?: GivenToken | undefined;
  /** Whether the role has no work that another key would disturb; never where undefined. */
  readonly isIdle?: (() => boolean) | undefined;
}

/** What the machine takes from its owner. */
export type EnrolmentCommand =
  /** The files may have changed: another pair is in force. */
  | { readonly type: "pair.changed" }
  /** The operator wants a renewal now: the pair counts as due. */
  | { readonly type: "pair.renew" }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot };

export type EnrolmentEvent = EnrolmentCommand | EventsOf<typeof actors>;

export interface EnrolmentContext extends EnrolmentInput {
  readonly files: HeldFiles;
  readonly pair: HeldPair | undefined;
  /** The lists that the node has. */
  readonly revocation: TrustSnapshot["revocation"];
  readonly obtained: Exclude<Obtained, { type: "pending" }> | undefined;
  /** When the pair is renewed, in milliseconds since the epoch. */
  readonly renewAt: number;
  /** When a renewal brought the pair; undefined for one that lay there. */
  readonly installedAt: number | undefined;
  /** Attempts that failed since the last one that did not. */
  readonly failures: number;
  /** Whether the CA has said that an approval is awaited. */
  readonly isPending: boolean;
  /** How long the present wait is, in milliseconds. */
  readonly waitMs: number;
  /** Why the last attempt brought nothing. */
  readonly error: EnrolmentRefused | undefined;
}

const none = undefined;
const noFiles: HeldFiles = { certPem: none, keyPem: none, trustPem: none, keyWrittenAt: none, next: none };

/** The input of what reads or writes the files. */
export interface WithFiles extends EffectInput {
  readonly store: EnrolmentStore;
}

/** The input of what asks a CA about a pair. */
export interface ForRenewal extends EffectInput {
  readonly pair: HeldPair;
  readonly files: HeldFiles;
  readonly terms: RenewTerms;
}

const actors = {
  readFiles: fromEffect("readFiles", ({ store }: WithFiles) => store.read),
  enrol: fromEffect(
    "enrol",
    ({ token, files, terms }: Omit<ForRenewal, "pair"> & { readonly token: GivenToken }) => enrol(token, files, terms),
  ),
  renew: fromEffect("renew", ({ pair, files, terms }: ForRenewal) => renew(pair, files, terms)),
  look: fromEffect("look", ({ pair, files, terms }: ForRenewal) => lookAtNetwork(pair, files, terms)),
  install: fromEffect("install", ({ store, files }: WithFiles & { readonly files: NewFiles }) => store.write(files)),
  forgetNext: fromEffect("forgetNext", ({ store }: WithFiles) => store.forgetNext),
};

/** Whether a renewal now makes another key. */
function keyOfRenewal({ membership, pair, ports, isIdle }: EnrolmentContext): "same" | "new" {
  const { key, newKeyEveryMs } = membership;
  if (key === "new" || newKeyEveryMs === undefined || pair?.keyWrittenAt === undefined) return key;
  const overdueMs = ports.now() - pair.keyWrittenAt - newKeyEveryMs;
  const { notBefore, notAfter } = pair.leaf.period;
  // A role that is never idle gets its new key with the certificate after the one in which the key grew old.
  return overdueMs >= 0 && (isIdle?.() === true || overdueMs >= +notAfter - +notBefore) ? "new" : "same";
}

function termsOf(context: EnrolmentContext): RenewTerms {
  const { ask, store, keys, role, policy, ports, membership, revocation } = context;
  const at = new Date(ports.now());
  return { ask, store, keys, role, policy, at, urls: membership.ca, key: keyOfRenewal(context), revocation };
}

const forRenewal = ({ context }: { readonly context: EnrolmentContext }): ForRenewal => ({
  ports: context.ports,
  pair: present(context.pair, "the pair"),
  files: context.files,
  terms: termsOf(context),
});

const leftMs = ({ pair, ports }: EnrolmentContext) => +present(pair, "the pair").leaf.period.notAfter - ports.now();

/** A key that has grown old is replaced as soon as the role is idle, before the certificate is due. */
const isDue = (context: EnrolmentContext) =>
  context.ports.now() >= context.renewAt ||
  (context.membership.key === "same" && keyOfRenewal(context) === "new");

const machine = setup({
  types: { input: {} as EnrolmentInput, context: {} as EnrolmentContext, events: {} as EnrolmentEvent },
  actors,
  guards: {
    isTorn: ({ context }) => context.pair?.isTorn === true,
    /** Of a node that joins, the pair that this token brought; another one is replaced. */
    hasPair: ({ context: { pair, token, files } }) =>
      pair !== undefined && (token === undefined || files.next?.purpose === purposeOfToken(token)),
    hasToken: ({ context }) => context.token !== undefined,
    renews: ({ context }) => context.membership.renew,
    isDue: ({ context }) => isDue(context),
    isPending: (_, { type }: Obtained) => type === "pending",
    isTrust: ({ context }) => context.obtained?.type === "trust",
    /** The first answer of a CA decides about a token: a person waits for it. */
    mayAskAgain: ({ context }, { error }: { error: unknown }) =>
      context.isPending && refusalOf(error).again === "later",
    mayTryAgain: (_, { error }: { error: unknown }) => refusalOf(error).again === "later",
    isJoining: ({ context }) => context.token !== undefined,
    isHeld: ({ context }) => context.pair !== undefined,
  },
  actions: {
    takeFiles: assign(({ context }, { files }: { files: HeldFiles }) => {
      const pair = pairOf(files);
      const isSame = pair !== undefined && pair.leaf.fingerprint === context.pair?.leaf.fingerprint;
      if (isSame && !pair.isTorn) return { files, pair, obtained: undefined };
      const { ports: { random, now } } = context;
      const installedAt = context.obtained === undefined ? undefined : now();
      const next = pair === undefined ? 0 : renewAt(pair.leaf.period, random(), installedAt);
      return { files, pair, installedAt, renewAt: next, failures: 0, error: undefined, obtained: undefined };
    }),
    takeTrust: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ revocation: snapshot.revocation })),
    takeObtained: assign((_, obtained: Obtained) => obtained.type === "pending" ? {} : { obtained }),
    takeTorn: assign(({ context: { pair } }) => ({
      obtained: { type: "issued" as const, url: "", files: { keyPem: present(pair, "the pair").keyPem } },
    })),
    notePending: assign((_, obtained: Obtained) =>
      obtained.type === "pending" ? { isPending: true, waitMs: obtained.pendingMs } : {}
    ),
    noteFailure: assign(({ context }, { error }: { error: unknown }) => {
      const failures = context.failures + 1;
      const refusal = refusalOf(error);
      const left = context.pair === undefined ? 0 : leftMs(context);
      const waitMs = Math.max(retryAfterMs(failures, left, context.ports.random()), refusal.retryAfterMs ?? 0);
      return { failures, error: refusal, waitMs };
    }),
    spendToken: assign({ token: undefined }),
    makeDue: assign({ renewAt: ({ context }) => context.ports.now() }),
    noteRefusal: assign((_, { error }: { error: unknown }) => ({ error: refusalOf(error) })),
    noteUnusable: assign(({ context }) => {
      const failures = context.failures + 1;
      const error = context.obtained?.type === "trust" ? context.obtained.refusal : undefined;
      const waitMs = retryAfterMs(failures, leftMs(context), context.ports.random());
      return { failures, error, waitMs, obtained: undefined };
    }),
    /** Those whose issuer is retired renew within the hour, not all at once. */
    noteNetwork: assign(({ context }, { retiredIssuers }: NetworkDocument) => {
      const { pair, ports, renewAt } = context;
      const issuer = pair?.chain[1];
      if (issuer === undefined || !retiredIssuers.includes(keyIdOf(issuer))) return {};
      return { renewAt: Math.min(renewAt, ports.now() + ports.random() * lookEveryMs) };
    }),
    reportAbsent: ({ context }) => reportAbsent(context),
    reportPending: ({ context }) => reportPending(context),
    reportRetry: ({ context }) => reportRetry(context),
    reportFailure: ({ context }) => reportFailure(context),
    reportInstalled: ({ context }) => reportInstalled(context),
  },
  delays: {
    wait: ({ context }) => context.waitMs,
    look: ({ context }) => {
      const { ports, renewAt } = context;
      return isDue(context) ? 0 : Math.min(lookAfterMs(ports.random()), renewAt - ports.now());
    },
  },
});

const failure = ({ event }: { readonly event: { readonly error: unknown } }) => ({ error: event.error });
const obtained = ({ event }: { readonly event: { readonly value: Obtained } }) => event.value;

/** Enrolment and renewal as a machine. */
export const enrolmentMachine = machine.createMachine({
  id: "enrolment",
  context: ({ input }) => ({
    ...input,
    files: noFiles,
    pair: undefined,
    revocation: undefined,
    obtained: undefined,
    renewAt: 0,
    installedAt: undefined,
    failures: 0,
    isPending: false,
    waitMs: 0,
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
        "effect.failed.readFiles": { target: "refused", actions: { type: "noteRefusal", params: failure } },
      },
    },
    deciding: {
      always: [
        { guard: "isTorn", target: "installing", actions: "takeTorn" },
        { guard: "hasPair", target: "resting" },
        { guard: "hasToken", target: "requesting" },
        { target: "absent" },
      ],
    },
    absent: { entry: "reportAbsent", on: { "pair.changed": "reading" } },
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
        "effect.done.enrol": [
          {
            guard: { type: "isPending", params: obtained },
            target: "pending",
            actions: [{ type: "notePending", params: obtained }, "reportPending"],
          },
          { target: "installing", actions: { type: "takeObtained", params: obtained } },
        ],
        "effect.failed.enrol": [
          {
            guard: { type: "mayAskAgain", params: failure },
            target: "pending",
            actions: { type: "noteFailure", params: failure },
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
          target: "requesting",
          actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
        },
        "effect.failed.readFiles": { target: "refused", actions: { type: "noteRefusal", params: failure } },
      },
    },
    installing: {
      invoke: {
        src: "install",
        input: ({ context }) => ({ ...context, files: present(context.obtained, "what was obtained").files }),
      },
      on: {
        "effect.done.install": [
          { guard: "isTrust", target: "waiting", actions: ["noteUnusable", "reportRetry"] },
          { target: "clearing", actions: ["reportInstalled", "spendToken"] },
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
      on: { "pair.changed": "reading", "pair.renew": { target: "renewing", actions: "makeDue" } },
      initial: "deciding",
      states: {
        deciding: { always: [{ guard: "renews", target: "scheduled" }, { target: "idle" }] },
        scheduled: { after: { look: "#enrolment.choosing" } },
        idle: {},
      },
    },
    choosing: { always: [{ guard: "isDue", target: "renewing" }, { target: "looking" }] },
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
      on: { "pair.changed": "reading", "pair.renew": { target: "retrying", actions: "makeDue" } },
      after: { wait: "retrying" },
    },
    retrying: {
      invoke: { src: "readFiles", input: ({ context }) => context },
      on: {
        "effect.done.readFiles": {
          target: "deciding",
          actions: { type: "takeFiles", params: ({ event }) => ({ files: event.value }) },
        },
        "effect.failed.readFiles": { target: "refused", actions: { type: "noteRefusal", params: failure } },
      },
    },
    refused: { entry: "reportFailure", always: "failed" },
    failed: {
      on: { "pair.changed": "reading", "pair.renew": { guard: "isHeld", target: "renewing", actions: "makeDue" } },
    },
  },
});
