/**
 * The defaults, each with its reason. Those of the limits on connections are in `transport/core/admission.ts`.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import type { KeyAlgorithm } from "../../pki/certificate.ts";
import type { RotationPolicy } from "../../transport/port.ts";

/** Loopback, private, link-local and unique-local addresses (RFC 6890), as the existing nodes have it. */
export const excludeCidrDefault: readonly string[] = [
  "127.0.0.0/8",
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "169.254.0.0/16",
  "::1/128",
  "fc00::/7",
  "fe80::/10",
];

/** From the start of a connection to its verdict; libp2p's own limits are higher. */
export const handshakeTimeoutMsDefault = 5_000;

/** How long a revocation list past its `nextUpdate` still counts: fail closed, but without a cliff. */
export const crlGraceHoursDefault = 24;

/** How long a node may take to end its work and close its connections. A job's process gets 5 s to end by itself. */
export const drainTimeoutMsDefault = 10_000;

/**
 * Connections of a former certificate do no harm until it ends: peers verified it. A former key gets ten minutes, which
 * a round of training ends in; a worker takes no new work meanwhile.
 */
export const rotationDefault: RotationPolicy = { drain: "expiry", drainMs: 600_000 };

/** The specification asks for Ed25519. */
export const keyAlgorithmsDefault: readonly KeyAlgorithm[] = ["ed25519"];

/** X25519MLKEM768 first where the runtime offers it, against a recording that is decrypted later. */
export const keyExchangeDefault = "hybrid";

/** The existing network's certificates name no role. */
export const requireRolesDefault = false;

/** A node behind a router is reached through its gateways. */
export const relayCircuitDefault = true;

/** The existing nodes show no grant. */
export const requireGrantDefault = false;

/** The offer of a worker without `[offer]`, which the `init` of the existing nodes leaves out. */
export const offerDefault = { price: 1, floor: 0, strategy: "flexible" } as const;

/** Names of the executors that the existing network's schedulers ask for. */
export const executorsDefault = { train: "diloco-transformer", aggregate: "parameter-server" } as const;

/** What a job leaves to the executor where it is not set. */
export const modelDefault = { revision: undefined, token: undefined } as const;
export const innerOptimizerDefault = { betas: undefined, epsilon: undefined } as const;
export const roundsDefault = { maxBatchSize: undefined, keepRounds: 3 } as const;

/** How updates are joined, and how long a round may take, in seconds: longer than the existing network's rounds of minutes. */
export const aggregationDefault = {
  method: "mean",
  trim: 0.25,
  clipNormRatio: 2,
  maxNormRatio: 10,
  quorum: 1,
  roundDeadlineS: 3_600,
} as const;

/** How often metrics are sent (`OTEL_METRIC_EXPORT_INTERVAL`'s default). */
export const telemetryIntervalMsDefault = 60_000;

/** How long the last sending of metrics may hold up a program that ends. */
export const telemetryLeaveMs = 2_000;

/**
 * The state directory where `state_dir` is not set: the one that systemd made for the service (`$STATE_DIRECTORY`, of
 * several the first), or `.hypha/NAME` in the folder of the configuration file, NAME its name without `.toml`.
 */
export function stateDirDefault(file: string, environment: Readonly<Record<string, string | undefined>>): string {
  const given = environment["STATE_DIRECTORY"]?.split(":")[0];
  return given ? given : join(dirname(file), ".hypha", basename(file, ".toml"));
}
