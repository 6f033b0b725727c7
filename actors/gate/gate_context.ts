/**
 * What a connection gate knows: its input, its context, and when the first certificate ends.
 *
 * @module
 */
import { type CheckFunctions, holds } from "../../pki/checks/check_table.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type { CloseReason, GateInput } from "../../transport/port.ts";
import { timerMaxMs } from "../runtime/ports.ts";
import type { CheckInput, GateEvidence } from "./gate_checks.ts";

/** The input of a gate: what the transport tells of the connection, and the node's clock. */
export interface ConnectionGateInput extends GateInput {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The node's own functions, with its cache; those of `pki/` where undefined. */
  readonly checks?: CheckFunctions;
}

/** The evidence and every outcome, and in the end why the connection was refused or closed. */
export interface ConnectionGateContext extends GateEvidence {
  /** In one field: xstate copies the context with each assignment, and objects of 20 fields and more are slow to copy. */
  readonly input: ConnectionGateConstants;
  /** What a deadline that fires interrupts. */
  readonly waitingFor: "admission" | "TLS" | "libp2p";
  /** Why the peer was refused, once it was. */
  readonly refusal: Refusal | undefined;
  /** Why an established connection ended, once it did. */
  readonly reason: CloseReason | undefined;
}

/** What never changes in a gate's life. */
export interface ConnectionGateConstants extends CheckInput {
  readonly id: string;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  readonly deadlineMs: number;
  readonly checks: CheckFunctions | undefined;
}

/** The shortest time between two checks of an expiry, in milliseconds: a clock that stands still is not read in a loop. */
export const expiryCheckMinMs = 50;

/** The context of a new gate. */
export function contextFrom(input: ConnectionGateInput): ConnectionGateContext {
  const { id, direction, address, expectedPeer, admission, snapshot, own, deadlineMs, now, checks } = input;
  return {
    input: {
      id,
      direction,
      address,
      expectedPeer,
      own: { name: own.name, notAfter: own.notAfter },
      deadlineMs,
      checks,
      now,
      createdAt: now(),
    },
    admission,
    snapshot,
    version: "",
    chain: [],
    verifiedBefore: false,
    waitingFor: "admission",
    opened: false,
    refusal: undefined,
    reason: undefined,
  };
}

/** When the first certificate of the path ends, or what we showed the peer, in milliseconds since the epoch. */
export function expiryOf({ revocation, input }: ConnectionGateContext): number | undefined {
  if (!holds(revocation)) return undefined;
  return Math.min(revocation.success.expiresAt.getTime(), input.own.notAfter.getTime());
}

/**
 * Milliseconds until the first certificate of the path, or of what we showed the peer, has expired (`notAfter` itself is
 * still valid).
 */
export function untilExpiryMs(context: ConnectionGateContext): number {
  const endsAt = expiryOf(context);
  if (endsAt === undefined) return expiryCheckMinMs;
  const leftMs = endsAt - context.input.now() + 1;
  return Math.min(timerMaxMs, Math.max(expiryCheckMinMs, leftMs));
}
