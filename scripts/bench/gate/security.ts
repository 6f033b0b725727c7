/**
 * The encrypter of an end that is ours: which gates it has, and no limits but those that a way is for.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import { defaultFrameLimits } from "../../../transport/libp2p/frame_guard.ts";
import { makeMtlsSecurity, type MtlsSecurity } from "../../../transport/libp2p/mtls_security.ts";
import type { NodeIdentity } from "../../../transport/port.ts";
import type { EndSetup } from "./endpoint.ts";
import { makePlainGates } from "./plain_gate.ts";

/** Of everything more than a measurement makes. */
export const unlimited = 1_000_000;
const dayMs = 86_400_000;

/** The identity of an end. */
export function identityFrom({ identity, chain }: Pick<EndSetup, "identity" | "chain">): NodeIdentity {
  return {
    ...identity,
    chain: chain.map((der) => Buffer.from(der, "base64")),
    generation: 1,
    notAfter: new Date(Date.now() + dayMs),
  };
}

/** The trust of an end, with the lists of a file. */
export function snapshotFrom({ trustPem }: EndSetup, crlsPath: string, generation: number): TrustSnapshot {
  const crlsPem = readFileSync(crlsPath, "latin1");
  const made = makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation, at: new Date() });
  return Result.getOrThrow(made).snapshot;
}

/** The encrypter and its gater. */
export function securityOf(setup: EndSetup, identity: NodeIdentity): MtlsSecurity {
  const ports = { now: Date.now, report: () => {} };
  const rate = setup.way === "limited" ? 0 : unlimited;
  return makeMtlsSecurity({
    identity: () => identity,
    snapshot: snapshotFrom(setup, setup.crlsPath, 1),
    makeGate: setup.way === "plain" ? makePlainGates(Date.now) : makeGateFactory({ ports }),
    keyExchange: setup.way === "hybrid" ? "hybrid" : "classical",
    deadlineMs: 30_000,
    // Every dialler here is the same peer, whose frames would have to wait for their turn; they are read all the same.
    frames: { ...defaultFrameLimits, perSecondUs: unlimited * 1_000, burstUs: unlimited * 1_000 },
    limits: {
      ...defaultLimits,
      connectionsMax: unlimited,
      connectionsPerAddressMax: unlimited,
      connectionsPerPeerMax: unlimited,
      handshakesPerSecond: rate,
      handshakesBurst: rate,
    },
    now: Date.now,
  });
}
