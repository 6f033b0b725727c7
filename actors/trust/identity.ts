/**
 * Owns the node's key and certificate: loads them, checks them, takes up new ones, and watches their end come.
 *
 * ```
 * loading ─▶ running: watching ── touched ─▶ settling ─▶ looking ── changed, and no longer changing ─▶ reading
 *    │                  ▲ ▲ └─ poll ─────────────────────▶ │ │                                          │ │
 *    │                  │ └──────── nothing new ───────────┘ └── still changing ─▶ settling             │ │
 *    │                  ├───────────────── taken, or the same pair as before ───────────────────────────┘ │
 *    ▼                  └── no good, for longer than a moment ◀── doubting (reads again) ◀────────────────┘
 *  failed
 * ```
 *
 * Key and certificate are two files, so that a rotation is half done for a moment: what does not load is read again
 * until it does, or until {@linkcode IdentityTiming.patienceMs} has passed. Only then it is said, once for each state of
 * the files, and the pair in force stays; the next change, or `identity.reload` (SIGHUP), has the files read again.
 *
 * Sends its parent `identity.loaded` or `identity.failed` first, and `identity.loaded` again for every new pair, with
 * the next generation. Each trust snapshot and each new pair is followed by `identity.accepted` or `identity.refused`: what
 * the node's own trust says of its own chain. `loading` and `failed` ignore `trust.changed` and `identity.reload`.
 *
 * @module
 */
import { dirname } from "node:path";
import { Effect, Result } from "effect";
import { assign, sendParent, setup } from "xstate";
import { VerificationCache } from "../../pki/verification_cache.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import { type EffectEvent, type EffectInput, fromEffect } from "../runtime/effect_actor.ts";
import { signatureOf } from "../files/read_whole.ts";
import { watchFoldersLogic, type WatchSaid } from "../files/watch_folders.ts";
import type { LoadError } from "../files/load_error.ts";
import { OwnCertificateRefused } from "./own_certificate.ts";
import { checkOwnChain, type IdentityFiles, loadIdentity } from "./load_identity.ts";
import type { Ports } from "../runtime/ports.ts";

/** Which files hold the pair. */
export interface IdentityInput {
  /** Clock, log and files. */
  readonly ports: Ports;
  /** Paths, as in the configuration. */
  readonly certPem: string;
  /** Path of the private key. */
  readonly keyPem: string;
  /** Times, for tests; in milliseconds. */
  readonly timing?: Partial<IdentityTiming>;
}

/** How quick the machine is, in milliseconds. */
export interface IdentityTiming {
  /** Files that stay the same this long have stopped changing. */
  readonly settleMs: number;
  /** How often the files are looked at where nothing was said, and when their folders cannot be watched. */
  readonly pollMs: number;
  readonly pollUnwatchedMs: number;
  /** How long a pair may be no good before that is said: the time between the copying of one file and of the other. */
  readonly patienceMs: number;
}

/** A rotation has no deadline of its own; a person who copies two files by hand should not be alarmed in between. */
export const defaultIdentityTiming: IdentityTiming = {
  settleMs: 50,
  pollMs: 10_000,
  pollUnwatchedMs: 1_000,
  patienceMs: 3_000,
};

/** What the machine says to its parent. */
export type IdentitySaid =
  | { readonly type: "identity.loaded"; readonly identity: NodeIdentity }
  | { readonly type: "identity.failed"; readonly error: unknown }
  /** The verdict of the node's own trust on its own chain, after each change of either. */
  | { readonly type: "identity.accepted" }
  | { readonly type: "identity.refused"; readonly error: OwnCertificateRefused };

/** A look at both files. */
export interface IdentityLooked {
  readonly signature: string;
}

/** A reading: what the files looked like before it, and what came of it. */
export interface IdentityReading extends IdentityLooked {
  readonly outcome: Result.Result<NodeIdentity, LoadError>;
}

/** What it hears. */
export type IdentityEvent =
  /** Trust is there or changed: its own chain is checked against it. */
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  /** Read the files again, changed or not (SIGHUP). */
  | { readonly type: "identity.reload" }
  | WatchSaid
  | EffectEvent<"lookAtIdentity", IdentityLooked, never>
  | EffectEvent<"readIdentity", IdentityReading, never>;

