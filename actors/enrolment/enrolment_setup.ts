/**
 * The setup of the machine of enrolment: its input, what it remembers, its effects, guards and actions. `enrolment.ts` has the states.
 *
 * @module
 */
import { Effect } from "effect";
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
import { type EnrolmentStore, type HeldFiles, type NewFiles, writeOver } from "./enrolment_store.ts";
import type { NetworkDocument } from "./est_client.ts";
import { type HeldPair, pairOf } from "./held_pair.ts";
import { certifyIdentity, enrolWithIdentity } from "./identify.ts";
import type { HardwareKey } from "./identity_key.ts";
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
import { lookAfterMs, lookEveryMs, renewAt, retryAfterMs, waitAfterMs } from "./schedule.ts";

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
  /** The key of the node's identity, where it is in hardware: certificates come for its signature. */
  readonly hardware?: HardwareKey | undefined;
  /** Whether the role has no work that another key would disturb; never where undefined. */
  readonly isIdle?: (() => boolean) | undefined;
}

/** What the machine takes from its owner. */
export type EnrolmentCommand =
  /** The files may have changed: another pair is in force. */
  | { readonly type: "pair.changed" }
  /** A look found the files as they were. Looks follow each other within seconds, also after the machine slept or its clock was set. */
  | { readonly type: "pair.unchanged" }
  /** The operator wants a renewal now: the pair counts as due. */
  | { readonly type: "pair.renew" }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot };

export type EnrolmentEvent = EnrolmentCommand | EventsOf<typeof enrolmentActors>;

export interface EnrolmentContext extends EnrolmentInput {
  readonly files: HeldFiles;
  readonly pair: HeldPair | undefined;
  /** The lists that the node has. */
  readonly revocation: TrustSnapshot["revocation"];
  readonly obtained: Exclude<Obtained, { type: "pending" }> | undefined;
  /** When the pair is renewed, in milliseconds since the epoch. */
  readonly renewAt: number;
  /** The operator wants a renewal: until one is over the pair counts as due. */
  readonly isWanted: boolean;
  /** When a renewal brought the pair; undefined for one that lay there. */
  readonly installedAt: number | undefined;
  /** Attempts that failed since the last one that did not. */
  readonly failures: number;
  /** Whether the CA has said that an approval is awaited. */
  readonly isPending: boolean;
  /** How long the present wait is, in milliseconds. */
  readonly waitMs: number;
  /** When the present wait is over, in milliseconds since the epoch. */
  readonly waitUntil: number;
  /** Why the last attempt brought nothing. */
  readonly error: EnrolmentRefused | undefined;
}

/** How often a node without a pair reads the files again, in milliseconds. */
const readAgainMs = 60_000;

export const noFiles: HeldFiles = {
  certPem: undefined,
  keyPem: undefined,
  trustPem: undefined,
  identityPem: undefined,
  keyWrittenAt: undefined,
  next: undefined,
};

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

/** The input of what uses the identity's key. */
export interface ForIdentity extends Omit<ForRenewal, "pair"> {
  readonly pair: HeldPair | undefined;
  readonly hardware: HardwareKey;
}

