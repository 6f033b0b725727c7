/**
 * Makes the troubles of a scenario in a running simulation.
 *
 * @module
 */
import { isStreamProtocol } from "../../transport/port.ts";
import type { StreamDataFrame, StreamFrame } from "../../transport/simulated/frames.ts";
import { goodLink, type LinkQuality, type Tamper } from "../../transport/simulated/network.ts";
import type { Credential } from "./authority.ts";
import { Bites } from "./bites.ts";
import type { Checker } from "./checker.ts";
import { type ExecutorHabit, handSteps } from "./executor.ts";
import { Hostile } from "./hostile.ts";
import { MomentWatch } from "./moments.ts";
import { copyMaxMs, drainMs, NewCertificates } from "./new_certificates.ts";
import type { SimulatedNode } from "./node.ts";
import { copyAgainMs, nodePaths } from "./node_config.ts";
import type { Oracle } from "./oracle.ts";
import type { Partner } from "./partner_domain.ts";
import { PublishedLists } from "./published_lists.ts";
import { randomOf } from "../runtime/random.ts";
import { aimMs, type ScenarioEvent, type TroubleKind } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** What trouble is made with. */
export interface TroubleInit {
  readonly sim: Simulation;
  readonly oracle: Oracle;
  readonly checker: Checker;
  /** Certificates that were issued for it before the run began, by name. */
  readonly credentials: ReadonlyMap<string, Credential>;
  /** A second trust domain, where the run has one. */
  readonly partner?: Partner | undefined;
  /** Lists by number, from 1. */
  readonly crls: readonly string[];
}

/** A node is not held to its lists until this long after a trouble of its disk, in milliseconds. */
const excuseMs = 13_000;
/** A clock is off by half of this at most, in milliseconds. */
const jumpMs = 1_200_000;
/** A clock is set by so much, in milliseconds: an hour, as with a wrong time zone. */
export const stepMs = 3_600_000;
/** Renames of a round that is kept: its result twice, parameters, velocity, record; a journal's file may come between. */
const renamesMax = 6;
/** A loss of power waits so long for a rename, in milliseconds: rounds take up to fourteen seconds. */
const renameMs = 15_000;
/** A stream is torn at this share of its pieces; in this share of the events its connection is reset with it. */
const tornShare = 0.5;
const connectionShare = 0.15;

type StreamResetFrame = Extract<StreamFrame, { type: "stream.reset" }>;
type Make = (event: ScenarioEvent, node: SimulatedNode, other: SimulatedNode) => void;

/** Makes trouble, and counts it. */
export class Trouble {
  readonly injected = new Map<TroubleKind, number>();
  /** Names of nodes that were revoked. */
  readonly gone = new Set<string>();
  readonly bites: Bites;
  readonly #init: TroubleInit;
  readonly #moments = new MomentWatch();
  readonly #lists: PublishedLists;
  readonly #certificates: NewCertificates;
  readonly #hostile: Hostile;
  /** Executors behave as the newest trouble wants; an older one does not end it. */
  readonly #habits = new Map<SimulatedNode, number>();

