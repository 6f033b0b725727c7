/**
 * One run: makes a scenario, plays it, and checks all invariants.
 *
 * @module
 */
import type { InspectionEvent } from "xstate";
import { randomOf } from "../runtime/random.ts";
import type { Credential } from "./authority.ts";
import { Checker } from "./checker.ts";
import { quietLookMs } from "./check_quiet.ts";
import { Trouble } from "./faults.ts";
import type { Violation } from "./invariants.ts";
import { isMemberName, memberCredentials, revokedMembers } from "./member_credentials.ts";
import { undialableShare } from "./member_troubles.ts";
import { troubleCredentials } from "./new_certificates.ts";
import { Oracle } from "./oracle.ts";
import { makePartner, type Partner } from "./partner_domain.ts";
import type { FaultKind, NodePlan, PlannedTraining, Scenario } from "./scenario.ts";
import { type AddNode, simulatedJob, Simulation, startsAt } from "./simulation.ts";
import { Operator } from "./submitting.ts";
import type { TraceLine } from "./trace.ts";

/** How often all nodes are looked at, in milliseconds of the run. */
const lookEveryMs = 250;
const dayMs = 86_400_000;

/** How a run is made. */
export interface RunOptions {
  readonly keepTrace?: boolean;
  readonly inspect?: (event: InspectionEvent) => void;
  /** Ends the run at the first violation; so by default. */
  readonly stopAtFirst?: boolean;
}

/** The result of a run. */
export interface RunResult {
  readonly seed: number;
  readonly traceHash: string;
  /** Lines of the trace. */
  readonly events: number;
  readonly virtualSeconds: number;
  readonly violations: readonly Violation[];
  /** Troubles by kind. */
  readonly faults: Readonly<Record<string, number>>;
  /** Kinds whose effect was observed (`bites.ts`). */
  readonly bit: readonly string[];
  readonly outcome: string;
  readonly lines: readonly TraceLine[];
}

