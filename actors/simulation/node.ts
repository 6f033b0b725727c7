/**
 * A simulated node: a disk that stays, and processes on it that start, crash and start again. A process runs the production
 * machine of a node, with the production roles and gates.
 *
 * @module
 */
import type { Actor, AnyActorRef, InspectionEvent } from "xstate";
import type { CrlHighWaterMarks } from "../../pki/crl_marks.ts";
import type { PeerText, TransportFact } from "../../transport/port.ts";
import type { OpenCounts } from "../../transport/core/parts.ts";
import type { Session } from "../../transport/core/session.ts";
import type { SimulatedConnection } from "../../transport/simulated/connection.ts";
import type { Directory } from "../../transport/simulated/directory.ts";
import type { VirtualNetwork } from "../../transport/simulated/network.ts";
import { makeSimulatedTransport } from "../../transport/simulated/transport.ts";
import type { SimulatedHost, WireWork } from "../../transport/simulated/wire.ts";
import type { Message, Resources } from "../../transport/protocols/messages.ts";
import type { RuleText } from "../../transport/authorization/rules.ts";
import type { RoleConfig } from "../config/config.ts";
import type { AuditEntry } from "../trust/audit.ts";
import { parseMarks } from "../files/marks_text.ts";
import { marksPath } from "../files/state_directory.ts";
import type { AskHttps } from "../enrolment/ask_https.ts";
import { makeGateFactory } from "../gate/gate.ts";
import { nodeMachine } from "../node/node.ts";
import type { Ports, Report } from "../runtime/ports.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import { superviseRoot } from "../runtime/supervise.ts";
import { workerMachine } from "../worker/worker.ts";
import type { Credential } from "./authority.ts";
import { Disk } from "./disk.ts";
import { type BrokenHand, type ExecutorHabit, giveExecutors, simulatedJobMachine } from "./executor.ts";
import type { ExecutorWatch } from "./executor_watch.ts";
import { valueOf } from "./knobs.ts";
import { drawnKeys, giveMember, memberEnrolment, memberExchange } from "./membership/member_machines.ts";
import { NodeClock } from "./node_clock.ts";
import { copyAgainMs, nodeConfig, type NodeOptions, nodePaths, type NodeRole } from "./node_config.ts";
import { rolesOf } from "./role_actors.ts";
import { randomOf } from "../runtime/random.ts";
import { ruleFileOf, simulatedRuleSource } from "./rule_file.ts";
import { giveKnobs, turnedIdentity, turnedTrustStore, turnJob, turnWorker, withInput } from "./turned_machines.ts";
import { makeVirtualRun } from "./virtual_run.ts";
import type { VirtualTime } from "./virtual_time.ts";
import { Effect } from "effect";

/** What all nodes of a run share. */
export interface NodeWorld {
  readonly seed: number | string;
  readonly time: VirtualTime;
  readonly network: VirtualNetwork;
  readonly directory: Directory;
  readonly inspect: ((event: InspectionEvent) => void) | undefined;
  readonly onReport: (node: SimulatedNode, report: Report) => void;
  readonly onRefusal: (node: SimulatedNode, entry: AuditEntry) => void;
  /** Bytes of a stream or of gossip are handed over above the gates. */
  readonly onBytes: (node: SimulatedNode, from: SimulatedConnection, protocol: string, bytes: Uint8Array) => void;
  /** A peer made it do something. */
  readonly onWork: (node: SimulatedNode, work: WireWork) => void;
  readonly onAnswer: (node: SimulatedNode, message: Message, session: Session) => void;
  readonly onFact: (node: SimulatedNode, fact: TransportFact, session: Session | undefined) => void;
  /** An ask of its roles is answered by the transport. */
  readonly onAsked: (node: SimulatedNode, answer: unknown) => void;
  readonly onCrash: (node: SimulatedNode, error: unknown) => void;
  readonly executors: ExecutorWatch;
}

/** All kinds of {@linkcode OpenCounts}. */
export const openKinds = ["exchanges", "streams", "dials", "verifications", "halfOpen"] as const;

interface Process {
  readonly host: SimulatedHost;
  readonly clock: NodeClock;
  readonly root: ReturnType<typeof superviseRoot<typeof nodeMachine>>;
  readonly sessions: readonly Session[];
}

