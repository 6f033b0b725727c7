/**
 * Decides which addresses are announced, remembered and dialled. Addresses inside `exclude_cidr` are not, unless the
 * operator configured them.
 *
 * @module
 */
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { type Cidr, rangeFinder, readCidr } from "../ip_ranges.ts";
import type { AddressText, PeerText, TransportInput } from "../port.ts";

/** "This host" and "this network" (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5.2): a dial of them leads to this machine. */
const ownRanges = ["0.0.0.0/8", "::/128"];

/** Whether an address may be used. */
export type AddressFilter = (address: Multiaddr) => boolean;

/**
 * Makes the filter. Addresses that always lead to this machine, Unix sockets too, are excluded, whatever the ranges. A DNS name
 * passes: what it resolves to is filtered when the socket connects (`resolved_names.ts`). A relayed address counts as its relay's.
 *
 * @param cidrs Ranges such as `10.0.0.0/8` or `fc00::/7`.
 * @throws RangeError that names the first text that is not a range.
 */
export function addressFilter(cidrs: readonly string[]): AddressFilter {
  const excluded = rangeFinder([...ownRanges, ...cidrs].map(rangeFrom));
  return (address) => {
    const host = address.getComponents().find(({ name }) => name === "ip4" || name === "ip6" || name === "unix");
    if (host?.name === "unix") return false;
    return host?.value === undefined || excluded(host.value) === undefined;
  };
}

function rangeFrom(text: string): Cidr {
  const range = readCidr(text);
  if (typeof range !== "string") return range;
  throw new RangeError(`Cannot exclude ${text}: not an address range such as 10.0.0.0/8`);
}

/** The filters of a node. */
export interface AddressRules {
  /** By `exclude_cidr` alone. */
  readonly isOutside: AddressFilter;
  /** Whether an address may be dialled: outside the ranges, a configured gateway, or relayed by one. */
  readonly mayDial: AddressFilter;
  /** Whether an address is a configured gateway's. */
  readonly isConfigured: AddressFilter;
  /** Whether an address of this peer may be remembered: one to be dialled, or any of a gateway's. */
  readonly mayKnow: (peer: PeerText, address: Multiaddr) => boolean;
  /** Those of this node's own addresses that it announces. */
  readonly announced: (own: readonly Multiaddr[]) => Multiaddr[];
}

/**
 * Makes the filters of a node.
 *
 * Own addresses are announced where they are outside the ranges, configured (`external_addresses`, and `listen_addresses`
 * with an IP address of their own), or relayed by a gateway. A node that would announce none so, and reserves no relay,
 * announces all that it listens on: a gateway on a private network, or on one machine, has no others.
 *
 * @param isGateway Whether a peer is a configured gateway to which there is a connection; of a gateway, itself too.
 */
export function addressRules(
  input: Pick<
    TransportInput,
    "excludeCidr" | "listenAddresses" | "externalAddresses" | "gatewayAddresses" | "relay"
  >,
  isGateway: (peer: PeerText) => boolean,
): AddressRules {
  const isOutside = addressFilter(input.excludeCidr);
  const placesOf = (addresses: readonly AddressText[]) => new Set(addresses.map((text) => placeOf(multiaddr(text))));
  const gateways = placesOf(input.gatewayAddresses);
  const external = placesOf(input.externalAddresses);
  const listened = placesOf(input.listenAddresses);
  const isConfigured: AddressFilter = (address) => gateways.has(placeOf(address));
  const isRelayed = (address: Multiaddr) => {
    const relay = relayOf(address);
    return relay !== undefined && isGateway(relay);
  };
  const mayDial: AddressFilter = (address) => isOutside(address) || isConfigured(address) || isRelayed(address);
  const isOwn = (address: Multiaddr) => {
    if (relayOf(address) !== undefined) return false;
    const place = placeOf(address);
    return external.has(place) || listened.has(place) || listened.has(place.replace(/\/\d+$/, "/0"));
  };
  return {
    isOutside,
    mayDial,
    isConfigured,
    mayKnow: (peer, address) => mayDial(address) || isGateway(peer),
    announced: (own) => {
      const announced = own.filter((address) => isOutside(address) || isOwn(address) || isRelayed(address));
      if (announced.length > 0 || input.relay === "client") return announced;
      return own.filter((address) => relayOf(address) === undefined);
    },
  };
}

/** An address up to its port: the rest names peers. */
const placeOf = (address: Multiaddr): string => address.toString().split("/").slice(0, 5).join("/");

/** The relay of a relayed address. */
function relayOf(address: Multiaddr): PeerText | undefined {
  const parts = address.getComponents();
  const circuit = parts.findIndex(({ name }) => name === "p2p-circuit");
  return circuit < 0 ? undefined : parts.slice(0, circuit).findLast(({ name }) => name === "p2p")?.value;
}
