/**
 * The operator's rules of a simulated node: the configuration on its disk, of which everything but the rules is the run's.
 *
 * @module
 */
import { Effect } from "effect";
import type { RuleText } from "../../transport/authorization/rules.ts";
import { readConfig } from "../config/load.ts";
import type { RuleSource } from "../node/rule_store.ts";
import { nodePaths } from "./node_config.ts";

const around = { environment: {}, flags: {} };

/** The whole file with these rules, as TOML. Any role's would do: rules are read alike. */
export function ruleFileOf(rules: readonly RuleText[]): string {
  const keys = [
    `cert_pem = "${nodePaths.cert}"`,
    `key_pem = "${nodePaths.key}"`,
    `trust_pem = "${nodePaths.trust}"`,
    'listen_addresses = ["/ip4/127.0.0.1/tcp/4000"]',
  ];
  const tables = rules.map(({ effect, acts, peers }) =>
    [
      "[[authorization.rules]]",
      `effect = "${effect}"`,
      `acts = ${JSON.stringify(acts)}`,
      `peers = ${JSON.stringify(peers)}`,
    ]
      .join("\n")
  );
  return `${[...keys, ...tables].join("\n")}\n`;
}

/** How a process reads them again: with the loader of production. */
export const simulatedRuleSource: RuleSource = {
  file: nodePaths.config,
  read: Effect.map(readConfig("gateway", nodePaths.config, around), ({ reading }) => reading),
};
