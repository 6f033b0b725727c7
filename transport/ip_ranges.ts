/**
 * IP addresses and ranges of them: which range an address lies in. Pure text and arithmetic; no name is resolved.
 *
 * @module
 */
import { isIP, isIPv4, isIPv6 } from "node:net";

/** An address range, `ADDRESS/PREFIX`. */
export interface Cidr {
  readonly text: string;
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/** An address has this many octets here; an IPv4 address is one of `::ffff:0:0/96` (RFC 4291 §2.5.5.2). */
const octets = 16;
const mappedPrefix = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/**
 * Reads an address range in CIDR notation (RFC 4632 §3.1).
 *
 * @returns The range, or a complaint that continues the sentence "the range …".
 */
export function readCidr(text: string): Cidr | string {
  const [address = "", prefixText, ...rest] = text.split("/");
  const version = address.includes("%") ? 0 : isIP(address);
  if (version === 0) return "does not begin with an IP address";
  if (prefixText === undefined || rest.length > 0 || !/^\d{1,3}$/.test(prefixText)) return "has no /PREFIX at its end";
  const prefix = Number(prefixText);
  const prefixMax = version === 4 ? 32 : 128;
  if (prefix > prefixMax) return `has a prefix over ${prefixMax}`;
  return { text, address, prefix, family: version === 4 ? "ipv4" : "ipv6" };
}

/** Finds the first of some ranges that an address lies in. */
export type RangeFinder = (host: string) => Cidr | undefined;

/**
 * Makes a finder. Host names lie in no range. An IPv4-mapped IPv6 address and the IPv4 address are the same address; a
 * zone (`%eth0`) does not count.
 */
export function rangeFinder(ranges: readonly Cidr[]): RangeFinder {
  const known = ranges.map((range) => ({
    range,
    network: octetsOf(range.address) ?? [],
    bits: range.prefix + (range.family === "ipv4" ? 96 : 0),
  }));
  return (host) => {
    const address = octetsOf(host);
    if (address === undefined) return undefined;
    return known.find(({ network, bits }) => isSamePrefix(address, network, bits))?.range;
  };
}

/** The IPv4 address that an IPv4-mapped IPv6 address stands for; every other text as it is, without its zone. */
export function plainAddress(host: string): string {
  const [bare = ""] = host.split("%");
  const address = isIPv6(bare) ? octetsOf(bare) : undefined;
  return address !== undefined && isMapped(address) ? address.slice(12).join(".") : bare;
}

/** The /64 network of an IPv6 address, as `2001:db8:0:0::/64`; undefined for every other text. */
export function networkOfIp6(host: string): string | undefined {
  const address = isIPv6(host) ? octetsOf(host) : undefined;
  return address && `${groupsOf(address).slice(0, 4).map((group) => group.toString(16)).join(":")}::/64`;
}

/** Whether other machines cannot reach this address: `127.0.0.0/8` and `::1`. */
export const isLoopbackAddress = (host: string): boolean => loopback(host) !== undefined;
const loopback = rangeFinder(["127.0.0.0/8", "::1/128"].map(readCidr).filter((range) => typeof range !== "string"));

/** The octets of an address; undefined for what is none. */
function octetsOf(host: string): readonly number[] | undefined {
  if (isIPv4(host)) return [...mappedPrefix, ...host.split(".").map(Number)];
  if (!isIPv6(host)) return undefined;
  const [bare = ""] = host.split("%");
  const [head, tail] = bare.split("::");
  const [before, after] = [head, tail].map((part = "") => part.split(":").flatMap(octetsOfGroup)) as [
    number[],
    number[],
  ];
  return [...before, ...new Array<number>(Math.max(0, octets - before.length - after.length)).fill(0), ...after];
}

/** A group of an IPv6 address: up to four hexadecimal digits, or the last 32 bits as an IPv4 address. */
function octetsOfGroup(group: string): number[] {
  if (group === "") return [];
  if (group.includes(".")) return group.split(".").map(Number);
  const value = Number.parseInt(group, 16);
  return [value >> 8, value & 0xff];
}

function groupsOf(address: readonly number[]): number[] {
  return Array.from({ length: octets / 2 }, (_, index) => address[2 * index]! << 8 | address[2 * index + 1]!);
}

const isMapped = (address: readonly number[]) => mappedPrefix.every((octet, index) => address[index] === octet);

function isSamePrefix(address: readonly number[], network: readonly number[], bits: number): boolean {
  for (let index = 0, left = bits; left > 0; index++, left -= 8) {
    const mask = left >= 8 ? 0xff : 0xff << (8 - left) & 0xff;
    if ((address[index]! & mask) !== (network[index]! & mask)) return false;
  }
  return true;
}
