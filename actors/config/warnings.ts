/**
 * Configuration values that are ignored, changed or probably a mistake: one line each, which `run` logs.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { type Cidr, rangeFinder, readCidr } from "../../transport/ip_ranges.ts";
import { isExample, isQuic, readAddress } from "./addresses.ts";
import { excludeCidrDefault } from "./defaults.ts";

/** One line of the log, of level `warn`. */
export interface ConfigWarning {
  /** Such as `config.quic`. */
  readonly event: string;
  readonly message: string;
  /** The keys that it is about, such as `listen_addresses[1]`. */
  readonly keys: readonly string[];
}

/** What these rules look at, as it was decoded. */
export interface Warned {
  readonly listen_addresses: readonly string[];
  readonly external_addresses?: readonly string[] | undefined;
  readonly gateway_addresses?: readonly string[] | undefined;
  readonly exclude_cidr?: readonly string[] | undefined;
  readonly telemetry_protocol?: string | undefined;
  readonly telemetry_endpoint?: string | undefined;
  readonly telemetry_sampler?: string | undefined;
  readonly telemetry_sample_ratio?: number | undefined;
  readonly telemetry_logs?: string | undefined;
  readonly authorization?: {
    readonly rules?: readonly { readonly effect: string; readonly peers: readonly string[] }[] | undefined;
  } | undefined;
}

/** Every warning of a configuration that is good. */
export function warningsOf(role: Role, values: Warned): readonly ConfigWarning[] {
  return [
    ...skippedQuic(values),
    ...insideExcluded(values),
    ...announcedExamples(role, values),
    ...replacedProtocol(values),
    ...idleTelemetry(values),
    ...evadedDenials(values),
  ];
}

/** The addresses of TCP: those of QUIC are skipped. */
export const withoutQuic = (addresses: readonly string[]): readonly string[] =>
  addresses.filter((address) => !isQuic(address));

interface Place {
  readonly key: string;
  readonly address: string;
  readonly host: string;
}

function placesOf(values: Warned): readonly Place[] {
  return (["listen_addresses", "external_addresses", "gateway_addresses"] as const).flatMap((name) =>
    (values[name] ?? []).map((address, index) => {
      const parts = readAddress(address, "dial");
      const listened = typeof parts === "string" ? readAddress(address, "listen") : parts;
      return { key: `${name}[${index}]`, address, host: typeof listened === "string" ? "" : listened.host };
    })
  );
}

function skippedQuic(values: Warned): readonly ConfigWarning[] {
  const keys = placesOf(values).filter(({ address }) => isQuic(address)).map(({ key }) => key);
  if (keys.length === 0) return [];
  return [{
    event: "config.quic",
    message: `Skipped the QUIC addresses ${keys.join(", ")}: these programs speak TCP only`,
    keys,
  }];
}

/** The operator's addresses are used even inside `exclude_cidr`, which filters the addresses that others announce. */
function insideExcluded(values: Warned): readonly ConfigWarning[] {
  const excluded = rangeFinder(
    (values.exclude_cidr ?? excludeCidrDefault).map(readCidr)
      .filter((range): range is Cidr => typeof range !== "string"),
  );
  const inside = placesOf(values).flatMap(({ key, host }) => {
    const range = excluded(host);
    return range === undefined || isUnspecified(host) ? [] : [{ key, range }];
  });
  if (inside.length === 0) return [];
  const named = inside.map(({ key, range }) => `${key} (${range.text})`).join(", ");
  const [, ...more] = inside;
  return [{
    event: "config.excluded",
    message: `Used although exclude_cidr has ${more.length > 0 ? "their ranges" : "its range"}, because ` +
      `${more.length > 0 ? "they are" : "it is"} configured by hand: ${named}`,
    keys: inside.map(({ key }) => key),
  }];
}

const isUnspecified = (host: string): boolean => host === "0.0.0.0" || /^[0:]+$/.test(host);

/** An address from the documents' examples: no peer reaches a gateway there. */
function announcedExamples(role: Role, values: Warned): readonly ConfigWarning[] {
  const prefix = role === "gateway" ? "external_addresses" : "gateway_addresses";
  const found = placesOf(values).filter(({ key, host }) => key.startsWith(prefix) && isExample(host));
  const [first] = found;
  if (first === undefined) return [];
  const what = role === "gateway"
    ? `This gateway announces ${first.address}, an address for examples: no other node reaches it there`
    : `The gateway ${first.address} is an address for examples: nothing answers there`;
  return [{
    event: "config.example",
    message: `${what}; correct ${first.key}`,
    keys: found.map(({ key }) => key),
  }];
}

function replacedProtocol({ telemetry_protocol, telemetry_endpoint }: Warned): readonly ConfigWarning[] {
  if (telemetry_protocol !== "grpc") return [];
  const port = telemetry_endpoint !== undefined && /:4317\/?$/.test(telemetry_endpoint)
    ? "; collectors take HTTP on port 4318, and the endpoint has 4317"
    : "";
  return [{
    event: "config.protocol",
    message: `Metrics are sent as http/protobuf: telemetry_protocol = "grpc" is not spoken${port}`,
    keys: ["telemetry_protocol"],
  }];
}

/** Keys of telemetry that change nothing: without a collector, or with a sampler that takes no ratio. */
function idleTelemetry(values: Warned): readonly ConfigWarning[] {
  const { telemetry_endpoint: endpoint, telemetry_sampler: sampler, telemetry_sample_ratio: ratio } = values;
  const event = "config.idle";
  if (endpoint === undefined) {
    const keys = (["telemetry_sampler", "telemetry_sample_ratio", "telemetry_logs"] as const)
      .filter((key) => values[key] !== undefined && values[key] !== "none");
    const message = `Without telemetry_endpoint nothing is sent: ${keys.join(", ")} has no effect`;
    return keys.length === 0 ? [] : [{ event, message, keys }];
  }
  if (ratio === undefined || sampler?.endsWith("traceidratio") === true) return [];
  const message =
    "telemetry_sample_ratio has no effect: telemetry_sampler is not traceidratio or parentbased_traceidratio";
  return [{ event, message, keys: ["telemetry_sample_ratio"] }];
}

/** A CA that names a member `scheduler/team/a` takes it out of a rule that denies `scheduler/*`. */
function evadedDenials({ authorization }: Warned): readonly ConfigWarning[] {
  const found = (authorization?.rules ?? []).flatMap(({ effect, peers }, index) =>
    peers.flatMap((pattern, at) =>
      effect === "deny" && pattern.startsWith("spiffe://") && pattern.endsWith("/*")
        ? [{ key: `authorization.rules[${index}].peers[${at}]`, pattern }]
        : []
    )
  );
  const [first] = found;
  if (first === undefined) return [];
  return [{
    event: "config.one-segment",
    message:
      `A longer name evades a rule that denies, where its pattern ends in *, which is exactly one segment: write ` +
      `${first.pattern}* in ${first.key}${found.length > 1 ? `, and so in ${found.length - 1} more` : ""}`,
    keys: found.map(({ key }) => key),
  }];
}
