/**
 * Starts the telemetry machine of a program, next to its node, from the configuration.
 *
 * @module
 */
import type { RoleConfig } from "../../actors/config/config.ts";
import { telemetryIntervalMsDefault } from "../../actors/config/defaults.ts";
import { readEndpoint, readHeaders, readListenPlace, readPairs } from "../../actors/config/telemetry_values.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { type TelemetryInput, telemetryMachine } from "../../actors/telemetry/telemetry.ts";
import { type ObservedNode, samplesOf, unreadyReason } from "../../actors/telemetry/samples.ts";
import type { GateTally, LineTally } from "../../actors/telemetry/tallies.ts";
import { version } from "./version.ts";

/** The sources of telemetry. */
export interface TelemetrySources {
  readonly config: RoleConfig;
  readonly ports: Ports;
  readonly gates: GateTally;
  readonly lines: LineTally;
  /** The node's actor, once there is one. */
  readonly node: () => ObservedNode | undefined;
}

/** Starts telemetry. The result ends it, after a last sending, within about two seconds. */
export function startTelemetry(sources: TelemetrySources): () => Promise<void> {
  const { config, ports, gates, lines, node } = sources;
  const input: TelemetryInput = {
    ports,
    collector: collectorOf(config, ports),
    intervalMs: config.telemetry.intervalMs ?? telemetryIntervalMsDefault,
    listen: orUndefined(readListenPlace, config.telemetry.listen),
    collect: () => [
      ...samplesOf({ node: node(), gates, lines, version, now: ports.now() }),
      { name: "hypha_telemetry_failures_total", value: failures },
    ],
    unready: () => unreadyReason(node()),
  };
  let failures = 0;
  let ended = () => {};
  const end = new Promise<void>((resolve) => (ended = resolve));
  const actor = superviseRoot(telemetryMachine, {
    id: "telemetry",
    input,
    onDone: ended,
    onSnapshot: ({ context }) => (failures = context.failures),
    onError: (error) => {
      ports.report({
        level: "error",
        event: "telemetry.crashed",
        message: `Cannot go on with telemetry, the node goes on without: ${
          error instanceof Error ? error.message : error
        }`,
        fields: { hint: "This is a bug: please report it with this line." },
      });
      ended();
    },
  });
  return () => {
    actor.send({ type: "telemetry.leave" });
    return end;
  };
}

/** The configuration was checked with the same readers: a complaint cannot come any more. */
function orUndefined<A>(read: (text: string) => A | string, text: string | undefined): A | undefined {
  const outcome = text === undefined ? undefined : read(text);
  return typeof outcome === "string" ? undefined : outcome;
}

function collectorOf({ role, telemetry }: RoleConfig, { now, uuid }: Ports): TelemetryInput["collector"] {
  const url = orUndefined(readEndpoint, telemetry.endpoint);
  if (url === undefined) return undefined;
  return {
    url,
    protocol: telemetry.protocol ?? "http/protobuf",
    headers: orUndefined(readHeaders, telemetry.headers) ?? {},
    resource: {
      "service.name": `hypha-${role}`,
      "service.version": version,
      "service.instance.id": uuid(),
      ...orUndefined(readPairs, telemetry.attributes),
    },
    startedAt: now(),
  };
}
