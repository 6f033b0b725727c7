/**
 * The part `members`: members with valid certificates of each role against whole nodes with default limits, over real sockets.
 *
 * @module
 */
import { rmSync } from "node:fs";
import process from "node:process";
import { runtimeBinary } from "../demo/processes.ts";
import { controls, memberAttacks } from "./members/all.ts";
import { storm } from "./members/flood_attacks.ts";
import type { MemberAttack } from "./members/attack.ts";
import { MemberAttackers, Victims } from "./members/children.ts";
import type { HostileAddresses } from "./members/hostile_places.ts";
import { HonestMember } from "./members/honest.ts";
import { besiege, type MemberAttackRow } from "./members/siege.ts";
import { membersTable } from "./members/table.ts";
import { unguardedTree, victimOf } from "./members/unguarded.ts";
import {
  configure,
  issueMember,
  makeMembersWorld,
  type MembersPki,
  type MembersWorld,
  nodeName,
  type VictimPlace,
  type VictimRole,
  victimRoles,
} from "./members/world.ts";

/** The report of a run. */
export interface MembersReport {
  readonly part: "members";
  readonly runtime: string;
  readonly user: "root" | "user";
  readonly level: null;
  readonly ok: boolean;
  readonly exits: number;
  readonly unhandled: number;
  readonly attacks: readonly MemberAttackRow[];
}

/** How the attacks are run. `quick` is for tests. */
interface MembersAttackOptions {
  readonly runtime: "node" | "deno";
  readonly json: boolean;
  readonly quick: boolean;
  /** `--only ID,ID`, `--storm`, `--control`. */
  readonly rest: readonly string[];
}

/** Runs every attack on nodes of one runtime. */
export async function attack({ runtime, json, quick, rest }: MembersAttackOptions): Promise<MembersReport[]> {
  const say = json ? console.error : console.log;
  const made = await makeMembersWorld();
  const node = await runtimeBinary("node");
  const attackers = quick ? MemberAttackers.here() : MemberAttackers.apart(node, "lowest");
  const attacks = chosen(rest, quick);
  const plays = !quick && attacks.some(({ keepsDeadlines }) => keepsDeadlines === true);
  const players = plays ? MemberAttackers.apart(node, "as the nodes") : attackers;
  const defended = !rest.includes("--control");
  const tree = defended ? undefined : unguardedTree();
  const processes: Victims[] = [];
  const makeProcess = async () => {
    const victims = new Victims(runtime, await runtimeBinary(runtime), tree && victimOf(tree.path));
    processes.push(victims);
    return victims;
  };
  let honest: HonestMember | undefined;
  try {
    const hostile = await attackers.prepare(made);
    if (plays) await players.prepare(made);
    const { victims, nodes } = await startVictims({ pki: made, hostile, quick, defended, makeProcess });
    const world: MembersWorld = { ...made, nodes, hostile, defended };
    await attackers.meet(world);
    if (plays) await players.meet(world);
    const { identity } = await issueMember(world, "honest-01", { role: "scheduler" });
    honest = await HonestMember.start({ role: "scheduler", identity, trustPem: world.root.certPem });
    for (const role of victimRoles) await honest.dial(nodes[role].address);
    const rows: MemberAttackRow[] = [];
    const siege = { world, victims, attackers, players, honest, quiet: [], quick, defended, last: new Map() };
    for (const group of groupsOf(attacks, quick)) {
      const begun = performance.now();
      const taken = await besiege(group, siege);
      for (const row of taken) say(lineOf(row, performance.now() - begun));
      rows.push(...taken);
    }
    if (!json) say(`\n${membersTable(rows)}`);
    return [await reportOf({ runtime, quick }, processes, rows)];
  } finally {
    await honest?.stop();
    await attackers.stop();
    if (plays) await players.stop();
    await Promise.all(processes.map((victims) => victims.stop()));
    rmSync(made.folder, { recursive: true, force: true, maxRetries: 5 });
    tree?.remove();
  }
}

