/**
 * Rules about several keys together. They read values that may still be invalid, and ignore those: the schema reports
 * them.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { isQuic } from "./addresses.ts";
import { checkAuthorization } from "./authorization_schema.ts";
import { checkCell } from "./cell_rules.ts";
import { checkMembership } from "./membership_schema.ts";
import { tableAt } from "./settings.ts";

/** A rule that a configuration breaks. */
export interface BrokenRule {
  readonly path: readonly PropertyKey[];
  readonly wrong: string;
  readonly expected: string;
  readonly mend: string;
}

/**
 * Every rule that the values break.
 *
 * @param purpose What the configuration is for: a probe joins no network, and needs no way in.
 */
export function checkRules(
  role: Role,
  values: Readonly<Record<string, unknown>>,
  purpose: "run" | "probe" = "run",
): readonly BrokenRule[] {
  return [
    ...checkQuic(values),
    ...(purpose === "run" ? checkReachable(role, values) : []),
    ...checkTwice(values),
    ...checkExecutors(values),
    ...checkPrices(values),
    ...checkCell(values),
    ...checkModel(values),
    ...checkAuthorization(values),
    ...checkMembership(values),
    ...checkDomains(values),
  ];
}

/** A domain is the node's own or another's, and is there once. */
function checkDomains({ trust_domain: own, trust_domains: others }: Readonly<Record<string, unknown>>): BrokenRule[] {
  const names = (Array.isArray(others) ? others : []).map((domain: unknown) =>
    (domain as { readonly name?: unknown } | null | undefined)?.name
  );
  return names.flatMap((name, index): BrokenRule[] => {
    if (typeof name !== "string") return [];
    const path = ["trust_domains", index, "name"];
    if (name === own) {
      return [{
        path,
        wrong: "is this node's own trust_domain",
        expected: "the name of another organisation's",
        mend: "put the CAs of the own domain into trust_pem, or correct trust_domain",
      }];
    }
    if (names.indexOf(name) === index) return [];
    return [{
      path,
      wrong: `${JSON.stringify(name)} is there already`,
      expected: "each domain once",
      mend: "put its CAs into one file, or correct the name",
    }];
  });
}

/** The existing nodes' own `init` lists a QUIC address with each TCP address; QUIC alone leaves no address to use. */
function checkQuic(values: Readonly<Record<string, unknown>>): BrokenRule[] {
  return ["listen_addresses", "gateway_addresses"].flatMap((name): BrokenRule[] => {
    const addresses = values[name];
    if (!Array.isArray(addresses) || addresses.length === 0) return [];
    if (!addresses.every((address) => typeof address === "string" && isQuic(address))) return [];
    const [first] = addresses as string[];
    return [{
      path: [name],
      wrong: "names QUIC addresses only, and these programs speak TCP",
      expected: "an address such as /ip4/192.0.2.1/tcp/4001",
      mend: `add the address of TCP, perhaps ${first?.replace(/\/udp\/(\d+)\/.*$/, "/tcp/$1")}`,
    }];
  });
}

/** Peers must be able to reach a node: at its own address or through the relay of a gateway. */
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

