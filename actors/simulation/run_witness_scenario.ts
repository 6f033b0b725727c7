/**
 * One run about witnesses: makes a scenario's world, plays it, and checks that forks are found and honest logs are not accused.
 *
 * @module
 */
import type { AuditHead } from "../../transport/protocols/messages.ts";
import { bindKey } from "../audit/key_binding.ts";
import { randomOf, type RandomStream } from "../runtime/random.ts";
import { headMessage } from "../witness/held_head.ts";
import { keyOf } from "./authority.ts";
import type { InvariantName, Violation } from "./invariants.ts";
import { KeptLog } from "./kept_log.ts";
import type { RunOptions, RunResult } from "./run_scenario.ts";
import type { WitnessedOwner, WitnessScenario, WitnessTrouble } from "./witness_scenario.ts";
import { type WitnessNode, WitnessWorld } from "./witness_world.ts";

/** Messages, signatures and looks may take this long beyond the period, in milliseconds. */
const slackMs = 30_000;
/** With messages that are lost, a state may be asked for again. */
const lossyPeriods = 4;
/** How often logs grow, and the run is looked at, in milliseconds. */
const growEveryMs = 20_000;

/** What an owner did, and to which witnesses it showed what. */
interface Deed {
  readonly owner: WitnessedOwner;
  readonly at: number;
  /** The side of each witness that held a state when it was done. */
  readonly sides: ReadonlyMap<string, number>;
  /** Witnesses that were connected with the owner, and pairs that were connected with each other, all the time. */
  readonly steady: Set<string>;
  isJudged: boolean;
}

/** Plays a scenario. */
export async function runWitnessScenario(scenario: WitnessScenario, options: RunOptions = {}): Promise<RunResult> {
  const { keepTrace = false } = options;
  const { seed, everyMs, loss } = scenario;
  const world = await WitnessWorld.make({ seed, everyMs, keepTrace, loss, inspect: options.inspect });
  const run = new WitnessRun(world, scenario);
  try {
    await run.play(options.stopAtFirst ?? true);
  } catch (error) {
    run.violate("no-crash", "all", error instanceof Error ? error.stack ?? error.message : String(error));
  } finally {
    world.stop();
  }
  const counts: Record<string, number> = {};
  for (const kind of run.done) counts[kind] = (counts[kind] ?? 0) + 1;
  return {
    ...{ seed, traceHash: world.trace.hash, events: world.trace.count, virtualSeconds: world.now / 1_000 },
    ...{ violations: run.violations, faults: counts, bit: [...run.bit].toSorted(), lines: world.trace.lines },
    outcome: `${run.found} forks found`,
  };
}

class WitnessRun {
  readonly violations: Violation[] = [];
  /** Kinds of trouble that were made. */
  readonly done: string[] = [];
  readonly bit = new Set<string>();
  found = 0;
  readonly #world: WitnessWorld;
  readonly #scenario: WitnessScenario;
  readonly #random: RandomStream;
  readonly #deeds: Deed[] = [];
  readonly #reported = new Map<string, number>();
  readonly #logs = new Map<string, KeptLog[]>();

  constructor(world: WitnessWorld, scenario: WitnessScenario) {
    this.#world = world;
    this.#scenario = scenario;
    this.#random = randomOf(scenario.seed, "witnesses/run");
  }

