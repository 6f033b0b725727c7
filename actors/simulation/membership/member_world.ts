/**
 * A CA, nodes, their operator and the checks of one run.
 *
 * @module
 */
import { Result } from "effect";
import type { CaAlarm } from "../../ca/alarm.ts";
import type { RevocationTarget } from "../../ca/revoke.ts";
import type { MembershipConfig } from "../../config/membership_schema.ts";
import { randomOf } from "../../runtime/random.ts";
import { hardwareIdentity } from "../../ca/hardware_rows.ts";
import { Findings } from "../findings.ts";
import { nodePaths } from "../node_config.ts";
import { Simulation } from "../simulation.ts";
import { Approvers } from "./approvers.ts";
import { identityKeyUri, IdentityToken } from "./identity_token.ts";
import { Ledger } from "./ledger.ts";
import { Member } from "./member.ts";
import { MemberChecker } from "./member_checks.ts";
import type { MemberPlan, MemberScenario, MemberTroubleKind } from "./member_scenario.ts";
import { caDomain, caHost, caUrl, type OperatorAnswer, SimulatedCa } from "./simulated_ca.ts";
import { VirtualWeb } from "./virtual_web.ts";

/** The operator tries again after this, in milliseconds, and gives an answer up after this. */
const againMs = 5_000;
const patienceMs = 30_000;
/** The operator looks at alarms after this, in milliseconds. */
const alarmMs = 15_000;

/** Everything of a run. */
export interface LinkedWorld {
  readonly sim: Simulation;
  readonly web: VirtualWeb;
  readonly ca: SimulatedCa;
  readonly ledger: Ledger;
  readonly findings: Findings;
  readonly checker: MemberChecker;
  readonly scenario: MemberScenario;
  readonly members: ReadonlyMap<string, Member>;
  readonly injected: Map<MemberTroubleKind, number>;
  /** Kinds whose effect was observed. */
  readonly bit: Set<MemberTroubleKind>;
  /** Counts thieves and guests. */
  thieves: number;
  readonly gateway: Member;
  /** SPIFFE ID of a node. */
  identityOf(member: Member): string;
  /** Does what an operator does until it worked. */
  operate<A>(ask: (done: OperatorAnswer<A>) => void, done: (answer: A) => void): void;
  revoke(target: RevocationTarget, done?: () => void): void;
  /** Makes a token that replaces what a node has. */
  renewToken(member: Member, done: (token: string) => void): void;
  /** A node is cut off for good. */
  cutOff(member: Member): void;
  /** A node's process ends, and starts again later. */
  stop(member: Member, forMs: number, politely: boolean): void;
  /** Looks at the register and at all nodes. */
  look(): void;
}

/** Serials, fingerprints, tokens and the folder of the CA's register are random: they are left out of the trace. */
const plain = (text: string) => text.replace(/\b[0-9a-f]{15,}\b|(?<=hypha-sim-ca-)\w+/gi, "…");

/** Makes the world of a scenario; nothing runs yet. */
export async function makeWorld(
  scenario: MemberScenario,
  options: Omit<Parameters<typeof Simulation.create>[0], "seed" | "plain">,
): Promise<World> {
  const sim = await Simulation.create({ ...options, seed: `membership ${scenario.seed}`, plain });
  const web = new VirtualWeb({ network: sim.network, time: sim.time, random: randomOf(sim.seed, "web").next });
  const findings = new Findings(sim);
  const ledger = new Ledger({ findings, now: () => sim.time.now });
  web.answered = (exchange) => ledger.answered(exchange, ca.keyToken);
  const late: { world?: World } = {};
  const ca = await SimulatedCa.create({
    ...{ seed: sim.seed, time: sim.time, web, authority: sim.authority },
    ...{ lifeMs: scenario.lifeMs, entries: scenario.entries },
    onAlarm: (alarm) => late.world?.alarm(alarm),
    onReport: ({ level, event, message }) => sim.note("report", caHost, `${level} ${event} ${message}`),
    onCrash: (error) => findings.violate("no-crash", caHost, String(error)),
  });
  const world = new World({ sim, web, ca, ledger, findings, scenario });
  late.world = world;
  if (scenario.ceremonies !== undefined) world.approvers = await Approvers.create(world);
  return world;
}