/** A port that is listened on twice is taken by the node itself; of two executors of one name the second never runs. */
function checkTwice({ listen_addresses: listen, executors }: Readonly<Record<string, unknown>>): BrokenRule[] {
  const addresses = (Array.isArray(listen) ? listen : []).map((address: unknown) =>
    typeof address === "string" && !/\/tcp\/0\/?$/.test(address) ? address.replace(/\/$/, "") : undefined
  );
  const names = (Array.isArray(executors) ? executors : []).map((executor: unknown) => {
    const { class: kind, name } = (executor ?? {}) as Record<string, unknown>;
    return typeof kind === "string" && typeof name === "string" ? `${kind} ${name}` : undefined;
  });
  const again = (texts: readonly (string | undefined)[]) =>
    texts.flatMap((text, index) => text !== undefined && texts.indexOf(text) < index ? [{ index, text }] : []);
  return [
    ...again(addresses).map(({ index, text }): BrokenRule => ({
      path: ["listen_addresses", index],
      wrong: `${JSON.stringify(text)} is there already`,
      expected: "each address once",
      mend: "take it out",
    })),
    ...again(names).map(({ index, text }): BrokenRule => ({
      path: ["executors", index, "name"],
      wrong: `there is an executor ${JSON.stringify(text)} already`,
      expected: "each class and name once",
      mend: "give it another name, or take it out",
    })),
  ];
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

/** A model is weights of one's own, or a repository with files. Its velocity is divided by the outer learning rate. */
function checkModel(values: Readonly<Record<string, unknown>>): BrokenRule[] {
  const { model, aggregation, outer_optimizer: outer } = tableAt(tableAt(values, "scheduler"), "job");
  if (typeof model !== "object" || model === null) return [];
  const { weights, repository, filenames } = model as Record<string, unknown>;
  const path = ["scheduler", "job", "model"];
  const hub = "a repository and its filenames, or weights";
  if (weights === undefined) {
    const { quorum } = tableAt({ aggregation }, "aggregation");
    const late: BrokenRule[] = typeof quorum !== "number" || quorum >= 1 ? [] : [{
      path: ["scheduler", "job", "aggregation", "quorum"],
      wrong: "is below 1 without weights: a late trainer could not learn which round its update is of",
      expected: "1 for a model of a repository",
      mend: "take quorum out, or give the model as weights",
    }];
    const missing =
      ([["repository", repository, '"acme/model"'], ["filenames", filenames, '["model.safetensors"]']] as const)
        .flatMap(
          ([name, value, example]): BrokenRule[] =>
            value !== undefined ? [] : [{
              path: [...path, name],
              wrong: "is missing",
              expected: hub,
              mend: `write for instance: ${name} = ${example}`,
            }],
        );
    return [...missing, ...late, ...checkKept(model as Record<string, unknown>, tableAt({ outer }, "outer"))];
  }
  const both: BrokenRule[] = repository === undefined && filenames === undefined ? [] : [{
    path: [...path, "weights"],
    wrong: "is set together with a repository",
    expected: hub,
    mend: "take one of them out",
  }];
  const rate = tableAt({ outer }, "outer")["learning-rate"];
  return rate !== 0 ? both : [...both, {
    path: ["scheduler", "job", "outer_optimizer", "learning-rate"],
    wrong: "is 0, and nothing would be learned",
    expected: "a number over 0 for a model with weights",
    mend: "write for instance: learning-rate = 0.7",
  }];
}

/** What a model of a repository needs for its scheduler to keep it. */
function checkKept(model: Record<string, unknown>, outer: Readonly<Record<string, unknown>>): BrokenRule[] {
  const { keep, revision, filenames } = model;
  if (keep !== true) return [];
  const path = ["scheduler", "job", "model"];
  const isPinned = typeof revision === "string" && /^[0-9a-f]{40}$/.test(revision);
  const weights = Array.isArray(filenames) ? filenames.filter((name) => String(name).endsWith(".safetensors")) : [];
  const leaveOut = "or take keep out";
  const unpinned: BrokenRule[] = isPinned ? [] : [{
    path: [...path, "revision"],
    wrong: "names no commit: the scheduler and the trainers could fetch different weights",
    expected: "the 40 digits of a commit where keep = true",
    mend: `write the commit that the branch points to, ${leaveOut}`,
  }];
  const several: BrokenRule[] = weights.length === 1 ? [] : [{
    path: [...path, "filenames"],
    wrong: `has ${weights.length} files of weights`,
    expected: "one file *.safetensors where keep = true",
    mend: `join the weights in one file, ${leaveOut}`,
  }];
  const still: BrokenRule[] = outer["learning-rate"] !== 0 ? [] : [{
    path: ["scheduler", "job", "outer_optimizer", "learning-rate"],
    wrong: "is 0, and nothing would be learned",
    expected: "a number over 0 for a model that is kept",
    mend: "write for instance: learning-rate = 0.7",
  }];
  return [...unpinned, ...several, ...still];
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
