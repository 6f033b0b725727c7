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
import type { Collector } from "../../actors/telemetry/collector.ts";
import type { Sample } from "../../actors/telemetry/instruments.ts";
import { type Outgoing, senderMachine } from "../../actors/telemetry/sender.ts";
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
  /** Records that the audit log has lost. */
  readonly lostRecords: () => number;
  /** The node's actor, once there is one. */
  readonly node: () => ObservedNode | undefined;
  /** What is sent besides metrics. */
  readonly outgoing: readonly Outgoing[];
}

/** Starts telemetry. The result ends it, after a last sending, within about two seconds. */
export function startTelemetry(sources: TelemetrySources): () => Promise<void> {
  const { config, ports, gates, lines, lostRecords, node, outgoing } = sources;
  const collector = collectorOf(config.role, config.telemetry, ports);
  const senders = startSenders({ ports, collector, outgoing });
  const input: TelemetryInput = {
    ports,
    collector,
    intervalMs: config.telemetry.intervalMs ?? telemetryIntervalMsDefault,
    listen: orUndefined(readListenPlace, config.telemetry.listen),
    collect: () => [
      ...samplesOf({ node: node(), gates, lines, lostRecords: lostRecords(), version, now: ports.now() }),
      { name: "hypha_telemetry_failures_total", value: failures + senders.failures() },
      ...outgoing.map(({ signal, queue }): Sample => ({
        name: "hypha_telemetry_dropped_total",
        labels: { signal },
        value: queue.dropped,
      })),
    ],
    unready: () => unreadyReason(node()),
  };
  let failures = 0;
  const { promise: end, resolve: ended } = Promise.withResolvers<void>();
  const actor = superviseRoot(telemetryMachine, {
    id: "telemetry",
    input,
    onDone: ended,
    onSnapshot: ({ context }) => (failures = context.failures),
    onError: (error) => {
      reportCrash(ports, error);
      ended();
    },
  });
  return async () => {
    actor.send({ type: "telemetry.leave" });
    await Promise.all([end, senders.leave()]);
  };
}

function reportCrash(ports: Ports, error: unknown): void {
  ports.report({
    level: "error",
    event: "telemetry.crashed",
    message: `Cannot go on with telemetry, the node goes on without: ${error instanceof Error ? error.message : error}`,
    fields: { hint: "This is a bug: please report it with this line." },
  });
}

/** Senders that run. */
export interface Senders {
  /** Exports that failed. */
  readonly failures: () => number;
  /** Ends them, after a last export, within about two seconds. */
  readonly leave: () => Promise<void>;
}

/** Starts a sender for each signal; none without a collector. */
export function startSenders(
  { ports, collector, outgoing }: Pick<TelemetrySources, "ports" | "outgoing"> & Pick<TelemetryInput, "collector">,
): Senders {
  const running = collector === undefined ? [] : outgoing.map((each) => startSender(ports, collector, each));
  return {
    failures: () => running.reduce((sum, { failures }) => sum + failures(), 0),
    leave: async () => void await Promise.all(running.map(({ leave }) => leave())),
  };
}

function startSender(ports: Ports, collector: Collector, outgoing: Outgoing): Senders {
  const { promise: end, resolve: ended } = Promise.withResolvers<void>();
  const actor = superviseRoot(senderMachine, {
    id: `sender/${outgoing.signal}`,
    input: { ports, collector, outgoing },
    onDone: ended,
    onError: (error) => {
      reportCrash(ports, error);
      ended();
    },
  });
  outgoing.queue.onBatch(() => actor.send({ type: "sender.batch" }));
  return {
    failures: () => actor.getSnapshot().context.failures,
    leave: () => {
      actor.send({ type: "sender.leave" });
      return end;
    },
  };
}

/** The configuration was checked with the same readers: a complaint cannot come any more. */
function orUndefined<A>(read: (text: string) => A | string, text: string | undefined): A | undefined {
  const outcome = text === undefined ? undefined : read(text);
  return typeof outcome === "string" ? undefined : outcome;
}

/** The collector of a program; undefined where none is configured. */
export function collectorOf(
  role: string,
  telemetry: RoleConfig["telemetry"],
  { now, uuid }: Pick<Ports, "now" | "uuid">,
): Collector | undefined {
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