/** Addresses in the order of their making. */
export const addressOf = (index: number): string =>
  `/ip4/10.${index >> 16 & 255}.${index >> 8 & 255}.${index & 255}/tcp/4000`;

const sweep = fromScoped("sweep", (_: { ports: Ports }) => Effect.succeed({ removed: [], failed: [], unowned: [] }));
/** The production node. Of its worker, only the parts that touch a real disk and real processes are replaced. */
const simulatedNode = nodeMachine.provide({
  actors: {
    trustStore: turnedTrustStore,
    identity: turnedIdentity,
    worker: withInput(
      workerMachine.provide({ actors: { job: withInput(simulatedJobMachine, turnJob), sweep } }),
      turnWorker,
    ),
  },
});

/** The same of a node that renews its certificate and fetches lists. */
const memberNode = simulatedNode.provide({ actors: { enrolment: memberEnrolment, crlExchange: memberExchange } });

/** A node of a run. */
export class SimulatedNode {
  readonly name: string;
  readonly role: NodeRole;
  readonly address: string;
  readonly disk: Disk;
  readonly options: NodeOptions;
  /** Every certificate that it was ever given, the newest last. */
  readonly credentials: Credential[] = [];
  /** Milliseconds by which its wall clock is ahead. */
  #skewMs = 0;
  habit: ExecutorHabit = "honest";
  /** What of a worker does not work. */
  broken: BrokenHand | undefined;
  /** What a worker that lies says it has, from its next start on. */
  claims: Resources | undefined;
  readonly #world: NodeWorld;
  #process: Process | undefined;
  #roles: { readonly snapshot: unknown; readonly actors: readonly AnyActorRef[] } = { snapshot: undefined, actors: [] };
  #incarnation = 0;
  #exit: string | undefined;
  #endedAt = -Infinity;
  #startedAt = -Infinity;
  /** The rules that its operator wrote last. */
  #rules: readonly RuleText[] = [];

  constructor(world: NodeWorld, address: string, options: NodeOptions) {
    this.#world = world;
    this.options = options;
    this.name = options.name;
    this.role = options.role;
    this.address = address;
    const delays = randomOf(world.seed, `disk/${this.name}`);
    this.disk = new Disk({ now: () => world.time.now, openDelayMs: () => delays.next() * 4 });
    const { credential, trustPem, crlsPem } = options;
    if (credential !== undefined) {
      this.credentials.push(credential);
      this.disk.put(nodePaths.cert, credential.chainPem, 0o644);
      this.disk.put(nodePaths.key, options.keyPem ?? credential.keyPem, 0o600);
      this.disk.put(nodePaths.trust, trustPem, 0o644);
    }
    if (options.partner !== undefined) {
      this.disk.put(nodePaths.partnerTrust, options.partner.trustPem, 0o644);
      this.disk.put(nodePaths.partnerCrls, options.partner.crls[0] ?? "", 0o644);
    }
    if (options.hasRules === true) this.writeRules([]);
    if (crlsPem !== undefined) this.disk.put(nodePaths.crls, crlsPem, 0o644);
    for (let slice = 0; slice < (options.slices ?? 0); slice++) {
      this.disk.put(`${nodePaths.dataset}/${String(slice).padStart(4, "0")}`, `slice ${slice}\n`.repeat(20), 0o644);
    }
  }

  /** The newest certificate that it was given. */
  get credential(): Credential {
    return this.credentials.at(-1) as Credential;
  }