async function reportOf(
  { runtime, quick }: Pick<MembersAttackOptions, "runtime" | "quick">,
  processes: readonly Victims[],
  rows: readonly MemberAttackRow[],
): Promise<MembersReport> {
  const exits = processes.reduce((sum, victims) => sum + victims.exits, 0);
  const footprints = await Promise.all(processes.map((victims) => victims.footprint()));
  const unhandled = footprints.reduce((sum, footprint) => sum + footprint.unhandled, 0);
  // A quick run has too few pings for a figure.
  const calm = quick || rows.every(({ honest }) => honest === null || honest.p99Ms <= 2 * honest.quietP99Ms);
  return {
    part: "members",
    runtime,
    user: process.getuid?.() === 0 ? "root" : "user",
    level: null,
    ok: exits === 0 && unhandled === 0 && calm && rows.every(({ held }) => held),
    exits,
    unhandled,
    attacks: rows,
  };
}

/** Starts the nodes: each in a process of its own, or all in one in a quick run. */
async function startVictims({ pki, hostile, quick, defended, makeProcess }: {
  readonly pki: MembersPki;
  readonly hostile: HostileAddresses;
  readonly quick: boolean;
  readonly defended: boolean;
  readonly makeProcess: () => Promise<Victims>;
}) {
  const victims = {} as Record<VictimRole, Victims>;
  const nodes = {} as Record<VictimRole, VictimPlace>;
  for (const role of victimRoles) {
    victims[role] = quick && role !== "gateway" ? victims.gateway : await makeProcess();
    const gateways = role === "gateway" ? [] : [nodes.gateway.address];
    const also = role === "worker" ? [hostile.relay, hostile.impostor] : [];
    const config = await configure(pki, role, { gatewayAddresses: [...gateways, ...also], defended });
    nodes[role] = await victims[role].start(nodeName(role), config);
  }
  await Promise.all(
    victimRoles.map((role) =>
      victims[role].line(
        `${nodeName(role)} to be ready`,
        ({ node, event }) => node === nodeName(role) && event === lastOfStart(role),
      )
    ),
  );
  return { victims, nodes };
}

/** A worker is ready before it takes work: it finds out first how it can confine jobs. */
const lastOfStart = (role: VictimRole) => role === "worker" ? "worker.cell" : "node.ready";

/** The attacks that the command line names; all without such a flag. */
function chosen(rest: readonly string[], quick: boolean): readonly MemberAttack[] {
  if (rest.includes("--storm")) return [storm];
  const at = rest.indexOf("--only");
  if (rest.includes("--control")) {
    const some = at < 0 ? controls : rest[at + 1]?.split(",") ?? [];
    return memberAttacks.filter(({ id }) => controls.includes(id) && some.includes(id));
  }
  if (at < 0) return memberAttacks.filter(({ leftOutOf }) => leftOutOf !== (quick ? "quick" : "full"));
  const ids = rest[at + 1]?.split(",") ?? [];
  return memberAttacks.filter(({ id }) => ids.includes(id));
}

/** One attack after the other, or in a quick run a group of attacks at the same time. */
function groupsOf(attacks: readonly MemberAttack[], quick: boolean): readonly (readonly MemberAttack[])[] {
  if (!quick) return attacks.map((attack) => [attack]);
  const groups = [...Map.groupBy(attacks, ({ group, target }) => group ?? target).values()];
  const isLast = (group: readonly MemberAttack[]) => Number(group.some(({ comesLast }) => comesLast === true));
  return groups.toSorted((one, other) => isLast(one) - isLast(other));
}

function lineOf(row: MemberAttackRow, tookMs: number): string {
  const { held, id, attempts, seen, honest, lagP99Ms, turnMaxMs, cores } = row;
  const calm = honest === null
    ? ""
    : ` (honest p99 ${honest.p99Ms.toFixed(1)} ms, quiet ${honest.quietP99Ms.toFixed(1)})`;
  const [lag, took] = [
    `${cores.toFixed(2)} cores, longest work ${turnMaxMs.toFixed(1)} ms, lag p99 ${lagP99Ms.toFixed(1)} ms`,
    `${(tookMs / 1_000).toFixed(1)} s`,
  ];
  return `${held ? "held    " : "NOT held"}  ${id} × ${attempts}: ${seen}${calm}, ${lag}, held ${
    heldOf(row)
  } MiB, ${took}`;
}

/** What the node held for the attackers, in MiB. */
function heldOf({ before, during }: MemberAttackRow): number {
  const grown = during.heapBytes + during.externalBytes - before.heapBytes - before.externalBytes;
  return Math.round(grown / 1_048_576);
}
