/**
 * Filters what DNS names in other nodes' addresses resolve to. The socket's own `lookup` does it: after an earlier check, a name could resolve to
 * another address for the socket.
 *
 * @module
 */
import { lookup as systemLookup } from "node:dns";
import { isIP, isIPv4, type LookupFunction } from "node:net";
import type { Transport } from "@libp2p/interface";
import { plainAddress } from "../ip_ranges.ts";
import type { AddressText } from "../port.ts";
import type { WireListener } from "../core/wire.ts";
import { wrapConnect } from "./connection_internals.ts";

/**
 * Gives a TCP transport the filter. Addresses of configured gateways pass it.
 *
 * @param make `tcp()`, as `createLibp2p` takes it.
 * @param resolve The system's `lookup`.
 * @returns What makes the transport; it throws {@linkcode MovedInternal} where the inside of `@libp2p/tcp` is another.
 */
export function filteringNames<Components>(
  make: (components: Components) => Transport,
  rules: Pick<WireListener, "mayDial" | "isConfigured">,
  resolve = systemLookup,
): (components: Components) => Transport {
  return (components) =>
    wrapConnect(make(components), (connect) => async (address, options) => {
      const [host, port] = address.getComponents();
      if (host?.name.startsWith("dns") !== true || rules.isConfigured(address.toString())) {
        return await connect(address, options);
      }
      const mayConnect = (ip: string) => rules.mayDial(addressWith(ip, port?.value));
      // A socket does not look up an IP address in the place of a name.
      if (host.value !== undefined && isIP(host.value) !== 0 && !mayConnect(host.value)) throw new NameExcluded();
      return await connect(address, { ...options, lookup: filteredLookup(resolve, mayConnect) });
    });
}

/** Leaves out addresses that are not allowed, and fails where none is left. */
function filteredLookup(resolve: typeof systemLookup, mayConnect: (ip: string) => boolean): LookupFunction {
  return (name, options, done) =>
    resolve(name, { ...options, all: true }, (error, found) => {
      if (error !== null) return done(error, []);
      const allowed = found.filter(({ address }) => mayConnect(address));
      const [first] = allowed;
      if (first === undefined) return done(new NameExcluded(), []);
      if (options.all === true) return done(null, allowed);
      done(null, first.address, first.family);
    });
}

function addressWith(ip: string, port = "0"): AddressText {
  const plain = plainAddress(ip);
  return `/${isIPv4(plain) ? "ip4" : "ip6"}/${plain}/tcp/${port}`;
}

/** A name stands only for addresses that may not be dialled. */
class NameExcluded extends Error {
  override readonly name = "NameExcluded";

  constructor() {
    super("no address of this name may be dialled (exclude_cidr)");
  }
}