  constructor(init: TroubleInit) {
    this.#init = init;
    const { sim, checker, credentials, partner } = init;
    const start = (node: SimulatedNode) => this.start(node);
    this.bites = new Bites(sim, this.gone);
    this.#lists = new PublishedLists({ ...init, bites: this.bites, start });
    this.#certificates = new NewCertificates({ sim, bites: this.bites, credentials, gone: this.gone, start });
    this.#hostile = new Hostile({ sim, checker, oracle: init.oracle, credentials, partner, bites: this.bites, start });
    sim.watches.push(this.#moments, this.bites);
  }

  /** A node's process begins with what lies on its disk. */
  start(node: SimulatedNode): void {
    if (node.isRunning) return;
    const { oracle, checker, sim } = this.#init;
    checker.checkMarks(node);
    oracle.processBegan(node, this.#lists.at(node), sim.time.now);
    node.start();
  }

  /** Makes an event at its time, or at its moment. */
  schedule(event: ScenarioEvent): void {
    const { sim } = this.#init;
    this.#hostile.prepare(event);
    sim.after(event.at, () => {
      const node = sim.nodes.get(event.target);
      if (node === undefined) return;
      if (event.when === undefined) return this.#inject(event, node);
      // In a turn of its own: the moment may lie in the middle of a step.
      const seen = event.seenAt === undefined ? node : sim.nodes.get(event.seenAt) ?? node;
      const strike = this.#moments.aim(seen, event.when, () => sim.after(0, () => this.#inject(event, node)));
      sim.after(aimMs, strike);
    });
  }

  #inject(event: ScenarioEvent, node: SimulatedNode): void {
    const { sim } = this.#init;
    const other = event.other === undefined ? undefined : sim.nodes.get(event.other);
    const aimed = event.when === undefined ? "" : ` at ${event.when}`;
    sim.note("fault", node.name, `${event.kind} ${other?.name ?? ""} for ${event.forMs} ms${aimed}`);
    this.injected.set(event.kind, (this.injected.get(event.kind) ?? 0) + 1);
    this.bites.struck(event);
    this.#init.checker.struck(event);
    this.#makers[event.kind](event, node, other ?? node);
  }

  readonly #makeHostile: Make = (event, node) => this.#hostile.make(event, node);

  readonly #makers: Readonly<Record<TroubleKind, Make>> = {
    revocation: ({ amount }, node) => this.#revoke(node, amount),
    "revoked-issuer": () => this.#lists.publish(this.#lists.next()),
    partition: ({ forMs, amount }, node, other) => this.#partition(node, amount < 0.5 ? [other] : undefined, forMs),
    "one-way": ({ forMs }, node, other) => this.#cut(node.name, other.name, forMs, "one way"),
    "slow-link": (event, node, other) => this.#slowDown(event, node, other),
    reset: (_, node) => this.#reset(node),
    "torn-stream": (event, node) => this.#tearStreams(event, node),
    crash: ({ forMs }, node) => this.#crash("crash", node, forMs),
    "power-cut": (event, node) => this.#cutPower(event, node),
    "clock-jump": ({ forMs, amount }, node) => this.#setClock(node, Math.round((amount - 0.5) * jumpMs), forMs),
    "clock-step": ({ forMs, amount }, node) => {
      this.bites.note("clock-step");
      this.#setClock(node, amount < 0.5 ? -stepMs : stepMs, forMs);
    },
    "torn-file": (event, node) => this.#tearFile(event, node),
    "unreadable-file": (event, node) => this.#hideFile(event, node),
    "stale-crl": ({ forMs }, node) => {
      this.#lists.putOldest(node);
      this.#init.sim.after(forMs, () => this.#lists.putNewest(node));
    },
    "silent-disk": ({ forMs }, node) => {
      node.disk.silent = true;
      this.#init.sim.after(forMs, () => {
        node.disk.silent = false;
      });
    },
    "disk-full": (event, node) => this.#fillDisk(event, node),
    "late-crl": ({ forMs }, node) => this.#lists.delay(node, forMs),
    "executor-crash": ({ forMs }, node) => this.#behave(node, "crashing", forMs),
    "executor-hang": ({ forMs }, node) => this.#behave(node, "hanging", forMs),
    "garbage-update": ({ forMs }, node) => this.#behave(node, "garbage", forMs),
    rotation: ({ forMs }, node) => this.#certificates.rotate(node, forMs),
    renewal: (event, node) => this.#certificates.renewAll("renewal", node, event),
    rekey: (event, node) => this.#certificates.renewAll("rekey", node, event),
    reload: (_, node) => node.reload(),
    drain: ({ forMs }, node) => this.#drain(node, forMs),
    "broken-worker": (event, node) => this.#breakWorker(event, node),
    "half-open": this.#makeHostile,
    flood: this.#makeHostile,
    stranger: this.#makeHostile,
    expired: this.#makeHostile,
    "self-signed": this.#makeHostile,
    "stolen-certificate": this.#makeHostile,
    "old-tls": this.#makeHostile,
    malformed: this.#makeHostile,
    intruder: this.#makeHostile,
    nonsense: this.#makeHostile,
    "lying-worker": this.#makeHostile,
    "garbage-answers": this.#makeHostile,
    "flooding-member": this.#makeHostile,
    "dropping-gateway": this.#makeHostile,
    "delaying-gateway": this.#makeHostile,
    "second-certificate": this.#makeHostile,
    crowd: this.#makeHostile,
    forger: this.#makeHostile,
    mute: this.#makeHostile,
    relayed: this.#makeHostile,
    rules: this.#makeHostile,
    "wrong-role": this.#makeHostile,
    denied: this.#makeHostile,
    expensive: this.#makeHostile,
    partner: this.#makeHostile,
  };

  // ── Links ──

  #partition(node: SimulatedNode, others: readonly SimulatedNode[] | undefined, forMs: number): void {
    const isolated = others ?? [...this.#init.sim.nodes.values()].filter((each) => each !== node);
    for (const each of isolated) this.#cut(node.name, each.name, forMs, "both ways");
  }

  #cut(from: string, to: string, forMs: number, ways: "one way" | "both ways"): void {
    const { sim } = this.#init;
    const links = ways === "one way" ? [[from, to] as const] : [[from, to] as const, [to, from] as const];
    for (const [near, far] of links) sim.network.cut(near, far);
    sim.after(forMs, () => {
      for (const [near, far] of links) sim.network.heal(near, far);
    });
  }

  #slowDown({ forMs, amount }: ScenarioEvent, node: SimulatedNode, other: SimulatedNode): void {
    const { sim } = this.#init;
    const slow = { latencyMs: 20 + amount * 400, jitterMs: 50, bandwidth: 5 + amount * 100 };
    this.#setQuality(node, [other], slow);
    sim.after(forMs, () => this.#setQuality(node, [other], goodLink));
  }

  #setQuality(node: SimulatedNode, others: readonly SimulatedNode[], quality: LinkQuality): void {
    const { network } = this.#init.sim;
    for (const other of others) {
      network.setQuality(node.name, other.name, quality);
      network.setQuality(other.name, node.name, quality);
    }
  }

  #reset(node: SimulatedNode): void {
    for (const end of this.#init.sim.network.endsAt(node.name)) {
      this.bites.note("reset");
      end.breakOff("reset");
    }
  }

  /**
   * For a while some pieces of streams to the node are the last of their stream, which is reset at both ends; or of their
   * connection. The sender may have sent its end already, and believe that all arrived.
   */
  #tearStreams({ forMs, amount }: ScenarioEvent, node: SimulatedNode): void {
    const { sim } = this.#init;
    const { network } = sim;
    const random = randomOf(sim.seed, `torn streams/${node.name}/${sim.now}`);
    const tear = (sender: string, reset: StreamResetFrame) => {
      this.bites.note("torn-stream");
      for (const end of network.endsAt(sender, node.name)) {
        if (amount < connectionShare) end.breakOff("reset");
        else end.arrive(reset);
      }
    };
    for (const { name } of sim.nodes.values()) {
      if (name === node.name || network.tamperOf(name) !== undefined) continue;
      const tamper: Tamper = (frame, remote) => {
        const { type, stream, protocol, opens } = frame as StreamDataFrame;
        const isPiece = remote === node.name && type === "stream.data" && opens === "no" && isStreamProtocol(protocol);
        if (!isPiece || !random.chance(tornShare)) return [{ frame, laterMs: 0 }];
        const reset = { type: "stream.reset", stream, why: "reset" } as const;
        sim.after(0, () => tear(name, reset));
        return [{ frame: reset, laterMs: 0 }];
      };
      network.tamper(name, tamper);
      sim.after(forMs, () => {
        if (network.tamperOf(name) === tamper) network.tamper(name, undefined);
      });
    }
  }

  // ── Processes ──

  #crash(kind: "crash" | "power-cut", node: SimulatedNode, forMs: number): void {
    if (node.isRunning) this.bites.note(kind);
    if (kind === "crash") node.crash(true);
    else node.losePower();
    node.disk.moved = () => {};
    node.disk.acted = () => {};
    this.#init.sim.after(forMs, () => this.start(node));
  }

  /**
   * In half of the events at a scheduler the power is lost right after one of the next renames on its disk; where the event counts them,
   * after one of the next writes, syncs and renames.
   */
  #cutPower({ forMs, amount, atWrite }: ScenarioEvent, node: SimulatedNode): void {
    const cut = () => this.#crash("power-cut", node, forMs);
    if (atWrite === undefined && (node.role !== "scheduler" || amount >= 0.5)) return cut();
    let left = atWrite ?? 1 + Math.floor(2 * amount * renamesMax);
    const seen = atWrite === undefined ? "moved" : "acted";
    const strike = () => {
      if (node.disk[seen] === count) cut();
    };
    const count = () => {
      if (--left > 0) return;
      strike();
      throw new Error("the power is lost");
    };
    node.disk[seen] = count;
    this.#init.sim.after(renameMs, strike);
  }

  #drain(node: SimulatedNode, forMs: number): void {
    node.drain();
    this.#init.sim.after(Math.max(drainMs, forMs), () => {
      node.crash(true);
      this.start(node);
    });
  }

  #setClock(node: SimulatedNode, skewMs: number, forMs: number): void {
    node.skewMs = skewMs;
    const { oracle, sim } = this.#init;
    oracle.clockJumped(node, sim.time.now);
    sim.after(forMs, () => {
      node.skewMs = 0;
      oracle.clockJumped(node, sim.time.now);
    });
  }

  #behave(node: SimulatedNode, habit: ExecutorHabit, forMs: number): void {
    const nth = (this.#habits.get(node) ?? 0) + 1;
    this.#habits.set(node, nth);
    node.habit = habit;
    this.#init.sim.after(forMs + 10_000, () => {
      if (this.#habits.get(node) === nth) node.habit = "honest";
    });
  }

  #breakWorker({ at, forMs, amount }: ScenarioEvent, node: SimulatedNode): void {
    node.broken = {
      step: handSteps[Math.floor(amount * handSteps.length)] as (typeof handSteps)[number],
      how: at % 2 === 0 ? "fails" : "hangs",
    };
    this.#init.sim.after(forMs + 5_000, () => {
      node.broken = undefined;
    });
  }

  // ── Files ──

  #excuse(node: SimulatedNode, forMs: number): void {
    this.#init.oracle.excuse(node, this.#init.sim.time.now + forMs + excuseMs);
  }

  #tearFile({ forMs, amount }: ScenarioEvent, node: SimulatedNode): void {
    // A torn bundle excuses nothing: lists are taken up under the previous bundle.
    if (amount < 0.5) this.#excuse(node, forMs);
    node.disk.tear(amount < 0.5 ? nodePaths.crls : nodePaths.trust, amount);
    this.#init.sim.after(forMs, () => this.#lists.mend(node));
  }

  #hideFile({ forMs, amount }: ScenarioEvent, node: SimulatedNode): void {
    const path = amount < 0.3 ? nodePaths.key : amount < 0.7 ? nodePaths.crls : nodePaths.trust;
    if (path !== nodePaths.trust) this.#excuse(node, forMs);
    node.disk.setReadable(path, false);
    // The operator has it read again: a file whose content stays the same is not.
    node.reload();
    this.#init.sim.after(forMs, () => {
      node.disk.setReadable(path, true);
      this.start(node);
    });
  }

  #fillDisk({ forMs }: ScenarioEvent, node: SimulatedNode): void {
    node.disk.full = true;
    this.#excuse(node, forMs);
    this.#init.sim.after(forMs, () => {
      node.disk.full = false;
      this.#lists.putNewest(node);
      // A process that found half of a new pair has ended: the other half found no room.
      this.#init.sim.after(2 * copyAgainMs + copyMaxMs, () => this.start(node));
    });
  }

  // ── Revocation ──

  /** In half of the runs the node is connecting meanwhile, over slow links: every step of a handshake is met. */
  #revoke(node: SimulatedNode, amount: number): void {
    const { sim } = this.#init;
    this.gone.add(node.name);
    const number = this.#lists.next();
    if (amount >= 0.5) return this.#lists.publish(number);
    const others = [...sim.nodes.values()].filter((other) => other !== node);
    this.#setQuality(node, others, { latencyMs: 200 + amount * 600, jitterMs: 100, bandwidth: 1_000 });
    for (const end of sim.network.endsAt(node.name)) end.breakOff("reset");
    sim.after(400 + amount * 5_000, () => this.#lists.publish(number));
    sim.after(9_000, () => this.#setQuality(node, others, goodLink));
  }
}