/** The world of a run. */
export class World implements LinkedWorld {
  readonly sim: Simulation;
  readonly web: VirtualWeb;
  readonly ca: SimulatedCa;
  readonly ledger: Ledger;
  readonly findings: Findings;
  readonly scenario: MemberScenario;
  readonly checker: MemberChecker;
  readonly members = new Map<string, Member>();
  readonly injected = new Map<MemberTroubleKind, number>();
  readonly bit = new Set<MemberTroubleKind>();
  thieves = 1;
  approvers: Approvers | undefined;
  /** Names that were revoked for good. */
  readonly #ended = new Set<string>();
  readonly #repairing = new Set<string>();
  /** The register's commits that were looked at. */
  #commits = -1;

  constructor(parts: Pick<World, "sim" | "web" | "ca" | "ledger" | "findings" | "scenario">) {
    const { sim, web, ca, ledger, findings, scenario } = parts;
    this.sim = sim;
    this.web = web;
    this.ca = ca;
    this.ledger = ledger;
    this.findings = findings;
    this.scenario = scenario;
    this.checker = new MemberChecker({ sim, findings, ledger, ca, web, members: this.members });
    ca.started = () => this.#sync();
    for (const plan of scenario.nodes) this.#make(plan);
    sim.watches.push(this.checker);
  }

  get gateway(): Member {
    return this.members.get("gateway-1") as Member;
  }

  identityOf({ plan: { role, name } }: Member): string {
    return `spiffe://${caDomain}/${role}/${name}`;
  }

