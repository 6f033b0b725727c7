/**
 * Deliberate defects of an operator's rules: which one decides, whom a pattern names, and how a changed file comes into force.
 *
 * @module
 */
import type { PlantedBug } from "./planted_bugs.ts";

/** All of them. */
export const plantedRuleBugs: readonly PlantedBug[] = [
  {
    name: "the first rule that fits decides",
    file: "transport/authorization/authorize.ts",
    find: `const denies = fitting.find(({ effect }) => effect === "deny");`,
    replace: `const denies = fitting.slice(0, 1).find(({ effect }) => effect === "deny");`,
  },
  {
    name: "a deny loses to the table",
    file: "transport/authorization/authorize.ts",
    find: "if (denies !== undefined) return refused(denies.label);",
    replace: `if (denies !== undefined && allowedTo !== "member") return refused(denies.label);`,
  },
  {
    name: "a * stands for no segment",
    file: "transport/authorization/rules.ts",
    find: `wanted.every((segment, at) => segment === "*" || segment === segments[at])`,
    replace: `wanted.every((segment, at) => segment === segments[at])`,
  },
  {
    name: "a pattern of a PeerID fits no member",
    file: "transport/authorization/rules.ts",
    find: "exact.peers.has(member.peer) || exact",
    replace: "exact",
  },
  {
    name: "changed rules wait for the next start",
    file: "actors/node/children.ts",
    find: `if (context.actor !== undefined) enqueue.sendTo(context.actor, { type: "rules.changed", rules });`,
    replace: "",
  },
  {
    name: "a configuration that does not load takes the rules away",
    file: "actors/node/rule_store.ts",
    find: "outcome: yield* Effect.result(read) }",
    replace: "outcome: yield* Effect.result(Effect.orElseSucceed(read, () => " +
      '({ rules: [], rulesWritten: "", rulesFrom: undefined, others: new Map(), isEnded: true }))) }',
  },
];
