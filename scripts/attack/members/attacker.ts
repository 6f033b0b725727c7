/**
 * The hostile members. In a full run they have a process of their own with low priority: what an honest member waits for must
 * depend on the node, not on attackers in the same event loop. Attacks whose members have to keep deadlines have another process, with the
 * priority of the nodes (`keepsDeadlines`).
 *
 * Reads lines of JSON on standard input, {@linkcode AttackerCommand}, and answers each with one.
 *
 * @module
 */
import { setPriority } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import { memberAttacks } from "./all.ts";
import { type Assault, AttackMeans } from "./attack.ts";
import { type HostileAddresses, type HostilePlaces, startHostilePlaces } from "./hostile_places.ts";
import type { MembersPki, MembersWorld } from "./world.ts";

/** What the process is told. */
export type AttackerCommand =
  /** Starts the members at gateways' addresses. The answer is {@linkcode HostileAddresses}. */
  | { readonly type: "prepare"; readonly pki: MembersPki }
  | { readonly type: "world"; readonly world: MembersWorld }
  /** Runs attacks at the same time. The answer is an {@linkcode Assault} for each. */
  | { readonly type: "attack"; readonly ids: readonly string[]; readonly quick: boolean }
  /** All attackers leave. */
  | { readonly type: "leave" };

const niceness = 19;
/** The argument that leaves its priority as it is. */
export const notNice = "--not-nice";

let world: MembersWorld | undefined;
let places: HostilePlaces | undefined;
const running: AttackMeans[] = [];

async function attack(ids: readonly string[], quick: boolean): Promise<Assault[]> {
  return await Promise.all(ids.map(async (id) => {
    const attack = memberAttacks.find((known) => known.id === id);
    if (attack === undefined || world === undefined || places === undefined) {
      throw new Error(`Cannot attack: there is no ${id}`);
    }
    const means = new AttackMeans({ world, places, attack, quick });
    running.push(means);
    try {
      await attack.run(means);
    } catch (error) {
      means.escaped(`the attack broke off: ${error instanceof Error ? error.message : error}`);
    }
    return { id, attempts: Math.max(1, means.attempts), problems: means.problems };
  }));
}

/** Does what it is told. */
export async function obey(command: AttackerCommand): Promise<Assault[] | HostileAddresses | object> {
  if (command.type === "attack") return await attack(command.ids, command.quick);
  if (command.type === "prepare") {
    places = await startHostilePlaces(command.pki);
    return places.addresses;
  }
  if (command.type === "world") ({ world } = command);
  else await Promise.all(running.splice(0).map((means) => means.leave()));
  return {};
}

/** A connection that a node closes fails whatever was under way on it, in places that nothing waits for. */
export const ignoreLost = (): void => {};

if (process.argv[1]?.endsWith("attacker.ts") === true) {
  if (!process.argv.includes(notNice)) setPriority(niceness);
  process.on("unhandledRejection", ignoreLost);
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line)))}\n`);
  }
  process.exit(0);
}
