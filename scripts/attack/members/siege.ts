/**
 * Attacks by members on the nodes, and their measured effects.
 *
 * @module
 */
import { p99 } from "../gate/honest.ts";
import type { Assault, MemberAttack } from "./attack.ts";
import type { MemberAttackers, Victims } from "./children.ts";
import { type HonestMember, pingsWhile } from "./honest.ts";
import type { MembersFootprint, VictimLine } from "./victim.ts";
import type { MembersWorld, VictimRole } from "./world.ts";

/** The resources that nodes hold. */
export interface MembersHeld {
  readonly fds: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
  readonly rssBytes: number;
  readonly rssPeakBytes: number;
  readonly actors: number;
}

/** The result of one attack. */
export interface MemberAttackRow {
  readonly id: string;
  readonly attempts: number;
  readonly expected: string;
  readonly seen: string;
  readonly held: boolean;
  /** The 99th percentile of an honest member's pings: quiet ones so far, and those under attack. */
  readonly honest: { readonly quietP99Ms: number; readonly p99Ms: number } | null;
  /** How late the node's timers were under attack, in milliseconds. */
  readonly lagP99Ms: number;
  /** The longest piece of work of the node under attack, in milliseconds of processor time. */
  readonly turnMaxMs: number;
  /** How much of a core the node's process used under attack. */
  readonly cores: number;
  readonly before: MembersHeld;
  /** While the attackers are still there. */
  readonly during: MembersHeld;
  readonly after: MembersHeld;
}

/** Everything that an attack takes place in. */
export interface MemberSiege {
  readonly world: MembersWorld;
  /** The process of each node; several may share one. */
  readonly victims: Readonly<Record<VictimRole, Victims>>;
  readonly attackers: MemberAttackers;
  /** Those of attacks that keep deadlines. */
  readonly players: MemberAttackers;
  readonly honest: HonestMember;
  /** Milliseconds of every ping in quiet times; grows with each attack. */
  readonly quiet: number[];
  readonly quick: boolean;
  /** False for a control: the nodes have no defences, and may hold next to nothing. */
  readonly defended: boolean;
  /** What each process held after the last siege. A quick run begins with it: collections are most of what it costs a node. */
  readonly last: Map<Victims, MembersFootprint>;
}

/** Resources that may remain after an attack: compiled code, caches, sockets of the runtime. */
const allowed = { fds: 3, memoryBytes: 24 * 1_048_576 };
/** What attackers may make a node hold while they are there: 32 MiB for a member, and what the runtime adds. */
const heldMaxBytes = { defended: 64 * 1_048_576, control: 1_048_576 };
/**
 * A node with attackers is measured until so many measurements in a row found its memory less than `leastBytes` smaller; `everyMs` is the pause
 * between two, in milliseconds. A busy machine frees memory slowly; memory that is held does not become less.
 */
const looks = { max: 6, leastBytes: 1_048_576, everyMs: 400 };
/** A node frees its resources within this time, in milliseconds: requests that never end are declined after 10 s, on a busy machine later. */
const recoveryMs = { defended: 45_000, control: 15_000 };
/** A quick run asserts no latency. */
const pings = { quick: { least: 2, paceMs: 100 }, full: { least: 100, paceMs: 20 } };

/** Runs attacks on one node at the same time. */
export async function besiege(attacks: readonly MemberAttack[], siege: MemberSiege): Promise<MemberAttackRow[]> {
  const { world, victims, honest, quick, quiet, defended } = siege;
  const attackers = attacks.some(({ keepsDeadlines }) => keepsDeadlines === true) ? siege.players : siege.attackers;
  const { target } = attacks[0]!;
  const [victim, { peer }] = [victims[target], world.nodes[target]];
  const limits = quick ? pings.quick : pings.full;
  const problems: string[] = [];
  quiet.push(...await pingsWhile(honest, peer, Promise.resolve(), limits));
  const before = (quick ? siege.last.get(victim) : undefined) ?? await victim.footprint();
  const from = victim.lines.length;
  const begun = performance.now();
  const assault = attackers.assail(attacks.map(({ id }) => id), quick);
  let latencies: number[] | undefined;
  try {
    latencies = await pingsWhile(honest, peer, assault, limits);
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
  }
  const assaults = await assault;
  const tookMs = performance.now() - begun;
  const during = await whileThere(victim, before);
  await attackers.leave();
  const after = await recovered(victim, before, defended ? recoveryMs.defended : recoveryMs.control);
  siege.last.set(victim, after);
  problems.push(...findings({ before, after }));
  const lines = victim.lines.slice(from);
  const figures = latencies === undefined ? null : { quietP99Ms: p99(quiet), p99Ms: p99(latencies) };
  return attacks.map((attack, nth) => {
    const { attempts, problems: own } = assaults[nth] as Assault;
    const done = doneTo(attack, attack.since === "start" ? victim.lines : lines);
    // Without a limit a hoard is what it was before: a control shows that it is found.
    const heldMax = defended || !attack.id.startsWith("hoard-of-") ? heldMaxBytes.defended : heldMaxBytes.control;
    const held = memory(during) - memory(before);
    const hoarded = held > heldMax ? [`it held ${mebibytes(held)} for them`] : [];
    const costs = quick && defended ? [] : tooExpensive(attack, { before, during, after });
    const wrong = [...problems, ...own, ...hoarded, ...costs, ...unexpected(attack, done, quick)];
    return {
      id: attack.id,
      attempts,
      expected: describe(attack, quick) || "contained",
      seen: [...done.acts.map((act) => `${act} refused`), ...done.codes, ...wrong].join("; ") || "contained",
      held: wrong.length === 0,
      honest: figures,
      lagP99Ms: during.lag.p99Ms,
      turnMaxMs: during.turnMaxMs,
      cores: during.cpuMs / tookMs,
      before: heldOf(before),
      during: heldOf(during),
      after: heldOf(after),
    };
  });
}