export interface IdentityContext extends Omit<IdentityInput, "timing"> {
  readonly timing: IdentityTiming;
  readonly identity: NodeIdentity | undefined;
  readonly snapshot: TrustSnapshot | undefined;
  /** What the files looked like when they were last read, and at the last look. */
  readonly readAs: string | undefined;
  readonly seenAs: string | undefined;
  readonly rounds: number;
  readonly touched: boolean;
  readonly watched: boolean;
  /** Since when the files are no good, in milliseconds since the epoch; undefined while they are. */
  readonly brokenSince: number | undefined;
  /** The state of the files, and what is wrong with them, that was said last. */
  readonly warned: string | undefined;
  readonly reviewedAt: number;
  readonly error: unknown;
  /** Remembers the own chain. */
  readonly memory: VerificationCache;
}

/** How often the dates are looked at, in milliseconds. */
export const reviewEveryMs = 60 * 60 * 1_000;
/** From when on the coming end of the certificate is said, in milliseconds before it. */
export const expiryWarningMs = 14 * 24 * 60 * 60 * 1_000;
/** Looks at files that never stop changing before they are read as they are. */
export const settleRoundsMax = 20;

const look = ({ certPem, keyPem }: Pick<IdentityFiles, "certPem" | "keyPem">) =>
  Effect.map(
    Effect.all([signatureOf(certPem), signatureOf(keyPem)]),
    (signatures): IdentityLooked => ({ signature: signatures.join(" ") }),
  );

const read = (files: IdentityFiles) =>
  Effect.gen(function* () {
    const { signature } = yield* look(files);
    const outcome = yield* Effect.result(loadIdentity(files));
    return { signature, outcome } satisfies IdentityReading;
  });

function nextFiles({ ports, certPem, keyPem, identity }: IdentityContext): IdentityFiles {
  return { certPem, keyPem, generation: (identity?.generation ?? 0) + 1, at: new Date(ports.now()) };
}

/** Whether a reading brought another pair than the one in force. */
function isNew({ identity }: IdentityContext, { outcome }: IdentityReading): boolean {
  if (Result.isFailure(outcome)) return false;
  return identity?.certPem !== outcome.success.certPem || identity.keyPem !== outcome.success.keyPem;
}

function reportExpiry({ identity, ports, certPem }: IdentityContext): void {
  if (identity === undefined) return;
  const leftMs = identity.notAfter.getTime() - ports.now();
  if (leftMs > expiryWarningMs) return;
  const expired = leftMs < 0;
  const when = identity.notAfter.toISOString();
  ports.report({
    level: expired ? "error" : "warn",
    event: expired ? "identity.expired" : "identity.expiring",
    message: expired
      ? `Own certificate expired at ${when}: peers refuse it. Put a new one in its place: hypha-certutil gen-cert`
      : `Own certificate expires at ${when}. Put a new one in its place before: hypha-certutil gen-cert`,
    fields: { file: certPem, notAfter: when },
  });
}

function reportRenewed({ ports, identity: before }: IdentityContext, identity: NodeIdentity): void {
  const { peer, name, generation, notAfter } = identity;
  const until = notAfter.toISOString();
  const rekeyed = peer !== before?.peer;
  ports.report({
    level: rekeyed ? "warn" : "info",
    event: "identity.renewed",
    message: rekeyed
      ? `Took another key: this node becomes ${peer}, its certificate is valid until ${until}`
      : `Took a new certificate of the same key, valid until ${until}`,
    fields: { peer, name, generation, notAfter: until, formerPeer: before?.peer, key: rekeyed ? "new" : "same" },
  });
}

function reportBroken({ ports, identity }: IdentityContext, error: unknown): void {
  const { file, line, problem } = placeOf(error);
  const until = identity?.notAfter.toISOString();
  ports.report({
    level: "warn",
    event: "identity.broken",
    message: `Keeping the previous certificate and key, valid until ${until}: ${
      error instanceof Error ? error.message : error
    }`,
    fields: { file, line, problem },
  });
}

function placeOf(error: unknown): Partial<Pick<LoadError, "file" | "line" | "problem">> {
  return error instanceof Object && "problem" in error ? error as LoadError : {};
}

