/**
 * The fourth family of scenarios, about witnesses: gateways and a CA that witness each other's audit logs, owners that truncate, rewrite or
 * fork theirs, a witness that forges, connections that break, processes that start again. Drawn by names of its own.
 *
 * @module
 */
import { randomOf, type RandomStream } from "../runtime/random.ts";

/** What an owner does to its log. */
export const ownerHabits = ["honest", "truncates", "rewrites", "forks", "changes-key"] as const;
export type OwnerHabit = (typeof ownerHabits)[number];

/** A node that keeps a log. */
export interface WitnessedOwner {
  readonly name: string;
  readonly role: "gateway" | "ca" | "worker";
  readonly habit: OwnerHabit;
  /** When it does it, in milliseconds. */
  readonly at: number;
  /** The part of the held records that stays. */
  readonly kept: number;
}

/** A trouble. */
export interface WitnessTrouble {
  readonly kind: "cut" | "restart" | "forged";
  readonly at: number;
  readonly node: string;
  readonly other: string;
  /** How long a connection is away. */
  readonly forMs: number;
}

/** A scenario as data. */
export interface WitnessScenario {
  readonly seed: number;
  readonly everyMs: number;
  /** The part of messages that is lost. */
  readonly loss: number;
  readonly nodes: readonly WitnessedOwner[];
  readonly events: readonly WitnessTrouble[];
  readonly ms: number;
}

const everyMs = 600_000;

/** Draws a scenario. */
export function witnessScenarioOf(seed: number): WitnessScenario {
  const draw = (name: string) => randomOf(seed, `witnesses/${name}`);
  const nodes = nodesOf(draw("nodes"));
  const random = draw("events");
  const ms = everyMs * 6;
  const events = Array.from({ length: random.whole(0, 9) }, (): WitnessTrouble => {
    const [node, other] = random.shuffle(nodes);
    return {
      kind: random.pick(["cut", "cut", "restart", "forged"] as const),
      at: random.whole(everyMs / 2, ms),
      node: node!.name,
      other: other!.name,
      forMs: random.whole(1_000, everyMs),
    };
  }).toSorted((one, two) => one.at - two.at);
  const loss = draw("loss");
  return { seed, everyMs, loss: loss.chance(0.3) ? 0.05 * loss.next() : 0, nodes, events, ms };
}

function nodesOf(random: RandomStream): readonly WitnessedOwner[] {
  const gateways = Array.from({ length: random.whole(2, 5) }, (_, index) => `gateway-${index + 1}`);
  const names = [...gateways, "ca-1", "worker-1"];
  const evil = random.shuffle(names).slice(0, random.whole(0, 3));
  return names.map((name): WitnessedOwner => {
    const habit = evil.includes(name) ? random.pick(ownerHabits) : "honest";
    const role = name.split("-")[0] as WitnessedOwner["role"];
    return { name, role, habit, at: random.whole(everyMs * 1.2, everyMs * 4), kept: random.next() };
  });
}
