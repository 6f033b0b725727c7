/**
 * Keeps the bundle of one partner's trust domain up to date, as long as the node runs.
 *
 * ```
 * idle ── trust.changed ─▶ fetching ─▶ resting ── refresh hint ─▶ fetching
 *                              └─────▶ failing ── a minute and more ─▶ fetching   (the last bundle stays in force)
 * ```
 *
 * Writes a file and decides nothing about trust: the trust store reads it.
 *
 * @module
 */
import { type ActorRef, assign, setup, type Snapshot } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { AskHttps } from "../enrolment/ask_https.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { BundleProfile } from "../config/config.ts";
import { BundleRefused } from "./bundle_refused.ts";
import type { CheckedBundle } from "./check_bundle.ts";
import { type BundlePlace, fetchBundle } from "./fetch_bundle.ts";

/** Bounds of the time between two fetches, in milliseconds, and that of a bundle without a hint (SPIFFE: minutes). */
export const fetchMinMs = 60_000;
const fetchMaxMs = 24 * 60 * 60_000;
const hintDefaultSeconds = 300;
/** Delays after failures: never less than a minute after jitter. */
const failureBackoff = { firstMs: 2 * fetchMinMs, maxMs: 15 * 60_000 };

/** The input of the machine. */
export interface PartnerInput {
  readonly ports: Ports;
  readonly ask: AskHttps;
  /** The partner's trust domain. */
  readonly domain: string;
  readonly url: string;
  /** SHA-256 of the SPKI of the partner's root, lower-case hexadecimal; any root counts where undefined. */
  readonly pin: string | undefined;
  readonly profile: BundleProfile;
  /** Where the bundle is kept. */
  readonly path: string;
}

/** What the machine is told. */
export interface PartnerCommand {
  readonly type: "trust.changed";
  readonly snapshot: TrustSnapshot;
}

/** The machine as its node sees it. */
export type PartnerRef = ActorRef<Snapshot<unknown>, PartnerCommand>;

export interface PartnerContext extends PartnerInput {
  readonly snapshot: TrustSnapshot | undefined;
  /** Fetches in a row that brought nothing. */
  readonly failures: number;
  /** The code of the failure that was reported last; undefined after a success. */
  readonly reported: string | undefined;
  readonly waitMs: number;
}

const actors = { fetchBundle: fromEffect("fetchBundle", (input: EffectInput & BundlePlace) => fetchBundle(input)) };

export type PartnerEvent = PartnerCommand | EventsOf<typeof actors>;

/** The failure as the typed refusal, where an Effect died too. */
function refusalOf(error: unknown, domain: string): BundleRefused {
  if (error instanceof BundleRefused) return error;
  return new BundleRefused({ code: "bundle-unreachable", domain, detail: String(error) });
}

/** When to look again, spread by a tenth so that nodes do not ask all at once. */
function restMs({ bundle: { refreshHintSeconds = hintDefaultSeconds } }: CheckedBundle, random: number): number {
  return Math.max(fetchMinMs, Math.min(fetchMaxMs, refreshHintSeconds * 1_000) * (0.9 + random / 5));
}

function reportTaken({ ports, domain, url, reported }: PartnerContext, { bundle, news }: CheckedBundle): void {
  const { sequence, authorities } = bundle;
  const fields = { domain, url, sequence, authorities: authorities.length };
  if (news === "new") {
    const message = `Took bundle ${sequence ?? "without sequence"} of ${domain}: ${authorities.length} CAs`;
    ports.report({ level: "info", event: "bundle.taken", message, fields });
  } else if (reported !== undefined) {
    ports.report({
      level: "info",
      event: "bundle.fetched",
      message: `Bundle of ${domain} can be fetched again`,
      fields,
    });
  }
}

/** Each kind of failure is reported once until a fetch succeeds. */
function reportRefused({ ports, domain, url, reported }: PartnerContext, error: unknown): void {
  const refusal = refusalOf(error, domain);
  const { code, message } = refusal;
  if (reported === code) return;
  const level = code === "bundle-unreachable" ? "warn" : "error";
  ports.report({ level, event: "bundle.refused", message, fields: { domain, url, code } });
}

const machine = setup({
  types: { input: {} as PartnerInput, context: {} as PartnerContext, events: {} as PartnerEvent },
  actors,
  actions: {
    takeTrust: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ snapshot })),
    noteTaken: assign(({ context: { ports } }, checked: CheckedBundle) => ({
      failures: 0,
      reported: undefined,
      waitMs: restMs(checked, ports.random()),
    })),
    noteFailure: assign(({ context: { ports, failures, domain } }, { error }: { error: unknown }) => ({
      failures: failures + 1,
      reported: refusalOf(error, domain).code,
      waitMs: backoffMs(failures + 1, ports.random(), failureBackoff),
    })),
    reportTaken: ({ context }, checked: CheckedBundle) => reportTaken(context, checked),
    reportRefused: ({ context }, { error }: { error: unknown }) => reportRefused(context, error),
  },
  delays: { wait: ({ context }) => context.waitMs },
});

const trust = { type: "takeTrust", params: ({ event }: { readonly event: PartnerCommand }) => event } as const;
type Done = { readonly event: { readonly value: CheckedBundle } };
const checked = ({ event }: Done) => event.value;
const failure = ({ event }: { readonly event: { readonly error: unknown } }) => ({ error: event.error });

/** The machine. */
export const partnerBundleMachine = machine.createMachine({
  id: "partnerBundle",
  context: ({ input }) => ({ ...input, snapshot: undefined, failures: 0, reported: undefined, waitMs: 0 }),
  initial: "idle",
  on: { "trust.changed": { actions: trust } },
  states: {
    idle: { on: { "trust.changed": { target: "fetching", actions: trust } } },
    fetching: {
      invoke: {
        src: "fetchBundle",
        input: ({ context: { ports, ask, domain, url, pin, profile, path, snapshot } }) => ({
          ...{ ports, ask, domain, url, pin, profile, path },
          snapshot: present(snapshot, "the trust snapshot"),
          at: new Date(ports.now()),
        }),
      },
      on: {
        "effect.done.fetchBundle": {
          target: "resting",
          actions: [{ type: "reportTaken", params: checked }, { type: "noteTaken", params: checked }],
        },
        "effect.failed.fetchBundle": {
          target: "failing",
          actions: [{ type: "reportRefused", params: failure }, { type: "noteFailure", params: failure }],
        },
      },
    },
    resting: { after: { wait: "fetching" } },
    failing: { after: { wait: "fetching" } },
  },
});