/** What a pair that is no good leaves behind. One that time or a permission mends is read again at every poll. */
function noteBroken(context: IdentityContext, { signature, outcome }: IdentityReading): Partial<IdentityContext> {
  const problem = Result.isFailure(outcome) ? outcome.failure.problem : undefined;
  const mendsItself = problem === "unreadable" || problem === "not-yet-valid";
  return {
    readAs: mendsItself ? undefined : signature,
    brokenSince: context.brokenSince ?? context.ports.now(),
  };
}

const machine = setup({
  types: {
    input: {} as IdentityInput,
    context: {} as IdentityContext,
    events: {} as IdentityEvent,
  },
  actors: {
    watchFolders: watchFoldersLogic,
    lookAtIdentity: fromEffect(
      "lookAtIdentity",
      ({ files }: EffectInput & { files: Pick<IdentityFiles, "certPem" | "keyPem"> }) => look(files),
    ),
    readIdentity: fromEffect("readIdentity", ({ files }: EffectInput & { files: IdentityFiles }) => read(files)),
  },
  guards: {
    loads: (_, { outcome }: IdentityReading) => Result.isSuccess(outcome),
    isNew: ({ context }, reading: IdentityReading) => isNew(context, reading),
    /** Files that are no good have just become so: they may be half written. */
    isFresh: ({ context: { brokenSince, ports, timing } }) => {
      const forMs = brokenSince === undefined ? 0 : ports.now() - brokenSince;
      return forMs >= 0 && forMs < timing.patienceMs;
    },
    isRead: ({ context }, { signature }: IdentityLooked) => signature === context.readAs,
    hasSettled: ({ context }, { signature }: IdentityLooked) =>
      signature === context.seenAs || context.rounds >= settleRoundsMax,
    wasTouched: ({ context }) => context.touched,
  },
  actions: {
    take: assign((_, { signature, outcome }: IdentityReading) => ({
      readAs: signature,
      brokenSince: undefined,
      warned: undefined,
      ...(Result.isSuccess(outcome) ? { identity: outcome.success } : { error: outcome.failure }),
    })),
    keepPair: assign((_, { signature }: IdentityReading) => ({
      readAs: signature,
      brokenSince: undefined,
      warned: undefined,
    })),
    noteBroken: assign(({ context }, reading: IdentityReading) => noteBroken(context, reading)),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    takeTrust: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ snapshot })),
    markTouched: assign({ touched: true }),
    markSeen: assign(({ context }, { signature }: IdentityLooked) => ({
      seenAs: signature,
      rounds: context.rounds + 1,
    })),
    markRested: assign({ rounds: 0, seenAs: undefined }),
    beginLook: assign({ touched: false }),
    markWatched: assign({ watched: true }),
    markUnwatched: assign({ watched: false }),
    forgetBroken: assign({ brokenSince: undefined, warned: undefined }),
    sayLoaded: sendParent(({ context }) => ({ type: "identity.loaded", identity: context.identity })),
    sayFailed: sendParent(({ context }) => ({ type: "identity.failed", error: context.error })),
    markReviewed: assign({ reviewedAt: ({ context }) => context.ports.now() }),
    reportExpiry: ({ context }) => reportExpiry(context),
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
  delays: {
    settle: ({ context }) => context.timing.settleMs,
    poll: ({ context: { watched, timing } }) => watched ? timing.pollMs : timing.pollUnwatchedMs,
    doubt: ({ context }) => Math.min(4 * context.timing.settleMs, context.timing.patienceMs),
  },
});

/** Says what is wrong with the files, unless that was the last thing said. */
const sayBroken = machine.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "effect.done.readIdentity") return;
  const { signature, outcome } = event.value;
  if (Result.isSuccess(outcome)) return;
  const warned = `${outcome.failure.problem} ${signature}`;
  enqueue.assign({ warned, brokenSince: undefined });
  if (warned !== context.warned) enqueue(() => reportBroken(context, outcome.failure));
});

/** What the node's own trust says of its own chain: peers of the same organisation would say the same. */
const sayVerdict = machine.enqueueActions(({ context, enqueue }) => {
  const { identity, snapshot, ports, certPem, memory } = context;
  if (identity === undefined || snapshot === undefined) return;
  const refusal = checkOwnChain(identity, snapshot, { at: new Date(ports.now()), memory });
  const verdict: IdentitySaid = refusal === undefined
    ? { type: "identity.accepted" }
    : { type: "identity.refused", error: new OwnCertificateRefused({ file: certPem, refusal }) };
  enqueue.sendParent(verdict as never);
});

