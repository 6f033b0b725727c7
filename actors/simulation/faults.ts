/**
 * How each kind of trouble is done to a running simulation.
 *
 * @module
 */
import * as Result from "effect/Result";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import type { Authority, Credential } from "./authority.ts";
import { goodLink, type LinkQuality } from "../../transport/simulated/network.ts";
import type { Checker } from "./checker.ts";
import { handSteps } from "./executor.ts";
import { Hostile } from "./hostile.ts";
import { nodePaths, type SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { FaultKind, ScenarioEvent } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** What trouble is made with. */
export interface TroubleInit {
  readonly sim: Simulation;
  readonly oracle: Oracle;
  readonly checker: Checker;
  /** Certificates that were made for it before the run began, by name. */
  readonly credentials: ReadonlyMap<string, Credential>;
  /** Lists by number, from 1. */
  readonly crls: readonly string[];
  readonly keyOwner: (credential: Credential) => boolean;
}

/** A node that was told to stop is started again after this, at least, in milliseconds. */
const drainMs = 12_000;
/** New certificates reach one node after another, so long apart at least; key and certificate, at most. In milliseconds. */
const waveMinMs = 150;
const copyMaxMs = 2_500;

/** Makes trouble, and counts it. */
export class Trouble {
  readonly injected = new Map<FaultKind | "revocation", number>();
  readonly #init: TroubleInit;
  /** Numbers of the lists on each disk, as far as they are whole. */
  readonly #onDisk = new Map<string, number>();
  /** The newest list that was published. */
  #published = 1;
  readonly #late = new Map<string, number>();
  /** Until when a new pair is on its way to a node's disk. */
  readonly #copying = new Map<string, number>();
  readonly gone = new Set<string>();
  readonly #hostile: Hostile;

  constructor(init: TroubleInit) {
    this.#init = init;
    const { sim, checker, credentials } = init;
    this.#hostile = new Hostile({ sim, checker, credentials, start: (node) => this.start(node) });
  }

  /** A node's process begins with what lies on its disk. */
  start(node: SimulatedNode): void {
    if (node.isRunning) return;
    const { oracle, checker, sim } = this.#init;
    checker.checkMarks(node);
    oracle.processBegan(node, { number: this.#onDisk.get(node.name) ?? 1, kept: this.#kept(node) }, sim.time.now);
    node.start();
  }

  /** The number of the lists that both CAs above all nodes have on a node's disk beside its files. */
  #kept(node: SimulatedNode): number {
    const { root, intermediate } = this.#init.sim.authority;
    const marks = Object.values(node.marks);
    const numbers = [root, intermediate].map(({ der }) => {
      const key = markKey(Result.getOrThrow(parseCertificate(der)));
      return Number(marks.find((mark) => mark.key === key)?.number ?? 0);
    });
    return Math.min(...numbers);
  }

  inject(event: ScenarioEvent): void {
    const { sim } = this.#init;
    const node = sim.nodes.get(event.target);
    if (node === undefined) return;
    const other = event.other === undefined ? undefined : sim.nodes.get(event.other);
    sim.note("fault", node.name, `${event.kind} ${other?.name ?? ""} for ${event.forMs} ms`);
    this.injected.set(event.kind, (this.injected.get(event.kind) ?? 0) + 1);
    this.#make(event, node, other ?? node);
  }

  #make(event: ScenarioEvent, node: SimulatedNode, other: SimulatedNode): void {
    const { sim } = this.#init;
    const { network } = sim;
    const { kind, forMs, amount } = event;
    switch (kind) {
      case "revocation":
        return this.#revoke(node, amount);
      case "revoked-issuer":
        return this.#publish(this.#nextNumber());
      case "partition": {
        const isolated = amount < 0.5 ? [other] : [...sim.nodes.values()].filter((each) => each !== node);
        for (const each of isolated) this.#cut(node.name, each.name, forMs, true);
        return;
      }
      case "one-way":
        return this.#cut(node.name, other.name, forMs, false);
      case "slow-link": {
        const slow = { latencyMs: 20 + amount * 400, jitterMs: 50, bandwidth: 5 + amount * 100 };
        for (const [from, to] of [[node.name, other.name], [other.name, node.name]] as const) {
          network.setQuality(from, to, slow);
          sim.after(forMs, () => network.setQuality(from, to, goodLink));
        }
        return;
      }
      case "reset":
        for (const end of network.endsAt(node.name)) end.breakOff("reset");
        return;
      case "crash":
      case "power-cut":
        node.crash(kind === "crash");
        return sim.after(forMs, () => this.start(node));
      case "clock-jump":
        node.skewMs = Math.round((amount - 0.5) * 1_200_000);
        this.#init.oracle.clockJumped(node);
        return sim.after(forMs, () => {
          node.skewMs = 0;
        });
      default:
        return this.#disturb(event, node);
    }
  }

  #disturb(event: ScenarioEvent, node: SimulatedNode): void {
    const { kind, forMs, amount } = event;
    const { sim, oracle } = this.#init;
    const until = sim.time.now + forMs + 13_000;
    switch (kind) {
      case "torn-file":
        // A torn bundle excuses nobody: lists are taken up beside what it said before.
        if (amount < 0.5) oracle.excuse(node, until);
        node.disk.tear(amount < 0.5 ? nodePaths.crls : nodePaths.trust, amount);
        return sim.after(forMs, () => this.#mend(node));
      case "unreadable-file": {
        const path = amount < 0.3 ? nodePaths.key : amount < 0.7 ? nodePaths.crls : nodePaths.trust;
        if (path !== nodePaths.trust) oracle.excuse(node, until);
        node.disk.setReadable(path, false);
        return sim.after(forMs, () => {
          node.disk.setReadable(path, true);
          this.start(node);
        });
      }
      case "stale-crl":
        // An attacker puts an old list in place; the new one comes back later.
        node.disk.put(nodePaths.crls, this.#init.crls[0] as string, 0o644);
        this.#onDisk.set(node.name, 1);
        oracle.listsCame(node, 1, sim.time.now, node.disk.silent);
        return sim.after(forMs, () => this.#putLists(node, this.#published));
      case "silent-disk":
        node.disk.silent = true;
        return sim.after(forMs, () => {
          node.disk.silent = false;
        });
      case "disk-full":
        node.disk.full = true;
        oracle.excuse(node, until);
        return sim.after(forMs, () => {
          node.disk.full = false;
          this.#putLists(node, this.#published);
        });
      case "late-crl":
        this.#late.set(node.name, sim.time.now + forMs);
        return;
      case "executor-crash":
      case "executor-hang":
      case "garbage-update":
        node.habit = kind === "executor-crash" ? "crashing" : kind === "executor-hang" ? "hanging" : "garbage";
        return sim.after(forMs + 10_000, () => {
          node.habit = "honest";
        });
      case "rotation":
        return this.#rotate(node, forMs);
      case "broken-worker":
        node.broken = {
          step: handSteps[Math.floor(amount * handSteps.length)] as (typeof handSteps)[number],
          how: event.at % 2 === 0 ? "fails" : "hangs",
        };
        return sim.after(forMs + 5_000, () => {
          node.broken = undefined;
        });
      case "renewal":
      case "rekey":
        return this.#renewAll(kind, node, { forMs, amount });
      case "reload":
        return node.reload();
      case "drain":
        node.drain();
        return sim.after(Math.max(drainMs, forMs), () => {
          node.crash(true);
          this.start(node);
        });
      default:
        return this.#hostile.make(event, node);
    }
  }

  #cut(from: string, to: string, forMs: number, bothWays: boolean): void {
    const { network } = this.#init.sim;
    network.cut(from, to);
    if (bothWays) network.cut(to, from);
    this.#init.sim.after(forMs, () => {
      network.heal(from, to);
      if (bothWays) network.heal(to, from);
    });
  }

  // ── Lists ──

  /** Revocations were numbered in the order of their events. */
  #nextNumber(): number {
    return Math.min(this.#published + 1, this.#init.crls.length);
  }

  /** Half of them while the node is connecting, over links on which that takes long: no step of a handshake is spared. */
  #revoke(node: SimulatedNode, amount: number): void {
    const { sim } = this.#init;
    this.gone.add(node.name);
    const number = this.#nextNumber();
    this.#published = number;
    if (amount >= 0.5) return this.#publish(number);
    const slow = { latencyMs: 200 + amount * 600, jitterMs: 100, bandwidth: 1_000 };
    const others = [...sim.nodes.values()].filter((other) => other !== node);
    const setAll = (quality: LinkQuality) => {
      for (const other of others) {
        sim.network.setQuality(node.name, other.name, quality);
        sim.network.setQuality(other.name, node.name, quality);
      }
    };
    setAll(slow);
    for (const end of sim.network.endsAt(node.name)) end.breakOff("reset");
    sim.after(400 + amount * 5_000, () => this.#publish(number));
    sim.after(9_000, () => setAll(goodLink));
  }

  #publish(number: number): void {
    const { sim } = this.#init;
    this.#published = Math.max(this.#published, number);
    for (const node of sim.nodes.values()) {
      const waitMs = Math.max(0, (this.#late.get(node.name) ?? 0) - sim.time.now);
      if (waitMs === 0) this.#putLists(node, number);
      else sim.after(waitMs, () => this.#putLists(node, number));
    }
  }

  /** The files are put back, and the node started if it is down; while the disk is full, once a second. */
  #mend(node: SimulatedNode): void {
    const { sim } = this.#init;
    if (!node.disk.put(nodePaths.trust, sim.authority.trustPem, 0o644)) return sim.after(1_000, () => this.#mend(node));
    this.#putLists(node, this.#published);
    this.start(node);
  }

  #putLists(node: SimulatedNode, number: number): void {
    const { sim, oracle, crls } = this.#init;
    if (!node.disk.put(nodePaths.crls, crls[number - 1] as string, 0o644)) return;
    this.#onDisk.set(node.name, number);
    if (node.isRunning) oracle.listsCame(node, number, sim.time.now, node.disk.silent);
  }

  // ── Certificates ──

  /** A new certificate with a new key, and a restart, as an operator rotates. */
  #rotate(node: SimulatedNode, forMs: number): void {
    const next = this.#init.credentials.get(`${node.name}/rotated`);
    if (next === undefined || this.gone.has(node.name)) return;
    node.drain();
    this.#init.sim.after(Math.max(drainMs, forMs), () =>
      this.#inTurn(node, () => {
        node.crash(true);
        node.replaceCredential(next);
        this.start(node);
      }));
  }

  /** A node's operator puts one pair in place after the other: of two at once the key of one and the certificate of the other stay. */
  #inTurn(node: SimulatedNode, put: () => void): void {
    const { sim } = this.#init;
    const busyMs = (this.#copying.get(node.name) ?? 0) - sim.time.now;
    if (busyMs > 0) return void sim.after(busyMs, () => this.#inTurn(node, put));
    this.#copying.set(node.name, sim.time.now + copyMaxMs);
    put();
  }

  /** Every node in turn gets a new certificate, with the same key or with another, and takes it up as it runs. */
  #renewAll(
    kind: "renewal" | "rekey",
    first: SimulatedNode,
    { forMs, amount }: Pick<ScenarioEvent, "forMs" | "amount">,
  ): void {
    const { sim, credentials } = this.#init;
    const nodes = [...sim.nodes.values()];
    const start = nodes.indexOf(first);
    for (let nth = 0; nth < nodes.length; nth++) {
      const node = nodes[(start + nth) % nodes.length] as SimulatedNode;
      sim.after(nth * Math.max(waveMinMs, forMs / nodes.length), () =>
        this.#inTurn(node, () => {
          const next = credentials.get(`${node.name}/${kind}`);
          if (next === undefined || this.gone.has(node.name)) return;
          node.replaceCredential(next, amount * copyMaxMs);
          // One that starts between the two files finds a pair that does not fit, and is started again by its operator.
          sim.after(copyMaxMs, () => this.start(node));
        }));
    }
  }
}

