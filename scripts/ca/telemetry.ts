/**
 * A CA's telemetry: traces and lines of the log, by OpenTelemetry's variables. Its libraries are loaded only where a collector is named.
 *
 * @module
 */
import process from "node:process";
import { Result } from "effect";
import { openTelemetryVariables } from "../../actors/config/sources.ts";
import {
  logsExporters,
  readEndpoint,
  readHeaders,
  readPairs,
  telemetryProtocols,
  telemetrySamplers,
} from "../../actors/config/telemetry_values.ts";
import type { RoleConfig } from "../../actors/config/config.ts";
import type { CaWatch } from "../../actors/ca/ca_watch.ts";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import { noTracing, type Tracing } from "../program/no_tracing.ts";

/** What is read of the environment. */
export type CaTelemetry = RoleConfig["telemetry"];

/** Reads the variables. A failure is one sentence; it repeats no header. */
export function readTelemetry(
  environment: Readonly<Record<string, string | undefined>>,
): Result.Result<CaTelemetry, string> {
  const problems: string[] = [];
  const read = <A>(key: string, check: (text: string) => A | string): A | undefined => {
    const [variable = ""] = Object.entries(openTelemetryVariables).find(([, of]) => of === key) ?? [];
    const text = environment[variable];
    if (text === undefined || text === "") return undefined;
    const value = check(text);
    if (typeof value !== "string") return value;
    problems.push(`${variable}: its value ${value}`);
    return undefined;
  };
  const oneOf = <Name extends string>(names: readonly Name[]) => (text: string) =>
    names.includes(text as Name) ? { name: text as Name } : `is none of ${names.join(", ")}`;
  const checked = (key: string, check: (text: string) => object | string) =>
    read(key, (text) => {
      const value = check(text);
      return typeof value === "string" ? value : { text };
    })?.text;
  const telemetry: CaTelemetry = {
    endpoint: checked("telemetry_endpoint", readEndpoint),
    attributes: checked("telemetry_attributes", readPairs),
    headers: checked("telemetry_headers", readHeaders),
    protocol: read("telemetry_protocol", oneOf(telemetryProtocols))?.name,
    sampler: read("telemetry_sampler", oneOf(telemetrySamplers))?.name,
    sampleRatio: read("telemetry_sample_ratio", readRatio)?.ratio,
    logs: read("telemetry_logs", oneOf(logsExporters))?.name,
  };
  const [problem] = problems;
  return problem === undefined ? Result.succeed(telemetry) : Result.fail(problem);
}

function readRatio(text: string): { readonly ratio: number } | string {
  const ratio = Number(text);
  return ratio >= 0 && ratio <= 1 ? { ratio } : "is no number from 0 to 1";
}

/** The variables of this process; those that Deno does not let it read are unset. */
export function telemetryVariables(): Readonly<Record<string, string | undefined>> {
  const names = Object.keys(openTelemetryVariables);
  try {
    return Object.fromEntries(names.map((name) => [name, process.env[name]]));
  } catch {
    return {};
  }
}

/** The telemetry of a CA that runs. */
export interface CaTracing {
  readonly meter: Tracing["meter"];
  readonly watch: CaWatch | undefined;
  /** Starts sending. */
  readonly begin: (ports: Ports) => void;
  /** Sends what waits, and ends within about two seconds. */
  readonly end: () => Promise<void>;
}

/** Makes it; without a collector nothing is recorded and nothing loaded. */
export async function makeCaTracing(telemetry: CaTelemetry): Promise<CaTracing> {
  const { endpoint, sampler, logs = "none" } = telemetry;
  if (endpoint === undefined || (sampler === undefined && logs === "none")) {
    return { meter: noTracing.meter, watch: undefined, begin: () => {}, end: () => Promise.resolve() };
  }
  const [{ makeTracing }, { collectorOf, startSenders }, { traceCa }] = await Promise.all([
    import("../program/tracing.ts"),
    import("../program/telemetry.ts"),
    import("../../actors/telemetry/ca_spans.ts"),
  ]);
  const tracing = makeTracing(telemetry);
  let leave = () => Promise.resolve();
  return {
    meter: (report: (line: Report) => void) => tracing.meter(report),
    watch: tracing.recorder === undefined ? undefined : traceCa(tracing.recorder),
    begin: (ports) => {
      const senders = startSenders({
        ports,
        collector: collectorOf("ca", telemetry, ports),
        outgoing: tracing.outgoing,
      });
      leave = senders.leave;
    },
    end: () => leave(),
  };
}
