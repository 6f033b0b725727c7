/**
 * Limits and times that a seed draws for all nodes of its run, in place of the defaults of production.
 *
 * The invariants must hold within these ranges. A scenario names the knobs that it turned; shrinking turns them back.
 *
 * @module
 */
import { defaultLimits } from "../../transport/core/admission.ts";
import type { CommonConfig } from "../config/config.ts";
import { crlGraceHoursDefault, drainTimeoutMsDefault, handshakeTimeoutMsDefault } from "../config/defaults.ts";
import { jobLimits } from "../job/limits.ts";
import { defaultIdentityTiming } from "../trust/identity.ts";
import { defaultTiming } from "../trust/trust_store.ts";
import { leaseLifeMs } from "../worker/lease.ts";
import { randomOf } from "../runtime/random.ts";

interface Range {
  readonly least: number;
  readonly most: number;
  /** What production uses. */
  readonly normal: number;
}

/** All knobs. Times in milliseconds unless the name says otherwise. */
export const knobRanges = {
  handshakeTimeoutMs: { least: 2_500, most: 5_000, normal: handshakeTimeoutMsDefault },
  pendingMax: { least: 16, most: 256, normal: defaultLimits.pendingMax },
  pendingPerAddressMax: { least: 4, most: 64, normal: defaultLimits.pendingPerAddressMax },
  connectionsMax: { least: 48, most: 4_096, normal: defaultLimits.connectionsMax },
  connectionsPerAddressMax: { least: 8, most: 512, normal: defaultLimits.connectionsPerAddressMax },
  connectionsPerPeerMax: { least: 3, most: 8, normal: defaultLimits.connectionsPerPeerMax },
  handshakesPerSecond: { least: 2, most: 50, normal: defaultLimits.handshakesPerSecond },
  handshakesBurst: { least: 10, most: 200, normal: defaultLimits.handshakesBurst },
  crlGraceHours: { least: 0, most: 48, normal: crlGraceHoursDefault },
  drainTimeoutMs: { least: 2_000, most: 11_000, normal: drainTimeoutMsDefault },
  /** Turned, connections of a previous certificate end after this too (`drain = "time"`). */
  rotationDrainMs: { least: 5_000, most: 60_000, normal: 600_000 },
  trustSettleMs: { least: 10, most: 120, normal: defaultTiming.settleMs },
  trustPollMs: { least: 1_000, most: 5_000, normal: defaultTiming.pollMs },
  identityPollMs: { least: 1_000, most: 10_000, normal: defaultIdentityTiming.pollMs },
  identityPatienceMs: { least: 2_600, most: 6_000, normal: defaultIdentityTiming.patienceMs },
  leaseLifeMs: { least: 5_000, most: 12_000, normal: leaseLifeMs },
  jobPrepareMs: { least: 3_000, most: 10_000, normal: jobLimits.prepareMs },
  jobEndMs: { least: 6_000, most: 15_000, normal: jobLimits.endMs },
  /** An executor's batch: a round has two to six. */
  batchMs: { least: 500, most: 1_800, normal: 1_000 },
  jobIdleMs: { least: 10_000, most: 60_000, normal: jobLimits.idleMs },
} as const satisfies Record<string, Range>;

export type KnobName = keyof typeof knobRanges;
/** Knobs that were turned; production's value stands for every other. */
export type Knobs = Readonly<Partial<Record<KnobName, number>>>;

export const knobNames = Object.keys(knobRanges) as readonly KnobName[];
/** A knob is turned in this part of the seeds. */
const turnedShare = 0.3;

/** Draws the knobs of a seed; each by a name of its own. */
export function drawKnobs(seed: number): Knobs {
  const knobs: Partial<Record<KnobName, number>> = {};
  for (const name of knobNames) {
    const random = randomOf(seed, `knob/${name}`);
    if (random.chance(turnedShare)) knobs[name] = drawKnob(name, random.next());
  }
  return knobs;
}

/** A value of a knob's range; small ones are drawn as often as large ones. `at` lies in [0, 1). */
export function drawKnob(name: KnobName, at: number): number {
  const { least, most } = knobRanges[name];
  return Math.round((least + 1) * ((most + 1) / (least + 1)) ** at - 1);
}

/** A knob's value in a run. */
export function valueOf(knobs: Knobs, name: KnobName): number {
  return knobs[name] ?? knobRanges[name].normal;
}

/** The part of a node's configuration that knobs turn. */
export function configOf(
  knobs: Knobs,
): Pick<CommonConfig, "handshakeTimeoutMs" | "crlGraceHours" | "limits" | "drainTimeoutMs" | "rotation"> {
  const of = (name: KnobName) => valueOf(knobs, name);
  return {
    handshakeTimeoutMs: of("handshakeTimeoutMs"),
    crlGraceHours: of("crlGraceHours"),
    drainTimeoutMs: of("drainTimeoutMs"),
    rotation: { drain: knobs.rotationDrainMs === undefined ? "expiry" : "time", drainMs: of("rotationDrainMs") },
    limits: {
      pendingMax: of("pendingMax"),
      pendingPerAddressMax: of("pendingPerAddressMax"),
      connectionsMax: of("connectionsMax"),
      connectionsPerAddressMax: of("connectionsPerAddressMax"),
      connectionsPerPeerMax: of("connectionsPerPeerMax"),
      handshakesPerSecond: of("handshakesPerSecond"),
      handshakesBurst: of("handshakesBurst"),
    },
  };
}
