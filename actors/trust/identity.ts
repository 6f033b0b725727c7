/**
 * Owns the node's key and certificate: loads them, checks them, takes new ones, and warns before they expire.
 *
 * ```
 * loading ─▶ running: resting ── files.changed ─▶ reading ─▶ resting
 *    │                resting ── files.unchanged, and the dates are due ─▶ reviewing ─▶ resting
 *    ▼
 *  failed       where the node enrols by itself: running, without a pair yet
 * ```
 *
 * Key and certificate are two files, so that a rotation is half done for a moment. `actors/files/watched_files.ts` has
 * files that do not load read again until they do, or until {@linkcode IdentityTiming.patienceMs} has passed. Only then
 * the machine reports it, once for each state of the files, and keeps the active pair; the next change, or
 * `identity.reload` (SIGHUP), has the files read again.
 *
 * Sends its parent `identity.unchanged` with each look that finds the files as they were read, about every ten seconds.
 *
 * Sends its parent `identity.loaded`, `identity.failed` or `identity.awaited` first, and `identity.loaded` again for every new pair, with
 * the next generation. Each trust snapshot and each new pair is followed by `identity.accepted` or `identity.refused`: what
 * the node's own trust says of its own chain. With `whenRevoked: "end"`, a pair that the own CA revoked makes the machine read the
 * files once more; where they hold the same pair, it sends `identity.revoked`. `loading` ignores `identity.reload`, and keeps
 * the snapshot of `trust.changed`: the verdict follows the first pair. `failed` ignores both.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { assign, enqueueActions, sendParent, sendTo, setup } from "xstate";
import type { MemberRole } from "../../pki/certificate.ts";
import { VerificationCache } from "../../pki/verification_cache.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import {
  type FilesRead,
  lookAtFiles,
  type WatchedFilesCommand,
  type WatchedFilesEvent,
  watchedFilesMachine,
  type WatchedFilesTiming,
} from "../files/watched_files.ts";
import type { LoadError } from "../files/load_error.ts";
import { OwnCertificateRefused, OwnCertificateRevoked } from "./own_certificate.ts";
import { reportBroken, reportExpiry, reportRenewed } from "./identity_reports.ts";
import { checkOwnChain, type IdentityFiles, lifeOf, loadIdentity, revocationOf } from "./load_identity.ts";
import type { Ports } from "../runtime/ports.ts";

/** Which files hold the pair. */
export interface IdentityInput {
  /** Clock, log and files. */
  readonly ports: Ports;
  /** Paths, as in the configuration. */
  readonly certPem: string;
  /** Path of the private key. */
  readonly keyPem: string;
  /** The node's role: a certificate that names another is not taken. Any role where undefined. */
  readonly role?: MemberRole | undefined;
  /** What the machine does when the first reading brings no pair: it fails, which is the default, or waits for one. */
  readonly missing?: "fail" | "wait" | undefined;
  /** What becomes of a node whose certificate the own CA revoked: it says so and goes on (by default), or ends. */
  readonly whenRevoked?: "report" | "end" | undefined;
  /** Times, for tests; in milliseconds. */
  readonly timing?: Partial<IdentityTiming>;
}

/** Times of the machine, in milliseconds. */
export type IdentityTiming = WatchedFilesTiming;

/** A rotation has no deadline; the patience covers the time in which a person copies two files by hand. */
export const defaultIdentityTiming: IdentityTiming = {
  settleMs: 50,
  pollMs: 10_000,
  pollUnwatchedMs: 1_000,
  patienceMs: 3_000,
};

/** What the machine sends its parent. */
export type IdentityEvent =
  | { readonly type: "identity.loaded"; readonly identity: NodeIdentity }
  | { readonly type: "identity.failed"; readonly error: unknown }
  /** There is no pair yet that a node can use; `identity.loaded` follows once there is. */
  | { readonly type: "identity.awaited"; readonly error: unknown }
  /** A look found the files as they were read. */
  | { readonly type: "identity.unchanged" }
  /** The verdict of the node's own trust on its own chain, after each change of either. */
  | { readonly type: "identity.accepted" }
  | { readonly type: "identity.refused"; readonly error: OwnCertificateRefused }
  /** The own CA revoked the certificate in force, and the files hold no other. */
  | { readonly type: "identity.revoked"; readonly error: OwnCertificateRevoked };

