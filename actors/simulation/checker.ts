/**
 * Watches a run and says which invariant did not hold, where and when.
 *
 * @module
 */
import type { AnyActorRef } from "xstate";
import type { TransportFact } from "../../transport/port.ts";
import type { ConnectionRow } from "../../transport/core/connection_table.ts";
import { SimulatedConnection } from "../../transport/simulated/connection.ts";
import type { Message, Peer, Resources, Uuid } from "../../transport/protocols/messages.ts";
import type { AuditEntry } from "../trust/audit.ts";
import type { Report } from "../runtime/ports.ts";
import type { SchedulerContext } from "../scheduler/scheduler_setup.ts";
import type { DataContext } from "../data/data.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import type { JobInput } from "../job/messages.ts";
import type { AveragedRound } from "./executor.ts";
import type { InvariantName, Violation } from "./invariants.ts";
import { LeaseHolders } from "./lease_holders.ts";
import type { SimulatedNode } from "./node.ts";
import type { CrlHighWaterMarks } from "../../pki/crl_marks.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation, SimulationWatch } from "./simulation.ts";

/** A job has this long to end once its lease is over: SIGTERM, grace, SIGKILL, in milliseconds. */
const endGraceMs = 16_000;
/** Promises to a scheduler that is gone are over after this, in milliseconds. */
const goneMs = 30_000;
/** A connection has this long from birth to verdict and multiplexer, and to its close, in milliseconds. */
const verdictMaxMs = 17_000;
/** Dials of one gateway address in half a minute; backoff leaves fewer. */
const dialsMax = 14;
const dialsWithinMs = 30_000;
/** Connections and exchanges of one node (a member may open 256 of each protocol), and tasks of the run for each node. */
const connectionsMax = 400;
const openMax = 1_200;
const tasksPerNodeMax = 3_000;
/** Codes of refusals that say something about the peer's certificate. */
const certificateCodes: ReadonlySet<string> = new Set([
  "certificate-revoked",
  "certificate-expired",
  "certificate-not-yet-valid",
  "unknown-issuer",
  "bad-signature",
  "self-signed",
  "revocation-unknown",
  "crl-expired",
  "crl-rollback",
  "malformed-certificate",
]);
/** Codes that are summed up by the minute, where nobody's certificate was seen. */
const earlyCodes: ReadonlySet<string> = new Set([
  "rate-limited",
  "too-many-connections",
  "handshake-timeout",
  "protocol-mismatch",
]);

interface Refusals {
  told: number;
  toldLate: number;
  recorded: number;
}

/** Looks on at one run. */
export class Checker implements SimulationWatch {
  readonly violations: Violation[] = [];
  readonly #sim: Simulation;
  readonly #oracle: Oracle;
  readonly #holders = new LeaseHolders();
  readonly #ended = new Map<string, number>();
  readonly #dispatched = new Map<string, { readonly node: SimulatedNode; readonly incarnation: number }>();
  readonly #overSince = new Map<string, number>();
  readonly #slices = new Map<string, number[]>();
  readonly #refusals = new Map<string, Refusals>();
  readonly #dials = new Map<string, number[]>();
  readonly #velocity = new Map<string, number[]>();
  readonly #badSince = new WeakMap<ConnectionRow["connection"], number>();
  readonly rejected = new Set<string>();
  readonly #finished = new Set<string>();
  /** The marks on each node's disk when they were last looked at. */
  readonly #marks = new Map<string, CrlHighWaterMarks>();
  /** The book of each worker's role that was looked through last. */
  readonly #books = new Map<AnyActorRef, WorkerContext["book"]>();
  /** Pulls that each role of a data node refused, by process: a role of a former key ends before the process does. */
  readonly #pulls = new Map<string, Map<AnyActorRef, number>>();
  /** Nodes of which something was heard since they were last looked through. */
  readonly #dirty = new Set<SimulatedNode>();
  /** What a scheduler said of its training's end. */
  readonly outcomes = new Map<string, string>();

  constructor(sim: Simulation, oracle: Oracle) {
    this.#sim = sim;
    this.#oracle = oracle;
  }

