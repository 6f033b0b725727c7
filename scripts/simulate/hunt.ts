/**
 * A hunt: keeps the scenarios that reach a new transition of a machine, and changes them further.
 *
 * A third of the time goes to plain seeds. Their transitions are the ground for comparison; the rest is spent on mutants of
 * the corpus, which stays in memory.
 *
 * @module
 */
import {
  Coverage,
  type InvariantName,
  mutateScenario,
  randomOf,
  runScenario,
  type Scenario,
  scenarioOf,
  shrinkScenario,
} from "../../actors/simulation/mod.ts";
import { runtimeOf } from "./runtime.ts";

/** Scenarios kept; the oldest mutant makes room. */
const corpusMax = 1_024;
/** The share of the time that plain seeds get. */
const plainShare = 1 / 3;
/** Failures that are shrunk and reported; the hunt ends at the last. */
const failuresMax = 5;
const progressEveryMs = 5_000;

/** What to hunt. */
export interface HuntOptions {
  /** The first seed. */
  readonly seed: number;
  /** Wall time. */
  readonly minutes: number;
  /** Runs after which the hunt ends, too: a third of them are plain seeds. */
  readonly runs: number;
  readonly onProgress: (line: string) => void;
}

/** A scenario that violates an invariant. */
export interface HuntFailure {
  readonly invariant: InvariantName;
  readonly detail: string;
  /** Shrunk; `npm run simulate -- --scenario FILE` plays it. */
  readonly scenario: Scenario;
}

/** What a hunt found. */
export interface HuntReport {
  readonly runtime: "node" | "deno";
  readonly seeds: number;
  readonly mutants: number;
  /** Scenarios that reached something new. */
  readonly corpus: number;
  /** Transitions that plain seeds took, and that mutants added. */
  readonly transitions: { readonly plain: number; readonly added: readonly string[] };
  readonly failures: readonly HuntFailure[];
}

/** One hunt under way. */
class Hunt {
  readonly corpus: Scenario[] = [];
  readonly plain = new Coverage();
  readonly all = new Coverage();
  readonly failures: HuntFailure[] = [];
  readonly #onProgress: (line: string) => void;

  constructor(onProgress: (line: string) => void) {
    this.#onProgress = onProgress;
  }

  /** Plays a scenario, and keeps it where it takes a new transition. */
  async play(scenario: Scenario, origin: "seed" | "mutant"): Promise<void> {
    const coverage = new Coverage();
    const { violations: [violation] } = await runScenario(scenario, { inspect: coverage.inspect });
    if (violation !== undefined) await this.#fail(scenario, violation.invariant, violation.detail);
    const fresh = this.all.add(coverage);
    if (origin === "seed") this.plain.add(coverage);
    if (fresh.length === 0) return;
    this.corpus.push(scenario);
    if (this.corpus.length > corpusMax) this.corpus.shift();
    if (origin === "mutant") this.#onProgress(`a mutant of seed ${scenario.seed} takes ${fresh.join("; ")}`);
  }

  async #fail(scenario: Scenario, invariant: InvariantName, detail: string): Promise<void> {
    if (this.failures.length >= failuresMax) return;
    this.#onProgress(`a scenario of seed ${scenario.seed} violates ${invariant}: ${detail}`);
    const { scenario: shrunk } = await shrinkScenario(scenario, invariant);
    this.failures.push({ invariant, detail, scenario: shrunk });
  }

  get isOver(): boolean {
    return this.failures.length >= failuresMax;
  }
}

/** Hunts. */
export async function hunt({ seed, minutes, runs, onProgress }: HuntOptions): Promise<HuntReport> {
  const startedAt = performance.now();
  const untilPlain = startedAt + minutes * plainShare * 60_000;
  const until = startedAt + minutes * 60_000;
  const hunted = new Hunt(onProgress);
  let seeds = 0, mutants = 0, toldAt = startedAt;
  const tell = () => {
    if (performance.now() - toldAt < progressEveryMs) return;
    toldAt = performance.now();
    const added = hunted.all.reached.size - hunted.plain.reached.size;
    onProgress(`${seeds} seeds, ${mutants} mutants, ${hunted.corpus.length} kept, ${added} transitions added`);
  };
  for (; seeds < Math.max(2, runs * plainShare) && performance.now() < untilPlain && !hunted.isOver; seeds++, tell()) {
    await hunted.play(scenarioOf(seed + seeds), "seed");
  }
  const random = randomOf(seed, "hunt");
  for (; seeds + mutants < runs && performance.now() < until && !hunted.isOver; mutants++, tell()) {
    // Later ones reached what is rare: they are changed more often.
    const { corpus } = hunted;
    const parent = corpus[Math.floor(Math.sqrt(random.next()) * corpus.length)];
    if (parent === undefined) break;
    await hunted.play(mutateScenario(parent, random.pick(corpus), random), "mutant");
  }
  const added = [...hunted.all.reached].filter((name) => !hunted.plain.reached.has(name)).toSorted();
  return {
    runtime: runtimeOf(),
    seeds,
    mutants,
    corpus: hunted.corpus.length,
    transitions: { plain: hunted.plain.reached.size, added },
    failures: hunted.failures,
  };
}

/** The report for people. */
export function huntText({ seeds, mutants, corpus, transitions: { plain, added }, failures }: HuntReport): string {
  const lines = [
    `${seeds} plain seeds took ${plain} transitions; ${mutants} mutants of ${corpus} kept scenarios added ${added.length}`,
    ...added.map((name) => `  ${name}`),
    ...failures.map(({ invariant, detail, scenario }) =>
      `FAILED ${invariant}: ${detail}\n  npm run simulate -- --scenario FILE, with ${JSON.stringify(scenario)}`
    ),
    failures.length === 0 ? "no invariant was violated" : `${failures.length} scenarios failed`,
  ];
  return `${lines.join("\n")}\n`;
}
