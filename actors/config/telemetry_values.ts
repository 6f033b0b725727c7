/**
 * Rules for the values of `telemetry_*` and `metrics_listen_address`. Pure text in, value or complaint out.
 *
 * @module
 */
import { isIP } from "node:net";
import { isLoopbackAddress } from "../../transport/ip_ranges.ts";

/** How telemetry is sent: OTLP over HTTP, in either encoding (OpenTelemetry's own names; `grpc` is not spoken). */
export const telemetryProtocols = ["http/protobuf", "http/json"] as const;
export type TelemetryProtocol = (typeof telemetryProtocols)[number];

/** Samplers that OpenTelemetry's specification names (`OTEL_TRACES_SAMPLER`) and that need no service of their own. */
export const telemetrySamplers = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
export type TelemetrySampler = (typeof telemetrySamplers)[number];

/** Where lines of the log go besides standard error (`OTEL_LOGS_EXPORTER`). */
export const logsExporters = ["none", "otlp"] as const;
export type LogsExporter = (typeof logsExporters)[number];

/** Pairs in one list; a resource has some ten attributes, a request as many headers. */
const pairsMax = 64;
const metricsPath = "v1/metrics";

/** Where a metrics endpoint listens. */
export interface ListenPlace {
  readonly host: string;
  readonly port: number;
}

/**
 * Reads a collector's address. A credential in it would end up in logs: it belongs into `telemetry_headers`.
 *
 * @returns The address that metrics are posted to (`/v1/metrics` below it, as OpenTelemetry has it), or a complaint that
 * continues the sentence "the value …".
 */
export function readEndpoint(text: string): URL | string {
  if (!URL.canParse(text)) return "is no URL";
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") return "begins with neither http:// nor https://";
  if (url.username !== "" || url.password !== "") return "carries a credential; put it into telemetry_headers";
  if (url.search !== "" || url.hash !== "") return "has something behind its path";
  url.pathname = `${url.pathname.replace(/\/$/, "")}/${metricsPath}`;
  return url;
}

/**
 * Reads `key=value,key=value`, percent-encoded where a value holds a comma (as `OTEL_RESOURCE_ATTRIBUTES` is written).
 *
 * @returns The pairs, the last of a name counting, or a complaint that repeats none of them: some are secrets.
 */
export function readPairs(text: string): Readonly<Record<string, string>> | string {
  const entries = text.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
  if (entries.length > pairsMax) return `has more than ${pairsMax} pairs`;
  const pairs: [string, string][] = [];
  for (const [index, entry] of entries.entries()) {
    const equals = entry.indexOf("=");
    if (equals < 1) return `has no key=value in place ${index + 1}`;
    try {
      pairs.push([
        decodeURIComponent(entry.slice(0, equals).trim()),
        decodeURIComponent(entry.slice(equals + 1).trim()),
      ]);
    } catch {
      return `is badly percent-encoded in place ${index + 1}`;
    }
  }
  return Object.fromEntries(pairs);
}

/** The same for headers: names and values that HTTP allows (RFC 9110 §5.1, §5.5). */
export function readHeaders(text: string): Readonly<Record<string, string>> | string {
  const pairs = readPairs(text);
  if (typeof pairs === "string") return pairs;
  for (const [index, [name, value]] of Object.entries(pairs).entries()) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return `has no header's name in place ${index + 1}`;
    if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return `has no header's value in place ${index + 1}`;
  }
  return pairs;
}

/**
 * Reads where to listen: `HOST:PORT`, or a port alone, which means loopback. The host is an IP address, an IPv6 one in
 * brackets.
 */
export function readListenPlace(text: string): ListenPlace | string {
  const match = /^(?:(\[[^\]]*\]|[^:]*):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > 65_535) return "does not end in a port from 0 to 65535";
  const host = (match[1] ?? "").replace(/^\[|\]$/g, "") || "127.0.0.1";
  return isIP(host) === 0 ? "names a host instead of an IP address" : { host, port };
}

/** Whether other machines cannot reach it. */
export function isLoopback({ host }: ListenPlace): boolean {
  return isLoopbackAddress(host);
}