  violate(invariant: InvariantName, node: string, detail: string): void {
    if (this.violations.some((known) => known.invariant === invariant)) return;
    this.violations.push({ invariant, node, at: this.#sim.now, detail });
    this.#sim.note("violation", node, `${invariant}: ${detail.split("\n")[0]}`);
  }

  /** After each step. */
  stepped(): void {
    if (this.#dirty.size === 0) return;
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const node of dirty) {
      if (node.role === "worker") this.#checkWorker(node);
      else if (node.role === "data") this.#notePulls(node);
    }
  }

  // ── What is seen ──

  bytes(node: SimulatedNode, { chain }: SimulatedConnection): void {
    const standing = this.#oracle.standingOf(chain[0]);
    const why = this.#oracle.mustRefuse(node, standing, this.#sim.time.now);
    const name = standing?.credential.name ?? "somebody";
    if (why !== undefined) this.violate("verified-only", node.name, `heard ${name}: ${why}`);
  }

  report(node: SimulatedNode, report: Report): void {
    const { event, fields = {} } = report;
    this.#dirty.add(node);
    if (event === "job.dispatched" && node.role === "worker") {
      this.#dispatched.set(this.#key(node, fields["task"]), { node, incarnation: node.incarnation });
    } else if (event === "job.ended" && node.role === "worker") this.#jobEnded(node, fields);
    else if (event === "lease.granted" && node.role === "worker") {
      this.#holders.granted(node.name, String(fields["lease"]), String(fields["peer"]));
      for (const actor of node.roleActors) this.#books.delete(actor);
    } else if (event === "lease.lapsed") this.#checkLapse(node, String(fields["lease"]));
    else if (
      event === "update.rejected" || event === "trainer.gone" || (event === "result.unsent" && fields["out"] === true)
    ) this.rejected.add(`${fields["job"]}/${fields["peer"]}`);
    else if (event === "gateway.unreachable") this.#dialled(node, String(fields["address"]));
    else if (event === "node.rekeying") this.#forgetDials(node);
    else if (event === "training.done") {
      this.outcomes.set(node.name, "finished");
      this.#finished.add(this.#key(node, "training"));
    }
  }

  #key(node: SimulatedNode, id: unknown): string {
    return `${node.name}/${node.incarnation}/${id}`;
  }

  #jobEnded(node: SimulatedNode, fields: Readonly<Record<string, unknown>>): void {
    const key = this.#key(node, fields["task"]);
    const times = (this.#ended.get(key) ?? 0) + 1;
    this.#ended.set(key, times);
    if (times > 1) this.violate("ends-once", node.name, `job ${fields["job"]} ended ${times} times`);
    if (/could not run it|Cannot enter state/.test(String(fields["reason"] ?? ""))) {
      this.violate("no-crash", node.name, `job ${fields["job"]}: ${fields["reason"]}`);
    }
    const isSaid = fields["outcome"] === "finished" || String(fields["reason"] ?? "") !== "";
    if (!isSaid) this.violate("ends-once", node.name, `job ${fields["job"]} failed without a reason`);
  }

  #checkLapse(node: SimulatedNode, id: string): void {
    const lease = contextsOf<WorkerContext>(node).map(({ book }) => book.leases[id]).find((found) =>
      found !== undefined
    );
    const leftMs = (lease?.endsAt ?? 0) - node.now();
    if (leftMs > 100 && !this.#oracle.hasJumped(node)) {
      this.violate("lease-kept", node.name, `lease ${id} lapsed ${Math.round(leftMs)} ms early`);
    }
  }

  #dialled(node: SimulatedNode, address: string): void {
    const key = this.#key(node, address);
    const now = this.#sim.time.now;
    const recent = [...this.#dials.get(key) ?? [], now].filter((at) => now - at < dialsWithinMs);
    this.#dials.set(key, recent);
    if (recent.length > dialsMax) {
      this.violate(
        "redial-paced",
        node.name,
        `dialled ${address} ${recent.length} times in ${dialsWithinMs / 1_000} s`,
      );
    }
  }

  /** A node that takes another key joins anew, at once: it is paced from there on. */
  #forgetDials(node: SimulatedNode): void {
    const prefix = this.#key(node, "");
    for (const key of this.#dials.keys()) if (key.startsWith(prefix)) this.#dials.delete(key);
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    if (fact.type === "peer.refused") {
      const refusals = this.#refusalsOf(node);
      refusals.told += 1;
      if (fact.peer !== undefined || !earlyCodes.has(fact.refusal.code)) refusals.toldLate += 1;
      this.#dirty.add(node);
    }
    if (fact.type === "peer.closed" && fact.reason.type === "trust.changed") {
      this.#dropped(node, fact.peer, fact.reason.refusal.code);
    }
    if (fact.type === "peer.refused" && fact.peer !== undefined && certificateCodes.has(fact.refusal.code)) {
      this.#dropped(node, fact.peer.id, fact.refusal.code);
    }
  }