/** A reading: what the files looked like before it, and what came of it. */
export interface IdentityReading {
  readonly signature: string;
  readonly outcome: Result.Result<NodeIdentity, LoadError>;
}

/** The events of the machine. */
export type IdentityMachineEvent =
  /** Trust was loaded or changed: the machine checks its own chain against it. */
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  /** Read the files again, changed or not (SIGHUP). */
  | { readonly type: "identity.reload" }
  /** The machine's own: the pair is revoked, so that the files are read once more. */
  | { readonly type: "identity.reread" }
  | WatchedFilesEvent
  | EventsOf<typeof actors>;

export interface IdentityContext extends Omit<IdentityInput, "timing"> {
  readonly timing: IdentityTiming;
  readonly identity: NodeIdentity | undefined;
  /** From the certificate's first moment to its end, in milliseconds. */
  readonly lifeMs: number;
  readonly snapshot: TrustSnapshot | undefined;
  /** What the files looked like when the active pair was read. */
  readonly readAs: string | undefined;
  readonly reviewedAt: number;
  /** Why the last reading brought no pair. */
  readonly error: unknown;
  /** Remembers the own chain. */
  readonly memory: VerificationCache;
}

/** How often the dates are looked at, in milliseconds; of a certificate that lives for hours, a fiftieth of its life. */
export const reviewEveryMs = 60 * 60 * 1_000;
const reviewPart = 1 / 50;
/** What enrolment mends: there is no pair, it has ended, or its key was not put in its place yet. */
const awaitedProblems: ReadonlySet<LoadError["problem"]> = new Set(["missing", "expired", "mismatch"]);

const read = (files: IdentityFiles) =>
  Effect.gen(function* () {
    const { signature } = yield* lookAtFiles([files.certPem, files.keyPem]);
    const outcome = yield* Effect.result(loadIdentity(files));
    return { signature, outcome } satisfies IdentityReading;
  });

function nextFiles({ ports, certPem, keyPem, role, identity }: IdentityContext): IdentityFiles {
  return { certPem, keyPem, role, generation: (identity?.generation ?? 0) + 1, at: new Date(ports.now()) };
}

/** Whether a reading brought another pair than the one in force. */
function isNew({ identity }: IdentityContext, { outcome }: IdentityReading): boolean {
  if (Result.isFailure(outcome)) return false;
  return identity?.certPem !== outcome.success.certPem || identity.keyPem !== outcome.success.keyPem;
}

/** What the watch learns of a reading. */
function filesRead({ signature, outcome }: IdentityReading): FilesRead {
  const problem = Result.isFailure(outcome) ? outcome.failure.problem : undefined;
  return {
    type: "files.read",
    signature,
    isLoaded: problem === undefined,
    problem,
    mendsItself: problem === "unreadable" || problem === "not-yet-valid",
  };
}

/** The same where the reading itself broke off: the next poll tries again. */
const brokenOff = ({ error }: { readonly error: unknown }): FilesRead => ({
  type: "files.read",
  signature: "",
  isLoaded: false,
  problem: String(error),
  mendsItself: true,
});

/** The verdict of the node's own trust on its own chain. Peers of the same organisation reach the same. */
function verdictOf({ identity, snapshot, ports, certPem, memory }: IdentityContext): IdentityEvent | undefined {
  if (identity === undefined || snapshot === undefined) return undefined;
  const refusal = checkOwnChain(identity, snapshot, { at: new Date(ports.now()), memory });
  return refusal === undefined
    ? { type: "identity.accepted" }
    : { type: "identity.refused", error: new OwnCertificateRefused({ file: certPem, refusal }) };
}

