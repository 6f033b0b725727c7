/**
 * OpenTelemetry's samplers (specification of the SDK, "Built-in samplers"): which traces are kept.
 *
 * @module
 */
import type { TelemetrySampler } from "../config/telemetry_values.ts";

/**
 * Decides about a trace.
 *
 * @param parent Whether the sender of its context keeps it; undefined where it begins here.
 */
export type Sampler = (traceId: string, parent: boolean | undefined) => boolean;

/** The ratio where a sampler needs one and none is given. */
export const sampleRatioDefault = 1;

/** Bits of a trace's identifier that decide: its last seven bytes, which are random in every version of the format. */
const decidingDigits = 14;
const ids = 2 ** 56;

/** Makes a sampler. Equal trace identifiers are decided alike on all nodes of the same ratio. */
export function makeSampler(kind: TelemetrySampler, ratio = sampleRatioDefault): Sampler {
  const root = kind.endsWith("always_on")
    ? () => true
    : kind.endsWith("always_off")
    ? () => false
    : (traceId: string) => Number.parseInt(traceId.slice(-decidingDigits), 16) < ratio * ids;
  return kind.startsWith("parentbased_")
    ? (traceId, parent) => parent ?? root(traceId)
    : (traceId, _parent) => root(traceId);
}