  #dropped(node: SimulatedNode, peer: Peer, code: string): void {
    const dropped = [...this.#sim.nodes.values()].find((other) => other.peer === peer);
    if (dropped === undefined) return;
    // One that was given another certificate still has connections that were made with the one before.
    const shown = dropped.sessions.length === 0 ? [] : dropped.credentials;
    const now = this.#sim.time.now;
    const mayRefuse = (der: Uint8Array) => this.#oracle.mayRefuse(node, this.#oracle.standingOf(der), now);
    if (shown.length > 0 && !shown.some(({ der }) => mayRefuse(der))) {
      this.violate("no-bystander", node.name, `refused ${dropped.name} with ${code}`);
    }
  }

  refusal(node: SimulatedNode, entry: AuditEntry): void {
    if (entry.type === "refusal") this.#refusalsOf(node).recorded += 1;
  }

  #refusalsOf(node: SimulatedNode): Refusals {
    const key = this.#key(node, "refusals");
    const known = this.#refusals.get(key);
    if (known !== undefined) return known;
    const fresh = { told: 0, toldLate: 0, recorded: 0 };
    this.#refusals.set(key, fresh);
    return fresh;
  }

  crash(node: SimulatedNode, error: unknown): void {
    this.violate("no-crash", node.name, String(error));
  }

  answer(node: SimulatedNode, message: Message, as: Peer): void {
    if (!("Data" in message) || typeof message.Data !== "object" || !("Success" in message.Data)) return;
    const count = contextsOf<SchedulerContext>(node).map(({ dataset }) => dataset?.slices).find((known) =>
      known !== undefined
    );
    if (count === undefined) return;
    const { index } = message.Data.Success;
    if (!(index >= 0 && index < count)) this.violate("slice-once", node.name, `gave slice ${index} of ${count}`);
    const key = this.#key(node, `slices/${as}`);
    const given = this.#slices.get(key) ?? new Array<number>(count).fill(0);
    given[index] = (given[index] ?? 0) + 1;
    this.#slices.set(key, given);
    if (Math.max(...given) - Math.min(...given) > 1) {
      this.violate("slice-once", node.name, `gave slices ${given.join(", ")} times`);
    }
  }

  processEnded(job: JobInput): void {
    this.#overSince.delete(job.taskId);
  }

  averaged({ spec, updates, learningRate, momentum, out }: AveragedRound): void {
    const { executor } = spec;
    if (executor.class !== "aggregate") return;
    const strangers = [...updates.keys()].filter((peer) => !executor.config.updates.peers.includes(peer));
    if (strangers.length > 0) this.violate("named-updates", "aggregator", `took updates of ${strangers.join(", ")}`);
    const named = this.#namedNow(spec.job_id) ?? executor.config.updates.peers;
    const missing = named.filter((peer) => !updates.has(peer) && !this.rejected.has(`${spec.job_id}/${peer}`));
    if (missing.length > 0) this.violate("waits-for-all", "aggregator", `did not wait for ${missing.join(", ")}`);
    this.#checkMean(spec.job_id, { updates, learningRate, momentum, out });
  }

  /** Whom the aggregator's worker was last told to wait for. */
  #namedNow(jobId: Uuid): readonly Peer[] | undefined {
    for (const node of this.#sim.nodes.values()) {
      const books = node.role === "worker" ? contextsOf<WorkerContext>(node).map(({ book }) => book) : [];
      for (const { spec } of books.flatMap(({ jobs }) => Object.values(jobs))) {
        if (spec.job_id === jobId && spec.executor.class === "aggregate") return spec.executor.config.updates.peers;
      }
    }
    return undefined;
  }

  #checkMean(jobId: Uuid, { updates, learningRate, momentum, out }: Omit<AveragedRound, "spec">): void {
    const lists = [...updates.values()];
    const before = this.#velocity.get(jobId) ?? out.map(() => 0);
    const mean = out.map((_, at) => lists.reduce((sum, list) => sum + (list[at] ?? NaN), 0) / lists.length);
    const velocity = mean.map((value, at) => momentum * (before[at] as number) + value);
    this.#velocity.set(jobId, velocity);
    const expected = mean.map((value, at) => learningRate * (momentum * (velocity[at] as number) + value));
    const off = expected.findIndex((value, at) => !(Math.abs(value - (out[at] as number)) < 1e-5));
    if (off >= 0 || out.length === 0) {
      this.violate("mean-right", "aggregator", `got ${out.join(", ")} instead of ${expected.join(", ")}`);
    }
  }

  // ── What is looked at ──

  /** Books are never changed, only replaced: one that was looked through needs no second look, but at its jobs' leases. */
  #checkWorker(node: SimulatedNode): void {
    for (const actor of node.roleActors) {
      const book = contextOf<WorkerContext>(actor)?.book;
      if (book === undefined) continue;
      if (this.#books.get(actor) !== book) {
        this.#books.set(actor, book);
        this.#checkPromises(node);
      }
      const { leases, jobs } = book;
      for (const taskId in jobs) this.#checkJobLease(node, taskId, leases[jobs[taskId]?.leaseId ?? ""]);
    }
  }

  /** Of all its keys together: a worker has what it has once. */
  #checkPromises(node: SimulatedNode): void {
    const contexts = contextsOf<WorkerContext>(node);
    const [context] = contexts;
    if (context === undefined) return;
    const promised = contexts.flatMap(({ book: { offers, leases } }) => [
      ...Object.values(offers),
      ...Object.values(leases),
    ]);
    for (const dimension of ["gpu", "cpu", "storage", "memory"] as const satisfies readonly (keyof Resources)[]) {
      const sum = promised.reduce((total, { resources }) => total + resources[dimension], 0);
      if (sum > context.config.resources[dimension] + 1e-6) {
        this.violate(
          "promised-once",
          node.name,
          `promised ${sum} ${dimension} of ${context.config.resources[dimension]}`,
        );
      }
    }
    const leases = contexts.flatMap(({ book }) => Object.values(book.leases));
    const changed = this.#holders.changed(node.name, leases);
    if (changed !== undefined) this.violate("one-holder", node.name, `lease ${changed} changed hands`);
  }

  #checkJobLease(
    node: SimulatedNode,
    taskId: string,
    lease: { readonly over: boolean; readonly endsAt: number } | undefined,
  ): void {
    const { now } = this.#sim.time;
    const isOver = lease === undefined || lease.over || (node.skewMs === 0 && lease.endsAt < now - 50);
    if (!isOver) return void this.#overSince.delete(taskId);
    const since = this.#overSince.get(taskId) ?? now;
    this.#overSince.set(taskId, since);
    if (now - since > endGraceMs) {
      this.violate("job-within-lease", node.name, `job ${taskId} runs on without a lease`);
    }
  }

  #notePulls(node: SimulatedNode): void {
    const key = this.#key(node, "pulls");
    const pulls = this.#pulls.get(key) ?? new Map<AnyActorRef, number>();
    this.#pulls.set(key, pulls);
    for (const actor of node.roleActors) pulls.set(actor, contextOf<DataContext>(actor)?.refusals ?? 0);
  }

  /** Every quarter of a second. */
  look(): void {
    const now = this.#sim.time.now;
    for (const node of this.#sim.nodes.values()) {
      this.#dirty.add(node);
      for (const session of node.sessions) {
        const rows = [...session.connections()];
        for (const row of rows) this.#checkConnection(node, row, now);
        if (rows.length > connectionsMax || session.size > openMax) {
          this.violate("bounded", node.name, `${rows.length} connections, ${session.size} exchanges and streams`);
        }
      }
    }
    if (this.#sim.time.size > tasksPerNodeMax * (this.#sim.nodes.size + 4)) {
      this.violate("bounded", "all", `${this.#sim.time.size} timers`);
    }
  }

  #checkConnection(node: SimulatedNode, { connection, gate: { phase } }: ConnectionRow, now: number): void {
    if (!(connection instanceof SimulatedConnection)) return;
    if (phase === "established") {
      const standing = this.#oracle.standingOf(connection.chain[0]);
      const why = this.#oracle.mustRefuse(node, standing, now);
      const name = standing?.credential.name ?? "somebody";
      if (why !== undefined) this.violate("revoked-is-revoked", node.name, `${name} is established: ${why}`);
    } else if (phase === "refused" || phase === "closed") {
      const since = this.#badSince.get(connection) ?? now;
      this.#badSince.set(connection, since);
      if (now - since > 1_000) this.violate("refused-is-closed", node.name, `a ${phase} connection is open`);
    } else if (now - connection.createdAt > verdictMaxMs) {
      this.violate("handshake-deadline", node.name, `${phase} since ${Math.round(now - connection.createdAt)} ms`);
    }
  }

  /** At the end, when all has had time to come right. */
  conclude(expected: { readonly mustServe: readonly SimulatedNode[]; readonly jobMustEnd: boolean }): void {
    this.look();
    this.stepped();
    for (const node of expected.mustServe) this.#checkAlive(node);
    for (const node of this.#sim.nodes.values()) this.#checkAccounts(node);
    for (const [key, { node, incarnation }] of this.#dispatched) {
      if (this.#ended.has(key) || !node.isRunning || node.incarnation !== incarnation) continue;
      const contexts = contextsOf<WorkerContext>(node);
      const task = key.split("/").at(-1) as string;
      if (contexts.length > 0 && contexts.every(({ book }) => book.jobs[task] === undefined)) {
        this.violate("ends-once", node.name, `job ${task} vanished without an end`);
      }
    }
    for (const node of this.#sim.nodes.values()) {
      this.checkMarks(node);
      if (node.role === "scheduler") this.#checkJob(node, expected.jobMustEnd);
    }
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

  #checkAlive(node: SimulatedNode): void {
    if (!node.isRunning) {
      this.violate("no-crash", node.name, `its process ended: ${node.exit}`);
      return;
    }
    const linked = (node.actor?.getSnapshot() as { context: { linked: readonly string[] } } | undefined)?.context
      .linked;
    if (node.role !== "gateway" && node.options.gateways.length > 0 && (linked?.length ?? 0) === 0) {
      this.violate("live-network", node.name, "is connected to no gateway");
    }
  }

  #checkAccounts(node: SimulatedNode): void {
    if (!node.isRunning) return;
    const refusals = this.#refusals.get(this.#key(node, "refusals"));
    const root = node.actor?.getSnapshot() as {
      context: { refusalLog: { getSnapshot(): { context: { counts: Readonly<Record<string, number>> } } } };
    };
    const { counts } = root.context.refusalLog.getSnapshot().context;
    const counted = Object.values(counts).reduce((sum, count) => sum + count, 0);
    // A data node refuses pulls itself, beside what the transport refuses.
    if (node.role === "data") this.#notePulls(node);
    const pulls = [...this.#pulls.get(this.#key(node, "pulls"))?.values() ?? []].reduce((sum, some) => sum + some, 0);
    const { recorded, ...said } = refusals ?? { told: 0, toldLate: 0, recorded: 0 };
    const told = said.told + pulls, toldLate = said.toldLate + pulls;
    if (counted !== told || recorded !== toldLate) {
      const detail = `${told} refusals, ${counted} counted; ${toldLate} of their own record, ${recorded} recorded`;
      this.violate("refusal-recorded", node.name, detail);
    }
  }

  #checkJob(node: SimulatedNode, jobMustEnd: boolean): void {
    const isOver = this.#finished.has(this.#key(node, "training")) || node.exit !== undefined;
    if (jobMustEnd && !isOver && node.isRunning) {
      const value = JSON.stringify(node.roleActor?.getSnapshot().value ?? "joining");
      this.violate("live-job", node.name, `its job is not over: ${value}`);
    }
    const schedulers = [...this.#sim.nodes.values()].filter(({ role }) => role === "scheduler");
    const now = this.#sim.time.now;
    // Another may hold what is promised; a lease outlives its holder by its life, and a job by its end.
    if (schedulers.some((each) => each.isRunning || now - each.endedAt < goneMs)) return;
    for (const worker of this.#sim.nodes.values()) {
      const books = worker.role === "worker" ? contextsOf<WorkerContext>(worker).map(({ book }) => book) : [];
      const left = books.flatMap(({ leases, offers }) => [...Object.keys(leases), ...Object.keys(offers)]).length;
      if (left > 0) this.violate("live-lease", worker.name, `${left} promises to nobody`);
    }
  }
}

function contextOf<Context>(actor: AnyActorRef | undefined): Context | undefined {
  return (actor?.getSnapshot() as { readonly context: Context } | undefined)?.context;
}

/** The contexts of a node's roles, of all its keys. */
function contextsOf<Context>(node: SimulatedNode): readonly Context[] {
  return node.roleActors.map((actor) => contextOf<Context>(actor)).filter((context) => context !== undefined);
}