  violate(invariant: InvariantName, node: string, detail: string): void {
    if (this.violations.some((known) => known.invariant === invariant)) return;
    this.violations.push({ invariant, node, at: this.#world.now, detail });
  }

  async play(stopAtFirst: boolean): Promise<void> {
    const { nodes, events, ms } = this.#scenario;
    for (const { name, role } of nodes) {
      const node = await this.#world.add({ name, role });
      this.#logs.set(name, [node.logFor("")]);
    }
    for (const [index, { name }] of nodes.entries()) {
      for (const other of nodes.slice(index + 1)) this.#link(name, other.name);
    }
    const waiting = [
      ...events.map((event) => ({ at: event.at, act: () => this.#trouble(event) })),
      ...nodes.filter(({ habit }) => habit !== "honest").map((owner) => ({
        at: owner.at,
        act: () => this.#misbehave(owner),
      })),
    ].toSorted((one, two) => one.at - two.at);
    for (let at = growEveryMs; at <= ms; at += growEveryMs) {
      while (waiting[0] !== undefined && waiting[0].at <= at) {
        const next = waiting.shift()!;
        await this.#world.playTo(next.at);
        next.act();
      }
      await this.#world.playTo(at);
      this.#grow();
      this.#look();
      if (stopAtFirst && this.violations.length > 0) return;
    }
  }

  /** A worker is linked with gateways, all others with each other. */
  #link(one: string, other: string): void {
    if (one.startsWith("worker") && other.startsWith("ca") || one.startsWith("ca") && other.startsWith("worker")) {
      return;
    }
    this.#world.connect(one, other);
  }

  #grow(): void {
    for (const [name, logs] of this.#logs) {
      for (const [view, log] of logs.entries()) {
        for (let count = this.#random.whole(0, 4); count >= 0; count--) {
          log.append(`${name} ${view} ${this.#world.now} ${count}`);
        }
        log.cover();
      }
    }
  }

  #node(name: string): WitnessNode {
    return this.#world.nodes.get(name)!;
  }

  // ── Troubles ──

  #trouble({ kind, node, other, forMs }: WitnessTrouble): void {
    const world = this.#world;
    if (kind === "cut") {
      if (!world.isLinked(node, other)) return;
      world.cut(node, other);
      world.time.schedule(forMs, () => world.connect(node, other));
    } else if (kind === "restart") world.restart(this.#node(node));
    else if (!this.#forge(this.#node(node), this.#node(other))) return;
    this.done.push(kind);
    for (const deed of this.#deeds) {
      if (kind === "cut") deed.steady.delete([node, other].toSorted().join(" "));
      if (kind !== "restart") continue;
      for (const pair of [...deed.steady]) if (pair.split(" ").includes(node)) deed.steady.delete(pair);
    }
  }

  /** A member tells a witness states of an honest log: with a key of its own, and changed ones. */
  #forge(forger: WitnessNode, witness: WitnessNode): boolean {
    const [held] = [...witness.disk.values()].filter(({ head: { origin } }) => origin !== forger.origin);
    if (held === undefined || !this.#world.isLinked(forger.name, witness.name)) return false;
    const own = new KeptLog(held.head.origin, keyOf(this.#scenario.seed, "forged"));
    for (let records = 0; records < held.head.size; records++) own.append(`forged ${records}`);
    own.cover();
    const { note: checkpoint, key } = own.newest()!;
    const binding = bindKey(forger.identity, key)!;
    const real = headMessage(held.head);
    const heads: readonly AuditHead[] = [
      { checkpoint, ...binding },
      { checkpoint, ...binding, chain: real.chain },
      { ...real, checkpoint: real.checkpoint.replace(/\n\d+\n/, `\n${held.head.size + 1}\n`) },
      { ...real, checkpoint },
    ];
    this.#world.tell(forger, witness, { Held: heads });
    return true;
  }

  #misbehave(owner: WitnessedOwner): void {
    const { habit, kept } = owner;
    const node = this.#node(owner.name);
    const world = this.#world;
    const witnesses = [...world.nodes.values()].filter(({ role, name }) => role !== "worker" && name !== owner.name);
    const holding = witnesses.filter(({ disk }) => disk.has(node.origin));
    const least = Math.min(...holding.map(({ disk }) => disk.get(node.origin)!.head.size));
    if (holding.length === 0 || least < 2) return;
    const log = node.logFor("");
    const records = habit === "forks" ? log.size : Math.floor(least * kept * 0.9);
    const second = habit === "changes-key"
      ? log.fork(records, keyOf(this.#scenario.seed, `second/${owner.name}`))
      : log.fork(records);
    if (habit === "rewrites") { for (let more = 0; more < log.size; more++) second.append(`rewritten ${more}`); }
    second.append(`second ${world.now}`);
    second.cover();
    world.show(node, second);
    const sides = new Map(witnesses.map(({ name }) => [name, habit === "forks" ? this.#random.whole(0, 2) : 1]));
    node.logFor = (asker) => sides.get(asker) === 0 ? log : second;
    this.#logs.set(owner.name, habit === "forks" ? [log, second] : [second]);
    this.done.push(habit);
    const names = [owner.name, ...witnesses.map(({ name }) => name)];
    const pairs = names.flatMap((one) => names.map((other) => [one, other].toSorted()))
      .filter(([one, other]) => one !== other && world.isLinked(one!, other!)).map((pair) => pair.join(" "));
    const held = new Map([...sides].filter(([name]) => holding.some((each) => each.name === name)));
    this.#deeds.push({ owner, at: world.now, sides: held, steady: new Set(pairs), isJudged: false });
  }

  // ── Checks ──

  #look(): void {
    const { everyMs, loss } = this.#scenario;
    for (const witness of this.#world.nodes.values()) {
      for (const { event, fields } of witness.reports.splice(0)) {
        if (event !== "audit.fork") continue;
        const origin = String(fields?.["origin"]);
        const owner = [...this.#world.nodes.values()].find((node) => node.origin === origin)!;
        this.#reported.set(`${witness.name} ${owner.name}`, this.#world.now);
        this.found += 1;
        const deed = this.#deeds.find((each) => each.owner.name === owner.name);
        if (deed === undefined) {
          this.violate("honest-log", witness.name, `it accuses ${origin}: ${fields?.["problem"]}`);
        } else this.bit.add(deed.owner.habit);
      }
    }
    const patienceMs = (loss > 0 ? lossyPeriods : 1) * everyMs + slackMs;
    for (const deed of this.#deeds) {
      if (deed.isJudged || this.#world.now < deed.at + patienceMs) continue;
      deed.isJudged = true;
      this.#judge(deed);
    }
  }

  #judge({ owner, sides, steady }: Deed): void {
    const isSteady = (one: string, other: string) => steady.has([one, other].toSorted().join(" "));
    const isFound = (witness: string) => this.#reported.has(`${witness} ${owner.name}`);
    const linked = [...sides].filter(([name]) => isSteady(name, owner.name));
    if (owner.habit !== "forks") {
      const missed = linked.find(([name]) => !isFound(name));
      if (missed !== undefined) {
        this.violate("fork-found", missed[0], `${owner.name} ${owner.habit} its log, and it did not say so`);
      }
      return;
    }
    if (owner.role === "worker") return; // known to each gateway alone
    for (const [one, side] of linked) {
      const missed = linked.find(([other, second]) =>
        second !== side && isSteady(one, other) && !isFound(one) && !isFound(other)
      );
      if (missed === undefined) continue;
      this.violate("fork-found", one, `${owner.name} showed it and ${missed[0]} two logs, and neither said so`);
    }
  }
}