export const enrolmentActors = {
  readFiles: fromEffect("readFiles", ({ store }: WithFiles) => store.read),
  enrol: fromEffect(
    "enrol",
    ({ token, files, terms }: Omit<ForRenewal, "pair"> & { readonly token: GivenToken }) => enrol(token, files, terms),
  ),
  renew: fromEffect("renew", ({ pair, files, terms }: ForRenewal) => renew(pair, files, terms)),
  look: fromEffect("look", ({ pair, files, terms }: ForRenewal) => lookAtNetwork(pair, files, terms)),
  /** Gives whether the files are still those that the certificate was obtained with, and were written. */
  install: fromEffect(
    "install",
    ({ store, before, files }: WithFiles & { readonly before: HeldFiles; readonly files: NewFiles }) =>
      writeOver(store, before, files),
  ),
  certify: fromEffect(
    "certify",
    ({ token, files, terms, hardware }: ForIdentity & { readonly token: GivenToken }) =>
      certifyIdentity(token, files, { ...terms, hardware }),
  ),
  identify: fromEffect(
    "identify",
    ({ pair, files, terms, hardware }: ForIdentity) => enrolWithIdentity(pair, files, { ...terms, hardware }),
  ),
  /** The key of a request may be the last copy of the key of the certificate in place. */
  forgetNext: fromEffect(
    "forgetNext",
    ({ store }: WithFiles) =>
      Effect.flatMap(store.read, (files) => pairOf(files)?.isTorn === false ? store.forgetNext : Effect.void),
  ),
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

export function termsOf(context: EnrolmentContext): RenewTerms {
  const { ask, store, keys, role, policy, ports, membership, revocation } = context;
  const at = new Date(ports.now());
  return { ask, store, keys, role, policy, at, urls: membership.ca, key: keyOfRenewal(context), revocation };
}

export const forRenewal = ({ context }: { readonly context: EnrolmentContext }): ForRenewal => ({
  ports: context.ports,
  pair: present(context.pair, "the pair"),
  files: context.files,
  terms: termsOf(context),
});

export const forIdentity = ({ context }: { readonly context: EnrolmentContext }): ForIdentity => ({
  ports: context.ports,
  pair: context.pair,
  files: context.files,
  terms: termsOf(context),
  hardware: present(context.hardware, "the identity's key"),
});

/** What is left of the certificate in force; nothing where there is none. */
const leftMs = ({ pair, ports }: EnrolmentContext) => pair === undefined ? 0 : +pair.leaf.period.notAfter - ports.now();

/** A key that has grown old is replaced as soon as the role is idle, before the certificate is due. */
const isDue = (context: EnrolmentContext) =>
  context.isWanted || context.ports.now() >= context.renewAt ||
  (context.membership.key === "same" && keyOfRenewal(context) === "new");

export const enrolmentSetup = setup({
  types: { input: {} as EnrolmentInput, context: {} as EnrolmentContext, events: {} as EnrolmentEvent },
  actors: enrolmentActors,
  guards: {
    isTorn: ({ context }) => context.pair?.isTorn === true,
    /** Of a node that joins, the pair that this token brought; another one is replaced. */
    hasPair: ({ context: { pair, token, files } }) =>
      pair !== undefined && (token === undefined || files.next?.purpose === purposeOfToken(token)),
    hasToken: ({ context }) => context.token !== undefined,
    isInHardware: ({ context }) => context.hardware !== undefined,
    isDueInHardware: ({ context }) => context.hardware !== undefined && isDue(context),
    renews: ({ context }) => context.membership.renew || context.isWanted,
    isDue: ({ context }) => isDue(context),
    isRenewalPast: ({ context: { ports, renewAt } }) => ports.now() >= renewAt,
    isWaitPast: ({ context: { ports, waitUntil } }) => ports.now() >= waitUntil,
    isPending: (_, { type }: Obtained) => type === "pending",
    isTrust: ({ context }) => context.obtained?.type === "trust",
    /** The first answer of a CA decides about a token: a person waits for it. */
    mayAskAgain: ({ context }, { error }: { error: unknown }) =>
      context.isPending && refusalOf(error).again === "later",
    mayTryAgain: (_, { error }: { error: unknown }) => refusalOf(error).again === "later",
    isJoining: ({ context }) => context.token !== undefined,
    isHeld: ({ context }) => context.pair !== undefined,
    holdPair: (_, { files }: { files: HeldFiles }) => pairOf(files) !== undefined,
    isWhole: ({ context }) => context.pair?.isTorn === false,
    /** Others changed the files since they were read. */
    isStale: (_, { isWritten }: { isWritten: boolean }) => !isWritten,
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
    notePending: assign(({ context }, obtained: Obtained) =>
      obtained.type === "pending"
        ? { isPending: true, waitMs: waitAfterMs(0, obtained.pendingMs, leftMs(context)) }
        : {}
    ),
    noteFailure: assign(({ context }, { error }: { error: unknown }) => {
      const failures = context.failures + 1;
      const refusal = refusalOf(error);
      const left = leftMs(context);
      const waitMs = waitAfterMs(retryAfterMs(failures, left, context.ports.random()), refusal.retryAfterMs ?? 0, left);
      return { failures, error: refusal, waitMs };
    }),
    noteWait: assign(({ context: { ports, waitMs } }) => ({ waitUntil: ports.now() + waitMs })),
    spendToken: assign({ token: undefined }),
    makeDue: assign({ isWanted: true }),
    noteInstalled: assign({ isWanted: false }),
    /** What came does not follow from the files that lie there. */
    dropObtained: assign({ obtained: undefined }),
    noteRefusal: assign((_, { error }: { error: unknown }) => ({ error: refusalOf(error), isWanted: false })),
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
    readAgain: readAgainMs,
    look: ({ context }) => {
      const { ports, renewAt } = context;
      return isDue(context) ? 0 : Math.min(lookAfterMs(ports.random()), renewAt - ports.now());
    },
  },
});