/** Certificates that kinds of trouble need. */
export async function troubleCredentials(
  authority: Authority,
  needs: {
    readonly kinds: ReadonlySet<string>;
    readonly rotating: readonly { name: string; role: string }[];
    /** All nodes, with their keys. */
    readonly nodes: readonly { readonly name: string; readonly role: string; readonly keyPem: string }[];
  },
  period: { readonly notBefore: Date; readonly notAfter: Date },
): Promise<ReadonlyMap<string, Credential>> {
  const made = new Map<string, Credential>();
  const { kinds, rotating, nodes } = needs;
  const add = async (name: string, wanted: boolean, request: Parameters<Authority["node"]>[1]) => {
    if (wanted) made.set(name, await authority.node(name, request));
  };
  await add("stranger", kinds.has("stranger"), { ...period, role: "worker", issuer: "stranger" });
  await add("self-signed", kinds.has("self-signed"), { ...period, role: "worker", issuer: "itself" });
  const past = { notBefore: new Date(period.notBefore.getTime() - 2_000_000), notAfter: period.notBefore };
  await add("expired", kinds.has("expired"), { ...past, role: "worker" });
  await add("old-tls", kinds.has("old-tls") || kinds.has("malformed"), { ...period, role: "worker" });
  await add("stolen-certificate", kinds.has("stolen-certificate"), { ...period, role: "gateway" });
  const insiders = ["intruder", "nonsense", "flooding-member"];
  await add("insider", insiders.some((kind) => kinds.has(kind)), { ...period, role: "scheduler" });
  for (const { name, role, keyPem } of nodes) {
    if (kinds.has("renewal")) {
      made.set(`${name}/renewal`, await authority.node(name, { ...period, role, edition: 3, keyPem }));
    }
    if (kinds.has("rekey")) made.set(`${name}/rekey`, await authority.node(name, { ...period, role, edition: 4 }));
  }
  for (const { name, role } of rotating) {
    made.set(`${name}/rotated`, await authority.node(name, { ...period, role, edition: 2 }));
  }
  return made;
}
