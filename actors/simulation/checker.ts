/**
 * Watches a run and reports which invariant was violated, where and when.
 *
 * @module
 */
import type { CrlHighWaterMarks } from "../../pki/crl_marks.ts";
import type { Session } from "../../transport/core/session.ts";
import type { TransportFact } from "../../transport/port.ts";
import type { Message } from "../../transport/protocols/messages.ts";
import type { SimulatedConnection } from "../../transport/simulated/connection.ts";
import type { WireWork } from "../../transport/simulated/wire.ts";
import type { JobInput } from "../job/messages.ts";
import type { Report } from "../runtime/ports.ts";
import type { AuditEntry } from "../trust/audit.ts";
import { ConnectionChecks } from "./check_connections.ts";
import { CountedChecks } from "./check_counted.ts";
import { CostChecks } from "./check_costs.ts";
import { CheckpointChecks } from "./check_checkpoints.ts";
import { LeaseChecks } from "./check_leases.ts";
import { ListChecks } from "./check_lists.ts";
import { MemberChecks } from "./check_members.ts";
import { RoundChecks } from "./check_rounds.ts";
import { QuietChecks } from "./check_quiet.ts";
import { RefusalChecks } from "./check_refusals.ts";
import { SubmittedChecks } from "./check_submitted.ts";
import { TrainingChecks } from "./check_training.ts";
import { WorkChecks } from "./check_work.ts";
import type { AveragedRound, CollectedRound } from "./executor_watch.ts";
import { contextOf, Findings } from "./findings.ts";
import type { InvariantName, Violation } from "./invariants.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { ScenarioEvent } from "./scenario.ts";
import type { Simulation, SimulationWatch } from "./simulation.ts";
import type { Operator } from "./submitting.ts";
import { Untouched } from "./untouched.ts";

/** Promises to a scheduler that is gone are over after this, in milliseconds. */
const goneMs = 30_000;

/** What must be true at the end of a run. */
export interface Expected {
  /** Honest, valid nodes: they run, and are linked with their gateways. */
  readonly mustServe: readonly SimulatedNode[];
  readonly jobMustEnd: boolean;
}

/** Watches one run. */
export class Checker implements SimulationWatch {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #connections: ConnectionChecks;
  readonly #work: WorkChecks;
  readonly #training: TrainingChecks;
  readonly #refusals: RefusalChecks;
  readonly #quiet: QuietChecks;
  readonly #lists: ListChecks;
  readonly #members: MemberChecks;
  readonly #costs: CostChecks;
  readonly #rounds: RoundChecks;
  readonly #counted: CountedChecks;
  readonly #leases: LeaseChecks;
  readonly #checkpoints: CheckpointChecks;
  readonly #submitted: SubmittedChecks;
  readonly #untouched: Untouched;
  /** The marks on each node's disk when they were last looked at. */
  readonly #marks = new Map<string, CrlHighWaterMarks>();
  /** Nodes that reported something since they were last checked. */
  readonly #dirty = new Set<SimulatedNode>();

