/**
 * One attack on a CA, and its effects.
 *
 * @module
 */
import type { CaAttack, Loot } from "./attack.ts";
import type { CaFootprint } from "./victim.ts";
import { type CaWorld, honestAddress } from "./world.ts";

/** The result of one attack. */
export interface CaAttackRow {
  readonly id: string;
  readonly attempts: number;
  readonly expected: string;
  readonly seen: string;
  readonly held: boolean;
  /** The longest piece of work of the CA meanwhile, in milliseconds of processor time. */
  readonly pieceMs: number;
  /** The slowest answer that an honest client got meanwhile, in milliseconds. */
  readonly honestMs: number;
}

/** The CA frees its resources within this time, in milliseconds. */
const recoveryMs = 30_000;
/** Resources that may remain: compiled code, caches, sockets of the runtime. */
const allowed = { fds: 3, heapBytes: 24 * 1_048_576 };
/** The longest piece of work, in milliseconds of processor time. */
export const pieceMaxMs = 20;
/** How often an honest client asks, and how long it waits at most, in milliseconds. */
const honest = { everyMs: 100, patienceMs: 5_000 };

/** Runs an attack. `calm`: whether the longest piece of work and the time of honest answers count. */
export async function besiege(
  world: CaWorld,
  attack: CaAttack,
  { count, calm }: { readonly count: number; readonly calm: "counts" | "is shown" },
): Promise<CaAttackRow> {
  world.nextAttack();
  const before = await world.footprint();
  const certificates = await world.issued();
  const loot: Loot = { codes: new Map(), issued: 0, problems: [] };
  const running = attack.run(world, count, loot).catch((error) => {
    loot.problems.push(`the attack broke off: ${error instanceof Error ? error.message : error}`);
  });
  const answers = await askWhile(world, running, calm);
  const busy = await world.footprint();
  const after = await recovered(world, before);
  const issued = await world.issued() - certificates;
  const problems = [...loot.problems, ...answers.problems];
  const wrong = [...loot.codes.keys()].filter((code) => !attack.expected.includes(code));
  if (wrong.length > 0) problems.push(`unexpected: ${wrong.join(", ")}`);
  if (issued !== loot.issued) problems.push(`${issued} certificates were issued, ${loot.issued} rightly`);
  const alarms = (event: string) => (after.events[event] ?? 0) - (before.events[event] ?? 0);
  if (attack.alarm !== undefined && alarms(attack.alarm) === 0) problems.push(`no ${attack.alarm}`);
  if (after.fds > before.fds + allowed.fds) problems.push(`${after.fds - before.fds} sockets stayed`);
  if (after.heapBytes > before.heapBytes + allowed.heapBytes) problems.push("the heap grew");
  if (after.unhandled > before.unhandled) problems.push("an error was not handled");
  if (calm === "counts" && busy.pieceMs > pieceMaxMs) {
    problems.push(`a piece of work took ${busy.pieceMs.toFixed(0)} ms`);
  }
  const codes = [...loot.codes].toSorted().map(([code, number]) => `${code} ${number}`);
  return {
    id: attack.id,
    attempts: count,
    expected: attack.expected.join(" | "),
    seen: [...codes, ...problems].join("; "),
    held: problems.length === 0,
    pieceMs: busy.pieceMs,
    honestMs: answers.slowestMs,
  };
}

/** An honest client asks again and again until the attack is over. */
async function askWhile(world: CaWorld, attack: Promise<void>, calm: "counts" | "is shown") {
  const problems: string[] = [];
  let [isOver, slowestMs] = [false, 0];
  void attack.then(() => isOver = true);
  while (!isOver) {
    const from = performance.now();
    const answer = await world.ask("/healthz", { localAddress: honestAddress })
      .then(({ code }) => code, (error) => String(error));
    const ms = performance.now() - from;
    slowestMs = Math.max(slowestMs, ms);
    if (answer !== "ok" || (calm === "counts" && ms > honest.patienceMs)) {
      problems.push(`an honest client got ${answer} after ${ms.toFixed(0)} ms`);
    }
    if (problems.length > 2) break;
    await Promise.race([attack, new Promise((resolve) => setTimeout(resolve, honest.everyMs))]);
  }
  await attack;
  return { problems, slowestMs };
}

async function recovered(world: CaWorld, before: CaFootprint): Promise<CaFootprint> {
  const end = performance.now() + recoveryMs;
  for (;;) {
    const after = await world.footprint();
    const isCalm = after.fds <= before.fds + allowed.fds && after.heapBytes <= before.heapBytes + allowed.heapBytes;
    if (isCalm || performance.now() > end) return after;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
