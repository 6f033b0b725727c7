/**
 * Owns the node's key and certificate: loads them, checks them, and watches their end come.
 *
 * ```
 * loading ── effect.done ──▶ loaded ⟲ a look at the dates from time to time; trust.changed: does our own trust verify us?
 *    │ effect.failed
 *    ▼
 *  failed
 * ```
 *
 * Says to its parent `identity.loaded` or `identity.failed`, once. `loading` and `failed` ignore `trust.changed`. A
 * renewed pair will be loaded here and said as a further `identity.loaded` with the next generation: rotation is a state
 * beside `loaded`, and nothing outside has to change for it.
 *
 * @module
 */
import { assign, sendParent, setup } from "xstate";
import type { TrustSnapshot } from "../pki/trust.ts";
import type { NodeIdentity } from "../transport/port.ts";
import { type EffectInput, type EffectSaid, fromEffect } from "./effect_actor.ts";
import type { LoadError } from "./load_error.ts";
import { checkOwnChain, type IdentityFiles, loadIdentity } from "./load_identity.ts";
import type { Ports } from "./ports.ts";

/** Which files hold the pair. */
export interface IdentityInput {
  readonly ports: Ports;
  /** Paths, as in the configuration. */
  readonly certPem: string;
  readonly keyPem: string;
}

/** What the machine says to its parent. */
export type IdentitySaid =
  | { readonly type: "identity.loaded"; readonly identity: NodeIdentity }
  | { readonly type: "identity.failed"; readonly error: unknown };

/** What it hears: that trust is there or changed, to check its own chain against it. */
export type IdentityEvent =
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  | EffectSaid<"loadIdentity", NodeIdentity, LoadError>;

export interface IdentityContext extends IdentityInput {
  readonly identity: NodeIdentity | undefined;
  readonly error: unknown;
}

/** How often the dates are looked at, in milliseconds. */
export const reviewEveryMs = 60 * 60 * 1_000;
/** From when on the coming end of the certificate is said, in milliseconds before it. */
export const expiryWarningMs = 14 * 24 * 60 * 60 * 1_000;

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
      ? `Own certificate expired at ${when}: peers refuse it. Issue a new one: hypha-certutil gen-cert, then restart`
      : `Own certificate expires at ${when}. Issue a new one before: hypha-certutil gen-cert`,
    fields: { file: certPem, notAfter: when },
  });
}

function reportUnverified({ identity, ports, certPem }: IdentityContext, snapshot: TrustSnapshot): void {
  if (identity === undefined) return;
  const refusal = checkOwnChain(identity, snapshot, new Date(ports.now()));
  if (refusal === undefined) return;
  ports.report({
    level: "warn",
    event: "identity.unverified",
    message: `Own trust does not verify own certificate, peers that trust the same will refuse it: ${refusal.message}`,
    fields: { file: certPem, code: refusal.code, hint: refusal.hint },
  });
}

/** The node's own pair as a machine. */
export const identityMachine = setup({
  types: {
    input: {} as IdentityInput,
    context: {} as IdentityContext,
    events: {} as IdentityEvent,
  },
  actors: {
    loadIdentity: fromEffect(
      "loadIdentity",
      ({ files }: EffectInput & { files: IdentityFiles }) => loadIdentity(files),
    ),
  },
  actions: {
    takeIdentity: assign((_, { identity }: { identity: NodeIdentity }) => ({ identity })),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    sayLoaded: sendParent((_, { identity }: { identity: NodeIdentity }) => ({ type: "identity.loaded", identity })),
    sayFailed: sendParent((_, { error }: { error: unknown }) => ({ type: "identity.failed", error })),
    reportExpiry: ({ context }) => reportExpiry(context),
    reportUnverified: ({ context }, { snapshot }: { snapshot: TrustSnapshot }) => reportUnverified(context, snapshot),
  },
  delays: { reviewEveryMs },
}).createMachine({
  id: "identity",
  context: ({ input }) => ({ ...input, identity: undefined, error: undefined }),
  initial: "loading",
  states: {
    loading: {
      invoke: {
        src: "loadIdentity",
        input: ({ context: { ports, certPem, keyPem } }) => ({
          ports,
          files: { certPem, keyPem, generation: 1, at: new Date(ports.now()) },
        }),
      },
      on: {
        "effect.done.loadIdentity": {
          target: "loaded",
          actions: [
            { type: "takeIdentity", params: ({ event }) => ({ identity: event.value }) },
            { type: "sayLoaded", params: ({ event }) => ({ identity: event.value }) },
          ],
        },
        "effect.failed.loadIdentity": {
          target: "failed",
          actions: [
            { type: "takeError", params: ({ event }) => ({ error: event.error }) },
            { type: "sayFailed", params: ({ event }) => ({ error: event.error }) },
          ],
        },
      },
    },
    loaded: {
      entry: "reportExpiry",
      after: { reviewEveryMs: { target: "loaded", reenter: true } },
      on: {
        "trust.changed": {
          actions: { type: "reportUnverified", params: ({ event }) => ({ snapshot: event.snapshot }) },
        },
      },
    },
    failed: { type: "final" },
  },
});