/** Plays a scenario. After keys and certificates are issued, nothing waits for a promise. */
export async function runScenario(scenario: Scenario, options: RunOptions = {}): Promise<RunResult> {
  const { keepTrace = false, stopAtFirst = true, inspect } = options;
  const sim = await Simulation.create({
    seed: scenario.seed,
    keepTrace,
    ...(inspect === undefined ? {} : { inspect }),
  });
  const { checker, trouble, credentials } = await prepare(sim, scenario);
  // Refusals are errors; a stack for each costs more than the checks. A replay keeps them.
  const { stackTraceLimit } = Error;
  if (!keepTrace) Error.stackTraceLimit = 0;
  const until = startsAt + scenario.troubleMs + scenario.quietMs;
  try {
    scheduleAll(sim, scenario, { checker, trouble });
    if (playTo(sim, checker, { until, stopAtFirst })) {
      if (checker.isIdle) {
        checker.beginQuiet();
        playTo(sim, checker, { until: until + quietLookMs, stopAtFirst });
      }
      conclude(sim, scenario, { checker, trouble, credentials });
    }
  } catch (error) {
    checker.violate("no-crash", "all", error instanceof Error ? error.stack ?? error.message : String(error));
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
  return {
    seed: scenario.seed,
    traceHash: sim.trace.hash,
    events: sim.trace.count,
    virtualSeconds: (sim.time.now - startsAt) / 1_000,
    violations: checker.violations,
    faults: Object.fromEntries([...trouble.injected].toSorted()),
    bit: [...trouble.bites.bit].toSorted(),
    outcome: outcomeOf(sim, checker),
    lines: sim.trace.lines,
  };
}

/** Plays to a time; false where it ended at a violation. */
function playTo(
  sim: Simulation,
  checker: Checker,
  { until, stopAtFirst }: { readonly until: number; readonly stopAtFirst: boolean },
): boolean {
  while (sim.time.step(until)) {
    checker.stepped();
    if (stopAtFirst && checker.violations.length > 0) return false;
  }
  return true;
}

function outcomeOf(sim: Simulation, checker: Checker): string {
  const scheduler = [...sim.nodes.values()].find(({ role }) => role === "scheduler");
  if (scheduler === undefined) return "none";
  return checker.outcomeOf(scheduler) ?? scheduler.exit ?? "unfinished";
}

async function prepare(sim: Simulation, scenario: Scenario) {
  const oracle = new Oracle();
  const checker = new Checker(sim, oracle);
  sim.watches.push(checker);
  const period = { notBefore: new Date(startsAt - dayMs), notAfter: new Date(startsAt + 365 * dayMs) };
  const kinds = new Set<string>(scenario.events.map(({ kind }) => kind));
  const rotating = scenario.nodes.filter(({ name }) =>
    scenario.events.some(({ kind, target }) => kind === "rotation" && target === name)
  );
  const own = new Map<string, Credential>();
  for (const plan of scenario.nodes) own.set(plan.name, await issueFor(sim, plan));
  const nodes = scenario.nodes.map(({ name, role }) => ({ name, role, keyPem: own.get(name)?.keyPem ?? "" }));
  const members = await memberCredentials(sim.authority, kinds, period);
  const others = new Map([...await troubleCredentials(sim.authority, { kinds, rotating, nodes }, period), ...members]);
  const standings = new Map([...own].map(([name, credential]) => [
    name,
    oracle.know(credential, {
      notAfter: startsAt + (scenario.nodes.find((plan) => plan.name === name)?.expiresAfterMs ?? 365 * dayMs),
    }),
  ]));
  for (const [name, credential] of others) {
    const isMember = name === "insider" || /\/(rotated|renewal|rekey)$/.test(name) || isMemberName(name);
    const standing = oracle.know(credential, {
      notAfter: period.notAfter.getTime(),
      ...(isMember ? {} : { never: `it is ${name}` }),
    });
    standings.set(name, standing);
  }
  const partner = kinds.has("partner")
    ? await makePartner(sim.authority, { period, ours: [...own.values()] })
    : undefined;
  for (const { credential, never } of partner?.credentials.values() ?? []) {
    oracle.know(credential, { notAfter: period.notAfter.getTime(), ...(never === undefined ? {} : { never }) });
  }
  const crls = await makeLists(sim, scenario, { own, standings, members: revokedMembers(members, scenario.seed) });
  const trouble = new Trouble({ sim, oracle, checker, credentials: others, partner, crls });
  makeNodes(sim, scenario, { credentials: own, partner });
  return { checker, trouble, oracle, credentials: own };
}

function issueFor(
  sim: Simulation,
  { name, role, namesNoRole, expiresAfterMs, byOther }: NodePlan,
): Promise<Credential> {
  return sim.authority.node(name, {
    ...(namesNoRole === true ? {} : { role }),
    notBefore: new Date(startsAt - dayMs),
    notAfter: new Date(startsAt + (expiresAfterMs ?? 365 * dayMs)),
    ...(byOther === true ? { issuer: "other" } : {}),
  });
}

/** Makes a set of lists for each revocation, in the order of their events; each contains the earlier revocations. */
async function makeLists(
  sim: Simulation,
  scenario: Scenario,
  known: {
    readonly own: ReadonlyMap<string, Credential>;
    readonly standings: ReadonlyMap<string, { revokedBy: number | undefined }>;
    /** By name: the first revocation revokes these too. */
    readonly members: ReadonlyMap<string, Credential>;
  },
): Promise<readonly string[]> {
  const lists: string[] = [];
  const revoked: Credential[] = [];
  const revokedCas: Credential[] = [];
  let { members } = known;
  const times = { thisUpdate: new Date(startsAt - dayMs), nextUpdate: new Date(startsAt + 30 * dayMs) };
  const make = async () =>
    void lists.push(await sim.authority.crls({ number: lists.length + 1, ...times, revoked, revokedCas }));
  await make();
  for (const { kind, target } of scenario.events) {
    if (kind !== "revocation" && kind !== "revoked-issuer") continue;
    const hit = kind === "revocation"
      ? [target, ...members.keys()]
      : scenario.nodes.filter(({ byOther }) => byOther === true).map(({ name }) => name);
    for (const name of hit) {
      const standing = known.standings.get(name);
      if (standing !== undefined) standing.revokedBy ??= lists.length + 1;
    }
    const credential = known.own.get(target);
    if (kind === "revocation") {
      revoked.push(...members.values());
      members = new Map();
    }
    if (kind === "revoked-issuer") revokedCas.push(sim.authority.other);
    else if (credential !== undefined) {
      const isByOther = scenario.nodes.find(({ name }) => name === target)?.byOther === true;
      if (isByOther) revokedCas.push(sim.authority.other);
      else revoked.push(credential);
      if (isByOther) {
        for (const { name, byOther } of scenario.nodes) {
          const standing = byOther === true ? known.standings.get(name) : undefined;
          if (standing !== undefined) standing.revokedBy ??= lists.length + 1;
        }
      }
    }
    await make();
  }
  return lists;
}

/** Workers have room for two trainings in this part of the seeds with two schedulers. */
const sharingShare = 0.5;
const roomForTwo = { gpu: 0, cpu: 4, storage: 10, memory: 20 };

function makeNodes(
  sim: Simulation,
  scenario: Scenario,
  { credentials, partner }: {
    readonly credentials: ReadonlyMap<string, Credential>;
    readonly partner: Partner | undefined;
  },
): void {
  const isShared = scenario.submitted !== undefined ||
    scenario.nodes.filter(({ role }) => role === "scheduler").length > 1 &&
      randomOf(scenario.seed, "scenario/sharing").chance(sharingShare);
  const gateways = scenario.nodes.filter(({ role }) => role === "gateway").map(({ name }) => name);
  const isStruck = (by: FaultKind, name: string) =>
    scenario.events.some(({ kind, target }) => kind === by && target === name);
  for (const plan of scenario.nodes) {
    const { name, role, executors } = plan;
    const joinedBy = plan.gateways ?? (role === "gateway" ? [] : gateways);
    sim.makeNode({
      name,
      role,
      isDialable: !scenario.events.some(({ kind, target, amount }) =>
        kind === "relayed" && target === name && amount < undialableShare
      ),
      credential: credentials.get(name) as Credential,
      gateways: joinedBy,
      knobs: scenario.knobs,
      ...(partner === undefined ? {} : { partner }),
      // Rules that "denied" gives to a running process would replace those of the file, and the other way round.
      hasRules: isStruck("rules", name) && !isStruck("denied", name),
      ...(executors === undefined ? {} : { executors }),
      ...(role === "worker" && isShared ? { resources: roomForTwo } : {}),
      ...(role === "scheduler" ? jobOf(scenario, name) : {}),
      ...(role === "data" ? { slices: scenario.slices } : {}),
    });
  }
}

/** The first scheduler's operator submits its trainings, where the scenario has some. */
const operatedName = "scheduler-1";

function jobOf({ job, submitted }: Scenario, name: string): Partial<AddNode> {
  if (submitted !== undefined && name === operatedName) return { waitsForJobs: true };
  return { job: simulatedJob(job), hasIntegers: job.integers };
}

function operate(sim: Simulation, submitted: readonly PlannedTraining[], checker: Checker): void {
  const node = sim.nodes.get(operatedName);
  if (node === undefined) return;
  const operator = new Operator(sim, node);
  checker.operated(operator);
  for (const plan of submitted) operator.schedule(plan);
}

function scheduleAll(
  sim: Simulation,
  { nodes, events, submitted }: Scenario,
  { checker, trouble }: { readonly checker: Checker; readonly trouble: Trouble },
): void {
  for (const [index, { name }] of nodes.entries()) {
    const node = sim.nodes.get(name);
    if (node !== undefined) sim.after(index * 20, () => trouble.start(node));
  }
  if (submitted !== undefined) operate(sim, submitted, checker);
  for (const event of events) trouble.schedule(event);
  const look = () => {
    checker.look();
    sim.after(lookEveryMs, look);
  };
  sim.after(lookEveryMs, look);
}

/** Checks the end. Honest, valid nodes that no trouble excludes must serve. */
function conclude(
  sim: Simulation,
  scenario: Scenario,
  { checker, trouble, credentials }: {
    readonly checker: Checker;
    readonly trouble: Trouble;
    readonly credentials: ReadonlyMap<string, Credential>;
  },
): void {
  const issuerRevoked = [...trouble.injected.keys()].includes("revoked-issuer") ||
    scenario.nodes.some(({ name, byOther }) => byOther === true && trouble.gone.has(name));
  const isOut = ({ name, byOther, expiresAfterMs }: NodePlan) =>
    trouble.gone.has(name) || expiresAfterMs !== undefined || (byOther === true && issuerRevoked);
  const honest = scenario.nodes.filter((plan) => !isOut(plan) && credentials.has(plan.name));
  const gateways = honest.filter(({ role }) => role === "gateway").length;
  const workers = honest.filter(({ role }) => role === "worker");
  const restarted = scenario.events.some(({ kind, target }) =>
    kind === "rekey" || (target.startsWith("scheduler") && ["crash", "power-cut", "drain"].includes(kind))
  );
  const schedulers = scenario.nodes.filter(({ role }) => role === "scheduler").length;
  const trainers = workers.filter(({ executors }) => executors?.includes("train") === true);
  // A scheduler may lease a trainer that can also aggregate as its aggregator.
  const aggregating = trainers.some(({ executors }) => executors?.includes("aggregate") === true) ? schedulers : 0;
  const enough = scenario.submitted === undefined &&
    trainers.length >= scenario.job.workers * schedulers + aggregating;
  const others = honest.filter(({ role }) => role === "data" || role === "scheduler").length === 1 + schedulers;
  const aggregates = workers.some(({ executors }) => executors?.includes("aggregate") === true);
  const mustServe = gateways === 0
    ? []
    : honest.filter(({ role }) => role !== "scheduler").map(({ name }) => sim.nodes.get(name)).filter((node) =>
      node !== undefined
    );
  checker.conclude({ mustServe, jobMustEnd: enough && others && aggregates && gateways > 0 && !restarted });
}