/** The dates are looked at once an hour. */
const reviewExpiry = machine.enqueueActions(({ context, enqueue }) => {
  if (context.ports.now() < context.reviewedAt + reviewEveryMs) return;
  enqueue("markReviewed");
  enqueue("reportExpiry");
});

type ReadEvent = { readonly event: { readonly value: IdentityReading } };
type LookEvent = { readonly event: { readonly value: IdentityLooked } };
const reading = ({ event }: ReadEvent) => event.value;
const looked = ({ event }: LookEvent) => event.value;
const failure = ({ event }: { readonly event: { readonly error: unknown } }) => ({ error: event.error });

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
    snapshot: undefined,
    readAs: undefined,
    seenAs: undefined,
    rounds: 0,
    touched: false,
    watched: true,
    brokenSince: undefined,
    warned: undefined,
    reviewedAt: 0,
    error: undefined,
    memory: new VerificationCache(1),
  }),
  initial: "loading",
  states: {
    loading: {
      ...readFiles,
      on: {
        "effect.done.readIdentity": [
          {
            guard: { type: "loads", params: reading },
            target: "running",
            actions: [{ type: "take", params: reading }, "sayLoaded", "markReviewed", "reportExpiry"],
          },
          { target: "failed", actions: [{ type: "take", params: reading }, "sayFailed"] },
        ],
        "effect.failed.readIdentity": {
          target: "failed",
          actions: [{ type: "takeError", params: failure }, "sayFailed"],
        },
      },
    },
    /** Entered anew after each pair taken: that heals a watcher whose folder was replaced, and makes it look once more. */
    running: {
      entry: "markWatched",
      invoke: {
        src: "watchFolders",
        input: ({ context: { ports, certPem, keyPem } }) => ({
          ports,
          folders: [...new Set([dirname(certPem), dirname(keyPem)])],
        }),
      },
      on: {
        "trust.changed": {
          actions: [{ type: "takeTrust", params: ({ event }) => ({ snapshot: event.snapshot }) }, sayVerdict],
        },
        "identity.reload": { target: ".reading", reenter: true, actions: "forgetBroken" },
        "files.touched": { actions: "markTouched" },
        "watch.failed": { actions: ["markUnwatched", { type: "reportUnwatched", params: failure }] },
      },
      initial: "watching",
      states: {
        watching: {
          entry: ["markRested", reviewExpiry],
          always: { guard: "wasTouched", target: "settling" },
          after: { poll: "looking" },
          on: { "files.touched": { target: "settling" } },
        },
        settling: { after: { settle: "looking" } },
        looking: {
          entry: "beginLook",
          invoke: {
            src: "lookAtIdentity",
            input: ({ context: { ports, certPem, keyPem } }) => ({ ports, files: { certPem, keyPem } }),
          },
          on: {
            "effect.done.lookAtIdentity": [
              { guard: { type: "isRead", params: looked }, target: "watching" },
              { guard: { type: "hasSettled", params: looked }, target: "reading" },
              { target: "settling", actions: { type: "markSeen", params: looked } },
            ],
            "effect.failed.lookAtIdentity": { target: "watching" },
          },
        },
        reading: {
          ...readFiles,
          on: {
            "effect.done.readIdentity": [
              {
                guard: { type: "isNew", params: reading },
                target: "#identity.running",
                reenter: true,
                actions: [
                  { type: "reportRenewed", params: reading },
                  { type: "take", params: reading },
                  "sayLoaded",
                  "markReviewed",
                  "reportExpiry",
                  sayVerdict,
                ],
              },
              {
                guard: { type: "loads", params: reading },
                target: "watching",
                actions: { type: "keepPair", params: reading },
              },
              { guard: "isFresh", target: "doubting", actions: { type: "noteBroken", params: reading } },
              { target: "watching", actions: [{ type: "noteBroken", params: reading }, sayBroken] },
            ],
            "effect.failed.readIdentity": { target: "watching" },
          },
        },
        doubting: { after: { doubt: "reading" } },
      },
    },
    failed: { type: "final" },
  },
});
