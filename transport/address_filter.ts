/**
 * Which addresses are neither taken from the network, nor announced, nor dialled: those inside `exclude_cidr`.
 *
 * @module
 */
import { BlockList, isIP } from "node:net";
import type { Multiaddr } from "@multiformats/multiaddr";

/** Says whether an address may be used. */
export type AddressFilter = (address: Multiaddr) => boolean;

/**
 * Makes the filter. An address without an IP (a DNS name) passes: it is known only once it is resolved. A relayed
 * address counts as its relay's.
 *
 * @param cidrs Ranges such as `10.0.0.0/8` or `fc00::/7`.
 * @throws RangeError for what is no range, naming it.
 */
export function addressFilter(cidrs: readonly string[]): AddressFilter {
  const excluded = new BlockList();
  for (const cidr of cidrs) {
    const [network = "", prefix = ""] = cidr.split("/");
    const family = isIP(network);
    const bits = Number(prefix);
    if (family === 0 || prefix === "" || !Number.isInteger(bits) || bits < 0 || bits > (family === 4 ? 32 : 128)) {
      throw new RangeError(`Cannot exclude ${cidr}: not an address range such as 10.0.0.0/8`);
    }
    excluded.addSubnet(network, bits, family === 4 ? "ipv4" : "ipv6");
  }
  return (address) => {
    const host = address.getComponents().find(({ name }) => name === "ip4" || name === "ip6");
    if (host?.value === undefined) return true;
    return !excluded.check(host.value, host.name === "ip4" ? "ipv4" : "ipv6");
  };
}
