/**
 * The attackers, in a separate process with low priority: the latency of an honest peer must depend on the node, not on an
 * attacker in the same event loop.
 *
 * Reads `{"id", "count"}` lines on standard input and answers `{"problems": […]}` when the attack is over. Argument: a file with
 * the world, as {@linkcode AttackerSetup}.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { setPriority } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import type { EndFiles } from "../../bench/gate/world.ts";
import { attacks } from "./all.ts";
import { attackRate, type GateAttack, type GateWorld, type Shown } from "./attack.ts";
import { dialFrom } from "./raw_dial.ts";

/** The input of the attackers, as JSON. */
export interface AttackerSetup {
  readonly port: number;
  readonly member: EndFiles;
  readonly thief: EndFiles;
}

const niceness = 19;
/** The argument that leaves its priority as it is. */
export const notNice = "--not-nice";

/** Attackers' addresses: 127.0.1.1 to 127.0.20.250. */
const addressOf = (index: number) => `127.0.${1 + Math.floor(index / 250) % 20}.${1 + index % 250}`;

/** A certificate with its key, out of a file's texts. */
export const shownBy = ({ chain, identity }: EndFiles): Shown => ({
  chain: chain.map((der) => Buffer.from(der, "base64")),
  keyPem: identity.keyPem,
  certPem: identity.certPem,
});

/** Makes the attempts with limits on their number at once and per second, each from another address. */
async function assail(attack: GateAttack, world: GateWorld, count: number): Promise<void> {
  let left = count;
  const { perSecond = attackRate } = attack;
  const begun = performance.now();
  const one = async () => {
    for (let index = left--; index > 0; index = left--) {
      const earlyMs = begun + (count - index) * 1_000 / perSecond - performance.now();
      if (earlyMs > 1) await new Promise((resolve) => setTimeout(resolve, earlyMs));
      const socket = await dialFrom(world.port, addressOf(index));
      if (socket === undefined) continue;
      socket.on("error", () => {});
      await attack.run(world, socket).catch(() => {}); // it was refused in the middle of it
      socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, attack.parallel) }, one));
}

if (process.argv[1]?.endsWith("attacker.ts") === true) {
  if (!process.argv.includes(notNice)) setPriority(niceness);
  const { port, member, thief }: AttackerSetup = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"));
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, count } = JSON.parse(line) as { readonly id: string; readonly count: number };
    const problems: string[] = [];
    const attack = attacks.find((known) => known.id === id);
    if (attack === undefined) throw new Error(`Cannot attack: there is no ${id}`);
    const escaped = (what: string) => void problems.push(what);
    await assail(attack, { port, member: shownBy(member), thief: shownBy(thief), escaped }, count);
    process.stdout.write(`${JSON.stringify({ problems })}\n`);
  }
  process.exit(0);
}
