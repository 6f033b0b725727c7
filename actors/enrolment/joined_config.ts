/**
 * What the configuration of a node that joined has to say about addresses. Pure.
 *
 * @module
 */
import { isIP } from "node:net";
import type { Role } from "../../pki/certificate.ts";
import { rangeFinder, readCidr } from "../../transport/ip_ranges.ts";
import { readAddress } from "../config/addresses.ts";

/** What is known about the network, and about the node's own addresses. */
export interface KnownNetwork {
  readonly role: Role;
  /** Addresses of gateways, as the CA names them. */
  readonly gateways: readonly string[];
  /** The address that the CA has under this node's own name; undefined where it has none. */
  readonly own?: string | undefined;
  /** IP addresses that host names of gateways lead to. */
  readonly resolved: readonly string[];
  /** The ranges that are excluded otherwise. */
  readonly excluded: readonly string[];
}

/** Addresses of a configuration, with the keys as TOML spells them. */
export interface JoinedAddresses {
  readonly listen_addresses: readonly string[];
  readonly external_addresses?: readonly string[];
  readonly gateway_addresses?: readonly string[];
  readonly exclude_cidr?: readonly string[];
}

/** The port that gateways listen on where the CA names none. */
const gatewayPort = 4001;

/**
 * The addresses of a node that joined: gateways from the CA, any port for all but gateways, and none of the ranges excluded that
 * the gateways lie in, since other nodes lie there too.
 *
 * Which of several gateways this one is, its name says (`gateways = ["NAME=ADDRESS"]` in `ca.toml`); where the CA does not know the
 * name, the external addresses are left to the operator.
 */
export function joinedAddresses({ role, gateways, own: named, resolved, excluded }: KnownNetwork): JoinedAddresses {
  const known = gateways.filter((address) => typeof readAddress(address, "gateway") !== "string");
  const exclude = { exclude_cidr: withoutRangesOf([...known.flatMap(hostsOf), ...resolved], excluded) };
  if (role !== "gateway") {
    return { listen_addresses: ["/ip4/0.0.0.0/tcp/0"], gateway_addresses: known, ...exclude };
  }
  const own = named ?? (known.length === 1 ? known[0] : undefined);
  const parts = own === undefined ? "" : readAddress(own, "external");
  if (own === undefined || typeof parts === "string") {
    return { listen_addresses: [`/ip4/0.0.0.0/tcp/${gatewayPort}`], ...exclude };
  }
  const any = parts.hostProtocol === "ip6" || parts.hostProtocol === "dns6" ? "/ip6/::" : "/ip4/0.0.0.0";
  return { listen_addresses: [`${any}/tcp/${parts.port}`], external_addresses: [own], ...exclude };
}

/** Hosts of addresses: IP addresses as they are, names to be resolved. */
export function hostsOf(address: string): readonly string[] {
  const read = readAddress(address, "gateway");
  return typeof read === "string" ? [] : [read.host];
}

/** The ranges in which none of these addresses lies. */
function withoutRangesOf(hosts: readonly string[], excluded: readonly string[]): readonly string[] {
  const addresses = hosts.filter((host) => isIP(host) !== 0);
  return excluded.filter((text) => {
    const range = readCidr(text);
    const finds = typeof range === "string" ? undefined : rangeFinder([range]);
    return !addresses.some((address) => finds?.(address) !== undefined);
  });
}