  constructor(sim: Simulation, oracle: Oracle) {
    this.#sim = sim;
    this.#findings = new Findings(sim);
    this.#untouched = new Untouched(sim);
    this.#submitted = new SubmittedChecks({ sim, oracle, findings: this.#findings });
    const own = { untouched: this.#untouched, submitted: this.#submitted };
    const init = { sim, oracle, findings: this.#findings, ...own };
    this.#connections = new ConnectionChecks(init);
    this.#work = new WorkChecks(init);
    this.#training = new TrainingChecks(init);
    this.#refusals = new RefusalChecks(init);
    this.#quiet = new QuietChecks(init);
    this.#lists = new ListChecks(init);
    this.#members = new MemberChecks(init);
    this.#costs = new CostChecks(init);
    this.#rounds = new RoundChecks(init);
    this.#counted = new CountedChecks(init);
    this.#leases = new LeaseChecks(init);
    this.#checkpoints = new CheckpointChecks(init);
  }

  get violations(): readonly Violation[] {
    return this.#findings.violations;
  }

  violate(invariant: InvariantName, node: string, detail: string): void {
    this.#findings.violate(invariant, node, detail);
  }

  /** How a scheduler's training ended; undefined where it did not. */
  outcomeOf(node: SimulatedNode): string | undefined {
    return this.#training.outcomes.get(node.name);
  }

  /** A scheduler has an operator. */
  operated(operator: Operator): void {
    this.#submitted.operated(operator);
  }

  /** A trouble begins. */
  struck(event: ScenarioEvent): void {
    this.#untouched.struck(event);
  }

  /** After each step. */
  stepped(): void {
    if (this.#dirty.size === 0) return;
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    this.#rounds.stepped();
    for (const node of dirty) {
      if (node.role === "worker") this.#work.look(node);
      else if (node.role === "data") this.#refusals.notePulls(node);
    }
  }

  bytes(node: SimulatedNode, from: SimulatedConnection, protocol: string): void {
    this.#connections.received(node, from);
    this.#members.received(node, from, protocol);
  }

  report(node: SimulatedNode, { event, fields = {} }: Report): void {
    this.#dirty.add(node);
    switch (event) {
      case "job.dispatched":
        if (node.role === "worker") this.#work.dispatched(node, fields);
        else if (fields["class"] === "train") this.#rounds.dispatched(node, fields);
        return;
      case "job.ended":
        if (node.role === "worker") this.#work.ended(node, fields);
        return;
      case "lease.granted":
        if (node.role === "worker") {
          this.#work.granted(node, fields);
          this.#leases.granted(node, fields);
        }
        return;
      case "lease.renewed":
        return this.#leases.granted(node, fields);
      case "member.diverged":
        return this.violate("equal-parameters", node.name, `${fields["peer"]} after round ${fields["round"]}`);
      case "lease.lapsed":
        return this.#leases.lapsed(node, fields);
      case "trainer.lost":
      case "aggregator.lost":
        return this.#leases.lost(node, fields);
      case "result.unsent":
        if (fields["out"] === true) this.#training.rejected.add(`${fields["job"]}/${fields["peer"]}`);
        return;
      case "update.rejected":
        if (fields["code"] === "broken") this.#rounds.gaveUp();
        return void this.#training.rejected.add(`${fields["job"]}/${fields["peer"]}`);
      case "trainer.gone":
        return void this.#training.rejected.add(`${fields["job"]}/${fields["peer"]}`);
      case "gateway.unreachable":
        return this.#connections.dialled(node, String(fields["address"]));
      case "node.rekeying":
        return this.#connections.forgetDials(node);
      case "round.finished":
        return this.#rounds.finished(node, String(fields["training"]), Number(fields["round"]));
      case "training.done":
        return this.#training.finished(node);
    }
  }

  fact(node: SimulatedNode, fact: TransportFact, session: Session | undefined): void {
    if (fact.type === "peer.refused") this.#dirty.add(node);
    this.#refusals.fact(node, fact);
    this.#connections.fact(node, fact);
    this.#members.fact(node, fact, session);
    this.#costs.fact(node, fact);
    this.#counted.fact(node, fact);
  }

  worked(node: SimulatedNode, work: WireWork): void {
    this.#costs.worked(node, work);
  }

  asked(node: SimulatedNode, answer: unknown): void {
    this.#members.asked(node, answer);
  }

  refusal(node: SimulatedNode, entry: AuditEntry): void {
    this.#refusals.recorded(node, entry);
  }

  crash(node: SimulatedNode, error: unknown): void {
    this.violate("no-crash", node.name, String(error));
  }

  answer(node: SimulatedNode, message: Message, session: Session): void {
    this.#training.answer(node, message, session);
  }

  resultTaken(job: JobInput, round: number): void {
    this.#checkpoints.resultTaken(job, round);
  }

  processEnded(job: JobInput): void {
    this.#work.processEnded(job);
  }

  pushed(job: JobInput, values: readonly number[]): void {
    this.#training.pushed(job, values);
  }

  collected(round: CollectedRound): void {
    this.#counted.collected(round);
    this.#training.collected(round);
  }

  averaged(round: AveragedRound): void {
    this.#training.averaged(round);
    this.#counted.averaged(round.spec.job_id, round.updates.keys());
  }

  /** Every quarter of a second. */
  look(): void {
    for (const node of this.#sim.nodes.values()) {
      this.#dirty.add(node);
      this.#connections.look(node);
      this.#members.look(node);
      this.#rounds.look(node);
      this.#leases.look(node);
      this.#counted.look(node);
    }
    this.#submitted.look();
    this.#connections.lookAtTimers();
    this.#quiet.look();
    this.#lists.look();
  }

  /** Whether every training and every job is over: from then on nothing needs to be open. */
  get isIdle(): boolean {
    const schedulers = [...this.#sim.nodes.values()].filter(({ role }) => role === "scheduler");
    return schedulers.every((node) => !node.isRunning || this.#training.isOver(node)) && !this.#work.isWorking;
  }

  /** The troubles and the jobs are over: the last ten seconds begin. */
  beginQuiet(): void {
    this.#quiet.begin();
    this.#lists.begin();
  }

  /** At the end, when everything had time to recover. */
  conclude({ mustServe, jobMustEnd }: Expected): void {
    this.look();
    this.stepped();
    const gateways = new Set(mustServe.filter(({ role }) => role === "gateway").map(({ address }) => address));
    for (const node of mustServe) this.#checkAlive(node, gateways);
    for (const node of this.#sim.nodes.values()) this.#refusals.conclude(node);
    this.#work.conclude();
    for (const node of this.#sim.nodes.values()) {
      this.checkMarks(node);
      if (node.role !== "scheduler") continue;
      // A supervisor starts a scheduler again whose training lost all its trainers.
      this.#training.conclude(node, jobMustEnd && !this.#rounds.isUnderWayLate(node));
      this.#checkLeases();
    }
    this.#quiet.conclude();
    this.#lists.conclude();
  }

  /** Before each start of a process, and at the end. */
  checkMarks(node: SimulatedNode): void {
    const { marks } = node;
    for (const [place, { number = "0" }] of Object.entries(this.#marks.get(node.name) ?? {})) {
      const now = marks[place]?.number ?? "none";
      if (now === "none" || BigInt(now) < BigInt(number)) {
        this.violate("marks-kept", node.name, `mark ${place} went from ${number} to ${now}`);
      }
    }
    this.#marks.set(node.name, marks);
  }

  #checkAlive(node: SimulatedNode, gateways: ReadonlySet<string>): void {
    if (!node.isRunning) {
      this.violate("no-crash", node.name, `its process ended: ${node.exit}`);
      return;
    }
    const { linked = [] } = contextOf<{ readonly linked?: readonly string[] }>(node.actor) ?? {};
    const missing = node.options.gateways.filter((address) => gateways.has(address) && !linked.includes(address));
    if (missing.length > 0) this.violate("live-network", node.name, `is not connected to ${missing.join(", ")}`);
    this.#checkReachable(node);
  }

  /** Workers and data nodes can be reached through each gateway that they are connected with. */
  #checkReachable(node: SimulatedNode): void {
    if (node.role === "gateway" || node.role === "scheduler") return;
    const { directory, nodes } = this.#sim;
    const addresses = directory.addressesOf(node.peer);
    for (const gateway of nodes.values()) {
      const isJoined = node.options.gateways.includes(gateway.address) && node.peers.includes(gateway.peer);
      if (!isJoined || addresses.some((address) => address.includes(`/p2p/${gateway.peer}/p2p-circuit`))) continue;
      this.violate("live-network", node.name, `has no relayed address at ${gateway.name}`);
    }
  }

  /** A lease outlives its holder by its life, and its job by the job's end; while a scheduler runs, it may hold leases. */
  #checkLeases(): void {
    const nodes = [...this.#sim.nodes.values()];
    const now = this.#sim.time.now;
    const isGone = (node: SimulatedNode) => !node.isRunning && now - node.endedAt >= goneMs;
    if (!nodes.filter(({ role }) => role === "scheduler").every(isGone)) return;
    for (const worker of nodes.filter(({ role }) => role === "worker")) {
      const left = this.#work.promisesOf(worker);
      if (left > 0) this.violate("live-lease", worker.name, `${left} promises to schedulers that are gone`);
    }
  }
}
