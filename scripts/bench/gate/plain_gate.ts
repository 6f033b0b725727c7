/**
 * The gate's checks in a plain function: what the machine costs is measured against this.
 *
 * @module
 */
import { Result } from "effect";
import { verifyingChecks } from "../../../actors/gate/gate_checks.ts";
import { firstRefusal, holds, runChecks } from "../../../pki/checks/check_table.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { HandshakeTimeout, HungUp, Internal, type Refusal } from "../../../pki/refusal.ts";
import { cachedChecks, VerificationCache } from "../../../pki/verification_cache.ts";
import type { GateCommand, GateEvent, GateInput, GatePhase, MakeGate } from "../../../transport/port.ts";

/** Makes gates that run the network's own checks, without a machine, supervision or re-verification. */
export function makePlainGates(now: () => number): MakeGate {
  const functions = cachedChecks(new VerificationCache());
  const verify = ({ version, chain }: Extract<GateCommand, { type: "tls.secured" }>, input: GateInput) => {
    const { snapshot, expectedPeer } = input;
    const terms = { at: () => new Date(now()), expectedPeer };
    const evidence = { version, chain, snapshot, terms };
    const outcomes = runChecks(verifyingChecks, evidence, (check, seen) => check.run(seen, functions));
    return { refused: firstRefusal(verifyingChecks, outcomes), proven: outcomes.identity };
  };
  return (input) => {
    const listeners = new Set<(said: GateEvent) => void>();
    let phase: GatePhase = "admitting";
    let refusal: Refusal | undefined;
    let identity: PeerIdentity | undefined;
    const say = (said: GateEvent) => listeners.forEach((listener) => listener(said));
    const refuse = (why: Refusal) => {
      clearTimeout(timer);
      [phase, refusal] = ["refused", why];
      say({ type: "gate.refused", refusal: why });
    };
    const timer = setTimeout(
      () => refuse(new HandshakeTimeout({ state: phase, afterMs: input.deadlineMs })),
      input.deadlineMs,
    );
    if (Result.isFailure(input.admission)) refuse(input.admission.failure);
    return {
      id: input.id,
      get phase() {
        return phase;
      },
      get refusal() {
        return refusal;
      },
      expiresAt: undefined,
      get identity() {
        return identity;
      },
      send(event) {
        if (phase === "refused" || phase === "closed") return;
        if (event.type === "connection.securing") phase = "securing";
        else if (event.type === "tls.secured") {
          const { refused, proven } = verify(event, input);
          if (refused !== undefined || !holds(proven)) {
            return refuse(refused ?? new Internal({ detail: "no identity" }));
          }
          phase = "opening";
          identity = proven.success;
          say({ type: "gate.verified", identity });
        } else if (event.type === "connection.opened" && identity !== undefined) {
          clearTimeout(timer);
          phase = "established";
          say({ type: "gate.established", identity });
        } else if (event.type === "tls.failed" || event.type === "opening.failed") refuse(event.refusal);
        else if (phase === "established") {
          phase = "closed";
          say({ type: "gate.closed", reason: { type: "by-them" } });
        } else refuse(new HungUp({ detail: event.type }));
      },
      listen(listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      stop: () => clearTimeout(timer),
    };
  };
}
