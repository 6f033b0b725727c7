/**
 * One attack on a node, and its measured effects.
 *
 * @module
 */
import type { End } from "../../bench/gate/endpoint.ts";
import type { GateAttack } from "./attack.ts";
import type { Attackers, Victim } from "./children.ts";
import { handshakes, handshakesWhile, p99 } from "./honest.ts";
import type { Footprint } from "./victim.ts";

/** The resources that a node holds. */
export interface Held {
  readonly fds: number;
  readonly heapBytes: number;
  readonly actors: number;
}

/** The result of one attack. */
export interface GateAttackRow {
  readonly id: string;
  readonly attempts: number;
  readonly expected: string;
  readonly seen: string;
  readonly held: boolean;
  /**
   * The 99th percentile of an honest peer's handshakes: the median of the runs under attack, and that of all quiet handshakes so
   * far, because the 99th of a hundred is chance. Null without handshakes.
   */
  readonly honest: { readonly quietP99Ms: number; readonly p99Ms: number } | null;
  readonly before: Held;
  readonly after: Held;
}

/** Everything that an attack takes place in. */
export interface Siege {
  readonly victim: Victim;
  readonly attackers: Attackers;
  readonly address: string;
  readonly honest: End;
  readonly deadlineMs: number;
  /** Into how many runs the attempts are split: the honest figure is their median. */
  readonly repeats: number;
  /** Milliseconds of every handshake in quiet times; grows with each attack. */
  readonly quiet: number[];
  readonly quick: boolean;
}

/** The victim frees its resources within this time after its deadline, in milliseconds. */
export const recoveryMs = 30_000;
/** Resources that may remain after an attack: compiled code, caches, sockets of the runtime. */
const allowed = { fds: 3, heapBytes: 24 * 1_048_576 };
/** Handshakes before each run of an attack. */
const quietHandshakes = { quick: 5, full: 100 };

/** Runs an attack and looks at the node before, meanwhile and after. */
export async function besiege(attack: GateAttack, count: number, siege: Siege): Promise<GateAttackRow> {
  const { victim, attackers, address, honest, deadlineMs, repeats, quick } = siege;
  const before = await victim.footprint();
  const problems: string[] = [];
  const figures: number[] = [];
  for (let run = 0; run < repeats; run++) {
    let assault: Promise<readonly string[]> | undefined;
    try {
      siege.quiet.push(...await handshakes(honest, address, quick ? quietHandshakes.quick : quietHandshakes.full));
      assault = attackers.assail(attack.id, Math.ceil(count / repeats));
      const latencies = await handshakesWhile(honest, address, assault);
      figures.push(p99(latencies));
    } catch (error) {
      problems.push(`an honest peer was turned away: ${error instanceof Error ? error.message : error}`);
    }
    // Also where the honest peer failed: the next attack begins when this one is over.
    problems.push(...await assault ?? []);
  }
  const after = await recovered(victim, before, deadlineMs + recoveryMs);
  problems.push(...findings(attack, before, after));
  const codes = newCodes(before, after).map(([code, number]) => `${code} ${number}`);
  const attempts = Math.ceil(count / repeats) * repeats * (attack.inputs ?? 1);
  return {
    id: attack.id,
    attempts,
    expected: attack.expected.length > 0 ? attack.expected.join(" | ") : "contained",
    seen: [...codes, ...problems].join("; ") || "contained",
    held: problems.length === 0,
    honest: figures.length === 0 ? null : { quietP99Ms: p99(siege.quiet), p99Ms: median(figures) },
    before: held(before),
    after: held(after),
  };
}

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

const newCodes = (before: Footprint, after: Footprint) =>
  Object.entries(after.refused)
    .map(([code, number]) => [code, number - (before.refused[code] ?? 0)] as const).filter(([, number]) => number > 0);

/** Problems that fail the attack. */
function findings(attack: GateAttack, before: Footprint, after: Footprint): string[] {
  const problems: string[] = [];
  const codes = newCodes(before, after).map(([code]) => code);
  const newcomers = Object.keys(after.accepted)
    .filter((name) => name !== "dialler" && after.accepted[name] !== before.accepted[name]);
  const stranger = attack.expected.length > 0;
  const wrong = codes.filter((code) => stranger && !attack.expected.includes(code));
  if (wrong.length > 0) problems.push(`unexpected codes: ${wrong.join(", ")}`);
  if (stranger && newcomers.length > 0) problems.push(`let in: ${newcomers.join(", ")}`);
  if (stranger && codes.length === 0 && attack.unseen !== true) problems.push("no refusal was seen");
  if (!stranger && newcomers.length === 0) problems.push("the member never came in: nothing was attacked");
  if (after.actors > before.actors) problems.push(`${after.actors - before.actors} gates stayed`);
  if (after.fds > before.fds + allowed.fds) problems.push(`${after.fds - before.fds} sockets stayed`);
  if (after.heapBytes > before.heapBytes + allowed.heapBytes) problems.push("the heap grew");
  if (after.unhandled > before.unhandled) problems.push("an error was not handled");
  if (after.failed > before.failed) problems.push("the transport gave up");
  return problems;
}

export const held = ({ fds, heapBytes, actors }: Footprint): Held => ({ fds, heapBytes, actors });

/** Waits until the victim holds no more than before. */
export async function recovered(victim: Victim, before: Footprint, withinMs: number): Promise<Footprint> {
  const end = performance.now() + withinMs;
  for (;;) {
    const after = await victim.footprint();
    const calm = after.actors <= before.actors && after.fds <= before.fds + allowed.fds &&
      after.heapBytes <= before.heapBytes + allowed.heapBytes;
    if (calm || performance.now() > end) return after;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
