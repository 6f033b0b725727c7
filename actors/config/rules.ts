/**
 * Rules about several keys together. They look at values that may still be wrong by themselves, and say nothing then:
 * the schema does.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { type Cidr, rangeOf, readAddress, readCidr } from "./addresses.ts";
import { excludeCidrDefault } from "./defaults.ts";

/** A rule that a configuration breaks. */
export interface BrokenRule {
  readonly path: readonly PropertyKey[];
  readonly wrong: string;
  readonly expected: string;
  readonly mend: string;
}

/** Every rule that the values break. */
export function checkRules(role: Role, values: Readonly<Record<string, unknown>>): readonly BrokenRule[] {
  return [
    ...checkExternal(role, values),
    ...checkGateways(values),
    ...checkReachable(role, values),
    ...checkExecutors(values),
    ...checkPrices(values),
  ];
}

/** A gateway that nobody can be told the address of is none. */
function checkExternal(role: Role, { external_addresses }: Readonly<Record<string, unknown>>): BrokenRule[] {
  if (role !== "gateway" || !Array.isArray(external_addresses) || external_addresses.length > 0) return [];
  return [{
    path: ["external_addresses"],
    wrong: "names no address",
    expected: "at least one under which other nodes reach this gateway",
    mend: 'write for instance: external_addresses = ["/dns4/gateway.example/tcp/4001"]',
  }];
}

/** The transport does not dial what lies inside an excluded range: such a gateway would never be reached. */
function checkGateways({ gateway_addresses, exclude_cidr }: Readonly<Record<string, unknown>>): BrokenRule[] {
  if (!Array.isArray(gateway_addresses)) return [];
  const excluded = exclude_cidr === undefined ? excludeCidrDefault : Array.isArray(exclude_cidr) ? exclude_cidr : [];
  const ranges = excluded.map((text) => typeof text === "string" ? readCidr(text) : "")
    .filter((range): range is Cidr => typeof range !== "string");
  return gateway_addresses.flatMap((address: unknown, index): BrokenRule[] => {
    const parts = typeof address === "string" ? readAddress(address, "gateway") : "";
    const range = typeof parts === "string" ? undefined : rangeOf(parts.host, ranges);
    if (range === undefined) return [];
    return [{
      path: ["gateway_addresses", index],
      wrong: `${JSON.stringify(address)} lies inside ${range.text} of exclude_cidr`,
      expected: "a gateway outside the excluded ranges",
      mend: exclude_cidr === undefined
        ? "set exclude_cidr without that range (its default has loopback and private ranges; [] excludes nothing)"
        : "take that range out of exclude_cidr, or name another address",
    }];
  });
}

/** A node needs a way in: an address of its own or a gateway's relay. */
function checkReachable(role: Role, values: Readonly<Record<string, unknown>>): BrokenRule[] {
  const { listen_addresses: listen, gateway_addresses: gateways, relay_circuit: relay } = values;
  if (role === "gateway") {
    return Array.isArray(listen) && listen.length === 0
      ? [{
        path: ["listen_addresses"],
        wrong: "names no address",
        expected: "at least one to listen on",
        mend: 'write for instance: listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]',
      }]
      : [];
  }
  if (Array.isArray(gateways) && gateways.length === 0) {
    return [{
      path: ["gateway_addresses"],
      wrong: "names no address",
      expected: "at least one gateway through which to join",
      mend: 'write for instance: gateway_addresses = ["/dns4/gateway.example/tcp/4001"]',
    }];
  }
  return Array.isArray(listen) && listen.length === 0 && relay === false
    ? [{
      path: ["listen_addresses"],
      wrong: "names no address, and relay_circuit is false",
      expected: "a way in",
      mend: "listen on an address, or set relay_circuit = true",
    }]
    : [];
}

/** A process needs a command; the built-in aggregation serves aggregate jobs only. */
function checkExecutors({ executors }: Readonly<Record<string, unknown>>): BrokenRule[] {
  if (!Array.isArray(executors)) return [];
  return executors.flatMap((executor: unknown, index): BrokenRule[] => {
    if (typeof executor !== "object" || executor === null) return [];
    const { runtime, cmd, class: kind } = executor as Record<string, unknown>;
    if (runtime === "process" && cmd === undefined) {
      return [{
        path: ["executors", index, "cmd"],
        wrong: "is missing",
        expected: 'a program to start, as runtime is "process"',
        mend: 'write for instance: cmd = "python3"',
      }];
    }
    if (runtime === "parameter-server" && kind === "train") {
      return [{
        path: ["executors", index, "runtime"],
        wrong: '"parameter-server" cannot train',
        expected: '"process" where class is "train"',
        mend: 'set class = "aggregate", or name a program that trains',
      }];
    }
    return [];
  });
}

/** A bid above what is paid at most would refuse every offer that takes it. */
function checkPrices(values: Readonly<Record<string, unknown>>): BrokenRule[] {
  const at = (path: readonly string[]): unknown =>
    path.reduce<unknown>((table, step) => (table as Record<string, unknown> | undefined)?.[step], values);
  return ["worker_price", "parameter_server_price"].flatMap((name): BrokenRule[] => {
    const path = ["scheduler", "job", "resources", name];
    const [bid, max] = [at([...path, "bid"]), at([...path, "max"])];
    if (typeof bid !== "number" || typeof max !== "number" || bid <= max) return [];
    return [{
      path: [...path, "bid"],
      wrong: `is ${bid}, more than max = ${max}`,
      expected: "at most max",
      mend: "lower bid, or raise max",
    }];
  });
}