  /** An operator replaces the pair, the key first: two files, copied by hand. */
  replaceCredential(next: Credential, betweenMs = 0): void {
    this.credentials.push(next);
    this.#copy(nodePaths.key, next.keyPem, 0o600, () => {
      const put = () => this.#copy(nodePaths.cert, next.chainPem, 0o644, () => {});
      betweenMs > 0 ? this.#world.time.schedule(betweenMs, put) : put();
    });
  }

  /** Its operator copies a file, again where there was no room. */
  #copy(path: string, content: string, mode: number, then: () => void): void {
    if (this.disk.put(path, content, mode)) return then();
    this.#world.time.schedule(copyAgainMs, () => this.#copy(path, content, mode, then));
  }

  /** Its operator writes rules. Returns whether there was room. */
  writeRules(rules: readonly RuleText[]): boolean {
    if (!this.disk.put(nodePaths.config, ruleFileOf(rules), 0o644)) return false;
    this.#rules = rules;
    return true;
  }

  /** Processes that were started. */
  get incarnation(): number {
    return this.#incarnation;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** When its last process ended, in the world's time. */
  get endedAt(): number {
    return this.#endedAt;
  }

  /** When its last process began, in the world's time. */
  get startedAt(): number {
    return this.#startedAt;
  }

  /** How its last process ended by itself. */
  get exit(): string | undefined {
    return this.#exit;
  }

  get peer(): PeerText {
    return this.#process?.sessions.at(-1)?.self ?? "";
  }

  /** The node's root actor. */
  get actor(): AnyActorRef | undefined {
    return this.#process?.root;
  }

  /** The role's actor, once it runs; after a change of keys that of the newest. */
  get roleActor(): AnyActorRef | undefined {
    return this.roleActors.at(-1);
  }

  /** The roles of all keys that still have one at work, the oldest first. */
  get roleActors(): readonly AnyActorRef[] {
    const snapshot = this.#process?.root.getSnapshot();
    // Checks read it a dozen times, four times a simulated second: the children are looked through once for each snapshot.
    if (snapshot !== this.#roles.snapshot) this.#roles = { snapshot, actors: rolesOf(snapshot?.children ?? {}) };
    return this.#roles.actors.filter((actor) => actor.getSnapshot().status === "active");
  }

  /** The transports of all keys that are in use. */
  get sessions(): readonly Session[] {
    return this.#process?.sessions ?? [];
  }

  /** What it holds open, with all its keys. */
  get open(): OpenCounts {
    const all = this.sessions.map(({ open }) => open);
    const sumOf = (kind: keyof OpenCounts) => all.reduce((sum, counts) => sum + counts[kind], 0);
    return {
      exchanges: sumOf("exchanges"),
      streams: sumOf("streams"),
      dials: sumOf("dials"),
      verifications: sumOf("verifications"),
      halfOpen: sumOf("halfOpen"),
    };
  }

  /** From the first byte of a connection to its verdict, in milliseconds. */
  get handshakeTimeoutMs(): number {
    return valueOf(this.options.knobs ?? {}, "handshakeTimeoutMs");
  }

  get skewMs(): number {
    return this.#skewMs;
  }
  set skewMs(skewMs: number) {
    this.#skewMs = skewMs;
    if (this.#process !== undefined) this.#process.clock.skewMs = skewMs;
  }

  /** What its wall clock says. */
  now(): number {
    return this.#world.time.now + this.#skewMs;
  }

  /** The marks on its disk, by their places; none where there is no file of them. */
  get marks(): CrlHighWaterMarks {
    const bytes = this.disk.read(marksPath(nodePaths.state));
    return bytes === undefined ? {} : parseMarks(new TextDecoder().decode(bytes)).marks;
  }

  /** PeerIDs that are established here. */
  get peers(): readonly PeerText[] {
    return this.sessions.at(-1)?.peers() ?? [];
  }

  /** Starts a process, unless one runs. */
  start(): void {
    if (this.#process !== undefined) return;
    this.#incarnation += 1;
    this.#startedAt = this.#world.time.now;
    this.#exit = undefined;
    const { time, network, directory, seed } = this.#world;
    const clock = new NodeClock(time, this.#skewMs);
    const ids = randomOf(seed, `ids/${this.name}/${this.#incarnation}`);
    const random = randomOf(seed, `random/${this.name}/${this.#incarnation}`);
    // Files of a scheduler that waits for jobs hold whole milliseconds, as real clocks give them.
    const ports: Ports = {
      now: this.options.waitsForJobs === true ? () => Math.floor(clock.now()) : () => clock.now(),
      monotonic: () => clock.monotonic(),
      random: random.next,
      uuid: ids.uuid,
      report: (report) => this.#world.onReport(this, report),
      run: makeVirtualRun({ clock, disk: this.disk.service, random: random.next }),
    };
    const host: SimulatedHost = {
      name: this.name,
      network,
      clock,
      directory,
      address: this.address,
      isDialable: this.options.isDialable ?? true,
      stopped: false,
      watch: (from, protocol, bytes) => this.#world.onBytes(this, from, protocol, bytes),
      worked: (work) => this.#world.onWork(this, work),
    };
    const sessions: Session[] = [];
    const transport = makeSimulatedTransport(host, {
      session: (session) => keepRunning(sessions, session),
      answer: (message, session) => this.#world.onAnswer(this, message, session),
      asked: (answer) => this.#world.onAsked(this, answer),
      fact: (fact, session) => this.#world.onFact(this, fact, session),
    });
    const { inspect } = this.#world;
    giveKnobs(ports.run, this.options.knobs ?? {});
    giveExecutors(ports.run, {
      habit: () => this.habit,
      broken: () => this.broken,
      random: randomOf(seed, `executor/${this.name}/${this.#incarnation}`),
      updateOf: this.options.updateOf,
      batchMs: this.options.batchMs ?? valueOf(this.options.knobs ?? {}, "batchMs"),
      watch: this.#world.executors,
      isDiskFull: () => this.disk.full,
    });
    const askCa = this.#webOf(clock, ports.run);
    const root: Actor<typeof simulatedNode> = superviseRoot(askCa === undefined ? simulatedNode : memberNode, {
      id: this.name,
      clock: clock.machine,
      input: {
        config: this.#config(),
        ruleSource: this.options.hasRules === true ? simulatedRuleSource : undefined,
        ports,
        transport,
        makeGate: makeGateFactory({
          ports,
          clock: clock.machine,
          ...(inspect === undefined ? {} : { inspect }),
        }),
        audit: { record: (entry) => this.#world.onRefusal(this, entry) },
        askCa,
      },
      onError: (error) => this.#world.onCrash(this, error),
      onDone: () => this.#ended(root.getSnapshot().output?.type ?? "stopped"),
      ...(inspect === undefined ? {} : { inspect }),
    });
    this.#process = { host, clock, root, sessions };
  }

  /** How a process asks its CA, where it has one; its machines get the same web, and drawn keys. */
  #webOf(clock: NodeClock, run: Ports["run"]): AskHttps | undefined {
    const { membership } = this.options;
    if (membership === undefined) return undefined;
    const web = membership.webOf(this.name, clock);
    const keys = drawnKeys(`${this.#world.seed}/${this.name}/${this.#incarnation}`);
    giveMember(run, { get: web.get, keys, hardware: membership.hardwareOf?.(clock) });
    return web.ask;
  }

  /** With the rules that its operator wrote last: no process starts with a file that does not load. */
  #config(): RoleConfig {
    const config = nodeConfig(this.claims === undefined ? this.options : { ...this.options, resources: this.claims });
    if (this.options.hasRules !== true) return config;
    return { ...config, authorization: { rules: this.#rules } };
  }

  /** The process ended by itself: its timers with it, its connections politely. */
  #ended(how: string): void {
    this.#exit = how;
    this.#world.time.schedule(0, () => this.#end(true));
  }

  /** kill -9, or a machine that halts: `politely` where a kernel is left to end the connections. */
  crash(politely: boolean): void {
    this.#end(politely);
  }

  /** The machine loses its power, and its disk what was not synced. */
  losePower(): void {
    this.#end(false);
    this.disk.losePower(randomOf(this.#world.seed, `power/${this.name}/${this.#incarnation}`));
  }

  #end(politely: boolean): void {
    const ending = this.#process;
    if (ending === undefined) return;
    this.#process = undefined;
    this.#endedAt = this.#world.time.now;
    ending.host.stopped = true;
    ending.clock.stop();
    this.disk.forgetWatchers();
    this.#world.network.crash(this.name, politely);
  }

  /** SIGHUP. */
  reload(): void {
    this.#process?.root.send({ type: "trust.reload" });
  }

  /** SIGTERM. */
  drain(): void {
    this.#process?.root.send({ type: "drain", reason: "SIGTERM" });
  }
}

/** Adds a session, and drops those that have ended: of keys that were replaced. */
function keepRunning(sessions: Session[], session: Session): void {
  sessions.splice(0, sessions.length, ...sessions.filter(({ isStopped }) => !isStopped), session);
}
