/**
 * Rules for the addresses that a configuration names. Pure text in, complaint or nothing out: no name
 * is resolved here.
 *
 * @module
 */
import { isIP, isIPv4, isIPv6 } from "node:net";
import { type Cidr, rangeFinder, readCidr } from "../../transport/ip_ranges.ts";

/** What an address is for: each use allows different parts. */
export type AddressUse = "listen" | "external" | "gateway" | "dial";

/** Protocols that may begin an address, with what their value has to be. */
const hosts: Readonly<Record<string, (value: string) => boolean>> = {
  ip4: isIPv4,
  ip6: (value) => isIPv6(value) && !value.includes("%"),
  dns: isHostName,
  dns4: isHostName,
  dns6: isHostName,
};

/** Longest text taken for an address: a host name has at most 253 characters (RFC 1035 §2.3.4), a PeerID about 60. */
export const addressCharactersMax = 512;

function isHostName(text: string): boolean {
  return text.length <= 253 &&
    text.split(".").every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
}

/** The parts of a multiaddr that this network uses. */
export interface AddressParts {
  readonly hostProtocol: string;
  readonly host: string;
  readonly port: number;
  readonly peer: string | undefined;
}

/**
 * Reads an address of the form `/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT`, with `/p2p/PEER` behind it where the use allows.
 *
 * A relayed address (`…/p2p-circuit/p2p/PEER`) may be dialled only.
 *
 * @returns Its parts, or a complaint that continues the sentence "the address …".
 */
export function readAddress(text: string, use: AddressUse): AddressParts | string {
  if (text.length > addressCharactersMax) return `is longer than ${addressCharactersMax} characters`;
  if (!text.startsWith("/")) return `does not begin with /${asMultiaddr(text)}`;
  const [, hostProtocol = "", host = "", transport = "", portText = "", ...rest] = text.replace(/\/$/, "").split("/");
  const valid = Object.hasOwn(hosts, hostProtocol) ? hosts[hostProtocol] : undefined;
  if (valid === undefined) return `begins with /${hostProtocol}, not with /ip4, /ip6, /dns, /dns4 or /dns6`;
  if (!valid(host)) return `has no valid host behind /${hostProtocol}`;
  if (use === "external" && (host === "0.0.0.0" || /^[0:]+$/.test(host))) return `has ${host}, which no peer can dial`;
  if (use === "listen" && isIP(host) === 0) return "names a host to listen on instead of an IP address";
  if (transport === "udp") return "uses UDP (QUIC), which these programs do not speak";
  if (transport !== "tcp") return "has no /tcp/PORT behind its host";
  const port = Number(portText);
  if (!/^\d{1,5}$/.test(portText) || port > 65_535) return "has no port between 0 and 65535 behind /tcp";
  if (portText !== String(port)) return "has leading zeros in its port";
  if (port === 0 && use !== "listen") return "has port 0, which no peer can dial";
  return readTail(rest, use, { hostProtocol, host, port });
}

/**
 * The one text of an address that was read, whatever its spelling, as `multiaddr(text).toString()` has it: IPv6 addresses in short
 * form (RFC 5952), no slash at the end. The transport compares addresses as texts. A CA without gateways does not load multiaddr.
 */
export function canonicalAddress(text: string): string {
  const [empty, protocol, host, ...rest] = text.replace(/\/$/, "").split("/");
  const written = protocol === "ip6" ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host;
  return [empty, protocol, written, ...rest].join("/");
}

/**
 * Whether an address is one of QUIC (`/ip4/HOST/udp/PORT/quic-v1`), as the `init` of the existing nodes lists them with each
 * address of TCP. These programs skip them.
 */
export function isQuic(text: string): boolean {
  return text.length <= addressCharactersMax &&
    /^\/(ip4|ip6|dns|dns4|dns6)\/[^/]+\/udp\/\d{1,5}\/quic(-v1)?(\/|$)/.test(text);
}

/** Ranges and names for documents and tests: no host there is reachable (RFC 5737, RFC 3849, RFC 2606). */
const exampleRange = rangeFinder(
  ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"].map(readCidr)
    .filter((range): range is Cidr => typeof range !== "string"),
);

/** Whether a host can only be an example: a documentation address, or a name below `.example`, `.invalid` or `.test`. */
export function isExample(host: string): boolean {
  return /(^|\.)(example(\.(com|net|org))?|invalid|test)\.?$/i.test(host) || exampleRange(host) !== undefined;
}

/** What `HOST:PORT` or a URL was likely meant to be. */
function asMultiaddr(text: string): string {
  const [, bracketed, plain = "", port] =
    /^(?:[a-z+]+:\/\/)?(?:\[([0-9a-f:.]+)\]|([^\s/:[\]]+)):(\d{1,5})\/?$/i.exec(text) ?? [];
  const host = bracketed ?? plain;
  const protocol = isIPv4(host) ? "ip4" : isIPv6(host) ? "ip6" : "dns4";
  return port === undefined || hosts[protocol]?.(host) !== true ? "" : `, perhaps /${protocol}/${host}/tcp/${port}`;
}

function readTail(
  rest: readonly string[],
  use: AddressUse,
  parts: Omit<AddressParts, "peer">,
): AddressParts | string {
  if (rest.length === 0) return { ...parts, peer: undefined };
  if (use === "listen") return `has /${rest.join("/")} behind its port`;
  const relayed = use === "dial" ? rest.indexOf("p2p-circuit") : -1;
  if (relayed === 2 && rest[0] === "p2p" && rest[3] === "p2p" && rest.length === 5 && isPeerId(rest[4])) {
    return { ...parts, peer: rest[4] };
  }
  if (rest[0] !== "p2p" || rest.length !== 2) return `has /${rest.join("/")} behind its port`;
  if (!isPeerId(rest[1])) return "has no PeerID behind /p2p";
  return { ...parts, peer: rest[1] };
}

/** PeerIDs in base58btc: identity multihashes of keys (`12D3KooW…`, `16Uiu2…`) and SHA-256 multihashes (`Qm…`). */
function isPeerId(text: string | undefined): text is string {
  return text !== undefined && /^(12D3KooW|16Uiu2HA?|Qm)[1-9A-HJ-NP-Za-km-z]{38,56}$/.test(text);
}
