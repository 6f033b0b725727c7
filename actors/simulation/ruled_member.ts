/**
 * The trouble of an operator's rules: a node's file denies a member an act while the member goes on with it, then breaks, then
 * allows it again.
 *
 * @module
 */
import type { RuleText } from "../../transport/authorization/rules.ts";
import type { TransportFact } from "../../transport/port.ts";
import type { Bites } from "./bites.ts";
import type { Checker } from "./checker.ts";
import type { HostileMember } from "./hostile_member.ts";
import type { SimulatedNode } from "./node.ts";
import { nodePaths } from "./node_config.ts";
import { ruleFileOf } from "./rule_file.ts";
import type { ScenarioEvent } from "./scenario.ts";
import type { Simulation, SimulationWatch } from "./simulation.ts";

/** The name of the member's certificate. */
export const ruledName = "ruled";

/** A changed file is in force after this, in milliseconds. */
const inForceMs = 1_000;
/** A rule that denies and that the file no longer has stays this much longer, in milliseconds. */
const removalMs = 3_000;
/** Where no event tells of a change, the file is looked at this often, in milliseconds. */
const lookMs = 5_000;
/** The member asks, and connects again, this often, in milliseconds. */
const askEveryMs = 400;
/** From the beginning to the end of the rules at least, and what the member stays longer, in milliseconds. */
const denyMs = 8_000;
const afterwardsMs = 8_000;

/** What a node's file says of the member. */
interface FileState {
  readonly denies: boolean;
  /** When it was written, in the world's time. */
  readonly since: number;
  /** The disk did not report the change. */
  readonly isUnseen: boolean;
}

/** What it is made with. */
export interface RuledInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly bites: Bites;
  readonly member: () => HostileMember | undefined;
}

/** Writes rules, and holds nodes to them. */
export class RuledMember implements SimulationWatch {
  readonly #init: RuledInit;
  readonly #files = new Map<SimulatedNode, FileState>();

  constructor(init: RuledInit) {
    this.#init = init;
  }

  /** Begins the trouble at a node. */
  begin(node: SimulatedNode, { forMs, amount }: ScenarioEvent): void {
    const { sim } = this.#init;
    const member = node.options.hasRules === true ? this.#init.member() : undefined;
    if (member === undefined) return;
    if (!sim.watches.includes(this)) sim.watches.push(this);
    const overMs = denyMs + forMs / 2;
    const stayMs = overMs + afterwardsMs;
    this.#write(node, denying(member.peer, amount), true);
    if (amount > 0.9) node.reload(); // SIGHUP, by an operator who does not wait
    // A file that does not load takes no rule away.
    if (amount < 0.7) sim.after(overMs / 2, () => this.#spoil(node, amount));
    sim.after(overMs, () => this.#write(node, [], false));
    for (let at = 0; at < stayMs; at += askEveryMs) sim.after(at, () => this.#ask(node, member));
    sim.after(stayMs, () => member.stop());
  }

  #ask(node: SimulatedNode, member: HostileMember): void {
    if (member.open.length === 0) return member.dial(node.address);
    for (const connection of member.open) member.askHealth(connection);
  }

  #write(node: SimulatedNode, rules: readonly RuleText[], denies: boolean): void {
    if (!node.writeRules(rules)) return;
    this.#files.set(node, { denies, since: this.#init.sim.time.now, isUnseen: node.disk.silent });
  }

  /** An operator's slip, or half of a file: what it says of the member is not in force. */
  #spoil(node: SimulatedNode, amount: number): void {
    const file = this.#files.get(node);
    if (file?.denies !== true) return;
    // Whether the node has read what stood there before is not known.
    if (!this.#isInForce(node, file)) this.#files.delete(node);
    const wrong = ruleFileOf([]).replace("cert_pem", amount < 0.2 ? "cret_pem" : "cert_pem =");
    node.disk.put(nodePaths.config, wrong, 0o644);
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    const file = this.#files.get(node);
    if (file === undefined) return;
    if (fact.type === "request.received" && fact.identity.name === ruledName) {
      if (!file.denies || !this.#isInForce(node, file)) return;
      return this.#violate(node, `${fact.protocol} of a member that a rule denies`, file);
    }
    if (fact.type !== "act.refused" || fact.identity.name !== ruledName || fact.act !== "health") return;
    if (file.denies) this.#init.bites.note("rules");
    else if (this.#isInForce(node, file)) this.#violate(node, `refused by ${fact.refusal.rule}, which is gone`, file);
  }

  /** Since the file changed, or the process began: a change just after that, or unseen, waits for the next look. */
  #isInForce({ startedAt }: SimulatedNode, { denies, since, isUnseen }: FileState): boolean {
    const isEarly = since >= startedAt && since < startedAt + inForceMs;
    const withinMs = inForceMs + (denies ? 0 : removalMs) + (isUnseen || isEarly ? lookMs : 0);
    return this.#init.sim.time.now - since > withinMs;
  }

  #violate(node: SimulatedNode, what: string, { since }: FileState): void {
    const ago = Math.round(this.#init.sim.time.now - since);
    this.#init.checker.violate("rules-hold", node.name, `${what}, ${ago} ms after its file changed`);
  }
}

/** Denies the member to ask for health, beside a rule that allows it and stands first; others are not concerned. */
function denying(peer: string, amount: number): readonly RuleText[] {
  const patterns = [
    `spiffe://sim.hypha/worker/${ruledName}`,
    "spiffe://sim.hypha/*/ruled",
    `peer:${peer}`,
    "name:ruled",
  ];
  const pattern = patterns[Math.floor(amount * 997) % patterns.length] as string;
  return [
    { effect: "allow", acts: ["health", "lease.renew"], peers: [pattern] },
    { effect: "deny", acts: ["record.put", "health"], peers: ["name:somebody-else", pattern] },
  ];
}
