/**
 * The gate's checks in a plain function: what the machine costs is measured against this.
 *
 * @module
 */
import { Result } from "effect";
import { VerificationCache } from "../../../pki/verification_cache.ts";
import { HandshakeTimeout, HungUp, type Refusal } from "../../../pki/refusal.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { widestPolicy } from "../../../pki/trust.ts";
import type { GateEvent, GateInput, GatePhase, GateSaid, MakeGate } from "../../../transport/port.ts";
import { rememberingChecks } from "../../../actors/gate/gate_checks.ts";

/** Makes gates that judge like the network's own, without a machine, supervision or re-verification. */
export function makePlainGates(now: () => number): MakeGate {
  const checks = rememberingChecks(new VerificationCache());
  const verify = (event: Extract<GateEvent, { type: "tls.secured" }>, { snapshot, expectedPeer }: GateInput) =>
    Result.gen(function* () {
      yield* checks.tlsVersion(event.version);
      const wellFormed = yield* checks.wellFormed(event.chain);
      yield* checks.algorithm(wellFormed, widestPolicy(snapshot));
      const found = yield* checks.path(wellFormed, snapshot);
      const at = new Date(now());
      const within = yield* checks.validity(found, at);
      yield* checks.revocation(within, snapshot, at);
      const identity = yield* checks.identity(wellFormed, expectedPeer);
      yield* checks.role(identity, snapshot.policy);
      return identity;
    });
  return (input) => {
    const listeners = new Set<(said: GateSaid) => void>();
    let phase: GatePhase = "admitting";
    let refusal: Refusal | undefined;
    let identity: PeerIdentity | undefined;
    const say = (said: GateSaid) => listeners.forEach((listener) => listener(said));
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
      get identity() {
        return identity;
      },
      send(event) {
        if (phase === "refused" || phase === "closed") return;
        if (event.type === "connection.securing") phase = "securing";
        else if (event.type === "tls.secured") {
          const verdict = verify(event, input);
          if (Result.isFailure(verdict)) return refuse(verdict.failure);
          [phase, identity] = ["opening", verdict.success];
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