/** What the nodes did to the members of an attack. */
interface Done {
  readonly acts: readonly string[];
  readonly codes: readonly string[];
}

function doneTo({ id }: MemberAttack, lines: readonly VictimLine[]): Done {
  const own = lines.filter(({ fields }) => typeof fields["name"] === "string" && fields["name"].startsWith(`${id}.`));
  const of = (field: string, ...events: readonly string[]) => {
    const values = own.filter(({ event }) => events.includes(event)).map(({ fields }) => fields[field]);
    return [...new Set(values.filter((value) => typeof value === "string"))].sort();
  };
  // A line about an audit log names the log, not a peer.
  const forks = lines.filter(({ event, fields: { origin } }) =>
    event === "audit.fork" && typeof origin === "string" && origin.includes(`/${id}.`)
  ).map(({ fields }) => String(fields["code"]));
  const codes = [...new Set([...of("code", "peer.closed", "peer.refused"), ...forks])].sort();
  return { acts: of("act", "act.refused"), codes };
}

const codesOf = ({ expected: { codes = [], codesInFull } }: MemberAttack, quick: boolean) =>
  quick ? codes : codesInFull ?? codes;

function describe(attack: MemberAttack, quick: boolean): string {
  const acts = (attack.expected.acts ?? []).map((act) => `${act} refused`);
  return [...acts, ...codesOf(attack, quick)].join("; ");
}

function unexpected(attack: MemberAttack, { acts, codes }: Done, quick: boolean): string[] {
  const compare = (what: string, wanted: readonly string[], seen: readonly string[]) => [
    ...wanted.filter((one) => !seen.includes(one)).map((one) => `${what} ${one} was not seen`),
    ...seen.filter((one) => !wanted.includes(one)).map((one) => `${what} ${one} was not expected`),
  ];
  return [
    ...compare("a refused act", attack.expected.acts ?? [], acts),
    ...compare("code", codesOf(attack, quick), codes),
  ];
}

type Footprints = Readonly<Record<"before" | "during" | "after", MembersFootprint>>;

const memory = ({ heapBytes, externalBytes }: MembersFootprint) => heapBytes + externalBytes;
const mebibytes = (bytes: number) => `${Math.round(bytes / 1_048_576)} MiB`;

/** The longest piece of work of a node, in milliseconds of processor time: a collection takes some of it. */
const turnMaxMs = 50;

/** Where an attack cost the node more than it may. */
function tooExpensive({ cost }: MemberAttack, { before, during, after }: Footprints): string[] {
  const long = during.turnMaxMs > turnMaxMs ? [`a piece of work took ${during.turnMaxMs.toFixed(1)} ms`] : [];
  if (cost === undefined) return long;
  const rss = during.rssPeakBytes - before.rssBytes;
  const left = memory(after) - memory(before);
  return [
    ...long,
    ...(during.lag.p99Ms > cost.lagP99Ms ? [`its timers were ${during.lag.p99Ms.toFixed(1)} ms late`] : []),
    ...(rss > cost.rssBytes ? [`its resident memory grew by ${mebibytes(rss)}`] : []),
    ...(left > cost.memoryBytes ? [`${mebibytes(left)} stayed in use`] : []),
  ];
}

/** Problems that fail every attack of the siege. */
function findings({ before, after }: Pick<Footprints, "before" | "after">): string[] {
  const problems: string[] = [];
  if (after.actors > before.actors) problems.push(`${after.actors - before.actors} gates stayed`);
  if (after.fds > before.fds + allowed.fds) problems.push(`${after.fds - before.fds} sockets stayed`);
  if (memory(after) > memory(before) + allowed.memoryBytes) problems.push("memory stayed in use");
  if (after.unhandled > before.unhandled) problems.push("an error was not handled");
  return problems;
}

const heldOf = (
  { fds, heapBytes, externalBytes, rssBytes, rssPeakBytes, actors }: MembersFootprint,
): MembersHeld => ({ fds, heapBytes, externalBytes, rssBytes, rssPeakBytes, actors });

/**
 * The nodes with the attackers still there. What a runtime has read and not let go of yet is not held for anybody: Deno frees
 * the buffers of its sockets up to a second after a collection. So a node that has too much is looked at again.
 */
export async function whileThere(
  victim: Pick<Victims, "footprint">,
  before: MembersFootprint,
): Promise<MembersFootprint> {
  const first = await victim.footprint();
  let least = first;
  for (let look = 1; look < looks.max && memory(least) - memory(before) > heldMaxBytes.defended; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, looks.everyMs));
    const { heapBytes, externalBytes } = await victim.footprint();
    const lessBytes = memory(least) - heapBytes - externalBytes;
    if (lessBytes >= looks.leastBytes) look = 0;
    if (lessBytes > 0) least = { ...first, heapBytes, externalBytes };
  }
  return least;
}

/** Waits until the nodes hold no more than before. Collections are dear: sockets and gates are counted first. */
async function recovered(victim: Victims, before: MembersFootprint, withinMs: number): Promise<MembersFootprint> {
  const end = performance.now() + withinMs;
  for (;;) {
    const { fds, actors } = await victim.counts();
    if ((fds <= before.fds + allowed.fds && actors <= before.actors) || performance.now() > end) {
      const after = await victim.footprint();
      if (findings({ before, after }).length === 0 || performance.now() > end) return after;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