/** Why the node is to end: its own CA revoked the certificate in force. */
function endOf({ identity, snapshot, ports, certPem: file, whenRevoked }: IdentityContext) {
  if (whenRevoked !== "end" || identity === undefined || snapshot === undefined) return undefined;
  const refusal = revocationOf(identity, snapshot, new Date(ports.now()));
  return refusal && new OwnCertificateRevoked({ file, refusal });
}

const actors = {
  watchedFiles: watchedFilesMachine,
  readIdentity: fromEffect("readIdentity", ({ files }: EffectInput & { files: IdentityFiles }) => read(files)),
};

const machine = setup({
  types: {
    input: {} as IdentityInput,
    context: {} as IdentityContext,
    events: {} as IdentityMachineEvent,
  },
  actors,
  guards: {
    loads: (_, { outcome }: IdentityReading) => Result.isSuccess(outcome),
    isNew: ({ context }, reading: IdentityReading) => isNew(context, reading),
    /** Either way: the clock may have been ahead, and was set right. */
    isReviewDue: ({ context: { ports, reviewedAt, lifeMs } }) =>
      Math.abs(ports.now() - reviewedAt) >= Math.min(reviewEveryMs, lifeMs * reviewPart),
    waits: ({ context }, { outcome }: IdentityReading) =>
      context.missing === "wait" && Result.isFailure(outcome) && awaitedProblems.has(outcome.failure.problem),
  },
  actions: {
    take: assign((_, { signature, outcome }: IdentityReading) => ({
      readAs: signature,
      ...(Result.isSuccess(outcome)
        ? { identity: outcome.success, lifeMs: lifeOf(outcome.success) }
        : { error: outcome.failure }),
    })),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    takeTrust: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ snapshot })),
    tellFiles: sendTo("files", (_, command: WatchedFilesCommand) => command),
    /** Sends the parent the verdict of the node's own trust on its own chain. */
    sendVerdict: enqueueActions(({ context, enqueue }) => {
      if (endOf(context) !== undefined) return enqueue.raise({ type: "identity.reread" });
      const verdict = verdictOf(context);
      if (verdict !== undefined) enqueue.sendParent(verdict);
    }),
    /** After a reading that brought no new pair. Half a rotation ends nothing: the next reading tells. */
    sendEnd: enqueueActions(({ context, enqueue }, { outcome }: IdentityReading) => {
      const error = endOf(context);
      if (error === undefined) return;
      const verdict = Result.isSuccess(outcome) ? { type: "identity.revoked", error } as const : verdictOf(context);
      if (verdict !== undefined) enqueue.sendParent(verdict);
    }),
    sendLoaded: sendParent(({ context }) => ({ type: "identity.loaded", identity: context.identity })),
    sendUnchanged: sendParent({ type: "identity.unchanged" }),
    sendFailed: sendParent(({ context }) => ({ type: "identity.failed", error: context.error })),
    sendAwaited: sendParent(({ context }) => ({ type: "identity.awaited", error: context.error })),
    markReviewed: assign({ reviewedAt: ({ context }) => context.ports.now() }),
    reportExpiry: ({ context }) => reportExpiry(context),
    reportBroken: ({ context }) => reportBroken(context, context.error),
    reportRenewed: ({ context }, { outcome }: IdentityReading) => {
      if (Result.isSuccess(outcome)) reportRenewed(context, outcome.success);
    },
    reportUnwatched: ({ context }, { error }: { error: unknown }) =>
      context.ports.report({
        level: "warn",
        event: "identity.unwatched",
        message:
          `Cannot watch the folders of cert_pem and key_pem, looking every ${context.timing.pollUnwatchedMs} ms instead`,
        fields: { error: String(error) },
      }),
  },
});