  #make(plan: MemberPlan): void {
    const { sim, web } = this;
    const identity = plan.identity === undefined ? undefined : new IdentityToken(`${sim.seed}/${plan.name}`, web.tasks);
    const config: MembershipConfig = {
      ...{ ca: [caUrl], renew: true, key: plan.key, newKeyEveryMs: undefined, crls: plan.crls },
      ...(plan.identity === undefined ? {} : { identityKey: identityKeyUri, identityCertPem: nodePaths.identity }),
      crlUrls: plan.fetches ? [caUrl] : [],
    };
    const gateways = this.scenario.nodes.filter(({ role }) => role === "gateway").map(({ name }) => name);
    const node = sim.makeNode({
      name: plan.name,
      role: plan.role,
      gateways: plan.role === "gateway" ? [] : gateways,
      crlsPem: undefined,
      ...(plan.role === "data" ? { slices: 1 } : {}),
      membership: {
        config,
        webOf: (host, clock) => web.of(host, clock),
        hardwareOf: identity && ((clock) => identity.of(clock)),
      },
    });
    this.members.set(
      plan.name,
      new Member({
        ...{ sim, web, node, plan, identity },
        onRefused: (member, code) => this.#refused(member, code),
        onJoined: (member) => this.#joined(member),
      }),
    );
  }

  /** The operator makes tokens, and the nodes join. */
  begin(): void {
    this.ca.start();
    this.approvers?.begin(this.scenario.ceremonies ?? []);
    for (const member of this.members.values()) {
      this.sim.after(member.plan.joinsAt, () => this.#giveToken(member, "no", (token) => member.join(token)));
    }
  }

  #joined(member: Member): void {
    this.checker.disturb(member.name, 10_000);
    if (!this.#ended.has(member.name)) this.checker.gone.delete(member.name);
  }

  /** A token that another used first is of no use: its operator cuts the other off, and makes a new one. */
  #refused(member: Member, code: string): void {
    if (code === "token-used") this.bit.add("token-raced");
    if (code === "ca-not-trusted") this.bit.add("impostor");
    const helps = /^(token-|name-locked|certificate-revoked|renewal-)/.test(code);
    if (helps) this.#repair(member);
  }

  /** A node's certificate is in other hands too. */
  alarm({ kind, identity }: CaAlarm): void {
    this.sim.note("fault", caHost, `alarm ${kind} ${identity}`);
    const member = [...this.members.values()].find((each) => this.identityOf(each) === identity);
    if (kind !== "renewal-forked" || member === undefined) return;
    this.bit.add("fork");
    this.checker.gone.add(member.name);
    this.sim.after(alarmMs, () => this.#repair(member));
  }

  #repair(member: Member): void {
    const { name } = member;
    if (this.#ended.has(name) || this.#repairing.has(name)) return;
    this.#repairing.add(name);
    this.checker.gone.add(name);
    const identity = this.identityOf(member);
    this.revoke({ name: identity }, () => {
      this.ledger.ended(identity);
      this.renewToken(member, (token) => {
        this.#repairing.delete(name);
        member.join(token);
      });
    });
  }

  operate<A>(ask: (done: OperatorAnswer<A>) => void, done: (answer: A) => void): void {
    let isOver = false;
    const again = (afterMs: number) => {
      if (isOver) return;
      isOver = true;
      this.sim.after(afterMs, () => this.operate(ask, done));
    };
    this.sim.after(patienceMs, () => again(0));
    ask((outcome) => {
      if (isOver) return;
      if (Result.isFailure(outcome)) return again(againMs);
      isOver = true;
      this.#sync();
      done(outcome.success);
    });
  }

  revoke(target: RevocationTarget, done: () => void = () => {}): void {
    this.operate((answered) => this.ca.revoke(target, answered), () => done());
  }

  renewToken(member: Member, done: (token: string) => void): void {
    this.#giveToken(member, "yes", done);
  }

  #giveToken(member: Member, replaces: "no" | "yes", done: (token: string) => void): void {
    const { name, identity, plan: { role } } = member;
    const key = identity === undefined ? undefined : "hardware" as const;
    this.operate<string>((answered) => this.ca.token({ role, name, replaces, key }, answered), (token) => {
      if (this.#ended.has(name)) return;
      const own = this.identityOf(member);
      const given = identity === undefined
        ? { identity: own }
        : { identity: hardwareIdentity(caDomain, name), named: own };
      this.ledger.token(token, given);
      done(token);
    });
  }

  cutOff(member: Member): void {
    this.#ended.add(member.name);
    this.checker.gone.add(member.name);
  }

  stop(member: Member, forMs: number, politely: boolean): void {
    this.checker.disturb(member.name, forMs);
    member.kill(politely);
    this.sim.after(forMs, () => member.restart());
  }

  /** What the register has revoked, and the list that it publishes. */
  #sync(): void {
    const { ca, ledger } = this;
    const { commits } = ca;
    const list = commits === this.#commits ? undefined : ca.list;
    if (list === undefined) return;
    this.#commits = commits;
    ledger.revocations(ca.revokedSince(ledger.position), BigInt(list.number));
    this.checker.published(BigInt(list.number));
  }

  look(): void {
    this.#sync();
    this.checker.look();
    const { now } = this.sim.time;
    for (const member of this.members.values()) {
      const { node, name } = member;
      // A service manager starts what ended with an error; what was revoked for good stays down.
      if (node.exit === "failed" && now >= node.endedAt + againMs && !this.#ended.has(name)) member.restart();
    }
  }

  /** The troubles are over: nothing waits for its moment any more. */
  calm(): void {
    this.ca.killAfter(Infinity, () => {});
    this.ca.start();
    this.ca.isFull = false;
    this.ca.keyToken.state = "there";
    this.web.loss = 0;
    for (const { node, identity } of this.members.values()) {
      if (identity !== undefined) identity.state = "there";
      node.disk.moved = () => {};
      node.disk.full = false;
    }
  }
}
