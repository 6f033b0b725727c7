/**
 * The part `gate`: strangers and members on the port of a node with default limits, over real sockets.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { makeEnd } from "../bench/gate/endpoint.ts";
import { makeBenchWorld } from "../bench/gate/world.ts";
import { runtimeBinary } from "../demo/processes.ts";
import { attacks } from "./gate/all.ts";
import { type AttackerSetup, shownBy } from "./gate/attacker.ts";
import { Attackers, Victim } from "./gate/children.ts";
import { impersonate, impersonations } from "./gate/impersonate.ts";
import { gateTable } from "./gate/table.ts";
import { besiege, type GateAttackRow, type Siege } from "./gate/siege.ts";

/** The report of a run. */
export interface GateReport {
  readonly part: "gate";
  readonly runtime: string;
  readonly user: "root" | "user";
  readonly level: null;
  readonly ok: boolean;
  readonly exits: number;
  readonly unhandled: number;
  readonly attacks: readonly GateAttackRow[];
}

/** How the attacks are run. `quick` is for tests: a few attempts each. */
interface GateAttackOptions {
  readonly runtime: "node" | "deno";
  readonly json: boolean;
  readonly quick: boolean;
}

/** From the victim's first byte to its verdict. Strangers whose handshake is slow for other reasons have another code than expected. */
const deadlineMs = { quick: 6_000, full: 5_000 };
/** Attempts of a quick run: by strangers, by members (about a second each), and with 16 MB of data. */
const quickMax = { stranger: 8, member: 4, heavy: 1 };
const heavy = "certificate-16-mb";
/** Attempts of each impersonation while listening. */
const impersonationsMin = 1_000;

/** Runs every attack on one runtime's node. */
export async function attack({ runtime, json, quick }: GateAttackOptions): Promise<GateReport[]> {
  const files = await makeBenchWorld({ quick: true });
  const timeoutMs = quick ? deadlineMs.quick : deadlineMs.full;
  const fileOf = (name: string, content: unknown) => {
    const path = join(files.longPath, "..", name);
    writeFileSync(path, JSON.stringify(content));
    return path;
  };
  const say = json ? console.error : console.log;
  const victim = new Victim(runtime, await runtimeBinary(runtime), fileOf("victim.json", files.listener), timeoutMs);
  let attackers: Attackers | undefined;
  try {
    const address = (await victim.started()).addresses[0]!;
    const world: AttackerSetup = {
      port: Number(address.split("/")[4]),
      member: files.revoked, // revoked in another network, a member in this one
      thief: files.listener,
    };
    attackers = new Attackers(
      await runtimeBinary("node"),
      fileOf("attackers.json", world),
      quick ? "as the node" : "lowest",
    );
    const honest = await makeEnd({ ...files.dialler, way: "hybrid", listens: false });
    const repeats = quick ? 1 : 3;
    const siege: Siege = { victim, attackers, address, honest, deadlineMs: timeoutMs, repeats, quiet: [], quick };
    const rows: GateAttackRow[] = [];
    const keep = (row: GateAttackRow) => {
      rows.push(row);
      say(lineOf(row));
    };
    for (const attack of attacks) keep(await besiege(attack, quick ? quickCount(attack) : attack.count, siege));
    const count = quick ? quickMax.stranger : impersonationsMin;
    const ends = { member: shownBy(world.member), thief: shownBy(world.thief) };
    for (const impersonation of impersonations) keep(await impersonate(impersonation, ends, { victim, count }));
    if (!json) say(`\n${gateTable(rows)}`);
    const { unhandled } = await victim.footprint();
    // A quick run has too few handshakes for a figure.
    const calm = quick || rows.every(({ honest }) => honest === null || honest.p99Ms <= 2 * honest.quietP99Ms);
    return [{
      part: "gate",
      runtime,
      user: process.getuid?.() === 0 ? "root" : "user",
      level: null,
      ok: victim.exits === 0 && unhandled === 0 && calm && rows.every((row) => row.held),
      exits: victim.exits,
      unhandled,
      attacks: rows,
    }];
  } finally {
    await attackers?.stop();
    await victim.stop();
    files.remove();
  }
}

function quickCount({ id, count, expected }: (typeof attacks)[number]): number {
  if (id === heavy) return quickMax.heavy;
  return Math.min(count, expected.length === 0 ? quickMax.member : quickMax.stranger);
}

function lineOf({ held, id, attempts, seen, honest }: GateAttackRow): string {
  const calm = honest === null
    ? ""
    : ` (honest p99 ${honest.p99Ms.toFixed(1)} ms, quiet ${honest.quietP99Ms.toFixed(1)})`;
  return `${held ? "held    " : "NOT held"}  ${id} × ${attempts}: ${seen}${calm}`;
}