type ReadEvent = { readonly event: { readonly value: IdentityReading } };
type FailEvent = { readonly event: { readonly error: unknown } };
const reading = ({ event }: ReadEvent) => event.value;
const failure = ({ event }: FailEvent) => ({ error: event.error });
const answer = ({ event }: ReadEvent) => filesRead(event.value);
const trust = {
  type: "takeTrust",
  params: ({ event: { snapshot } }: { readonly event: { readonly snapshot: TrustSnapshot } }) => ({ snapshot }),
} as const;

const readFiles = machine.createStateConfig({
  invoke: {
    src: "readIdentity",
    input: ({ context }) => ({ ports: context.ports, files: nextFiles(context) }),
  },
});

/** The node's own pair as a machine. */
export const identityMachine = machine.createMachine({
  id: "identity",
  context: ({ input: { timing, ...input } }) => ({
    ...input,
    timing: { ...defaultIdentityTiming, ...timing },
    identity: undefined,
    lifeMs: Infinity,
    snapshot: undefined,
    readAs: undefined,
    reviewedAt: 0,
    error: undefined,
    memory: new VerificationCache(1),
  }),
  initial: "loading",
  states: {
    loading: {
      ...readFiles,
      on: {
        "trust.changed": { actions: trust },
        "effect.done.readIdentity": [
          {
            guard: { type: "loads", params: reading },
            target: "running",
            actions: [{ type: "take", params: reading }, "sendLoaded", "markReviewed", "reportExpiry", "sendVerdict"],
          },
          {
            guard: { type: "waits", params: reading },
            target: "running",
            actions: [{ type: "take", params: reading }, "sendAwaited"],
          },
          { target: "failed", actions: [{ type: "take", params: reading }, "sendFailed"] },
        ],
        "effect.failed.readIdentity": {
          target: "failed",
          actions: [{ type: "takeError", params: failure }, "sendFailed"],
        },
      },
    },
    running: {
      invoke: {
        id: "files",
        src: "watchedFiles",
        input: ({ context: { ports, certPem, keyPem, timing, readAs } }) => ({
          ports,
          paths: [certPem, keyPem],
          timing,
          readAs,
        }),
      },
      on: {
        "trust.changed": {
          actions: [trust, "sendVerdict"],
        },
        "identity.reread": { target: ".reading" },
        "identity.reload": { actions: { type: "tellFiles", params: { type: "files.reload" } } },
        "files.changed": { target: ".reading" },
        "files.broken": { actions: "reportBroken" },
        "files.unwatched": { actions: { type: "reportUnwatched", params: failure } },
      },
      initial: "resting",
      states: {
        resting: {
          on: {
            "files.unchanged": [
              { guard: "isReviewDue", target: "reviewing", actions: "sendUnchanged" },
              { actions: "sendUnchanged" },
            ],
          },
        },
        reviewing: {
          always: [
            { guard: "isReviewDue", target: "resting", actions: ["markReviewed", "reportExpiry"] },
            { target: "resting" },
          ],
        },
        reading: {
          ...readFiles,
          on: {
            "files.changed": { target: "reading", reenter: true },
            "effect.done.readIdentity": [
              {
                guard: { type: "isNew", params: reading },
                target: "resting",
                actions: [
                  { type: "reportRenewed", params: reading },
                  { type: "take", params: reading },
                  "sendLoaded",
                  "markReviewed",
                  "reportExpiry",
                  "sendVerdict",
                  { type: "tellFiles", params: answer },
                ],
              },
              {
                guard: { type: "loads", params: reading },
                target: "reviewing",
                actions: [{ type: "tellFiles", params: answer }, { type: "sendEnd", params: reading }],
              },
              {
                target: "reviewing",
                actions: [
                  { type: "take", params: reading },
                  { type: "tellFiles", params: answer },
                  { type: "sendEnd", params: reading },
                ],
              },
            ],
            "effect.failed.readIdentity": {
              target: "reviewing",
              actions: [
                { type: "takeError", params: failure },
                { type: "tellFiles", params: ({ event }) => brokenOff(event) },
              ],
            },
          },
        },
      },
    },
    failed: { type: "final" },
  },
});
