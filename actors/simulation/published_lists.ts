/**
 * How revocation lists reach the disks of nodes: at once, late, torn, or an old one in place of a newer.
 *
 * @module
 */
import * as Result from "effect/Result";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import type { Bites } from "./bites.ts";
import type { SimulatedNode } from "./node.ts";
import { nodePaths } from "./node_config.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** While a disk is full its files are put back this often, in milliseconds. */
const mendAgainMs = 1_000;

/** What lists are published with. */
export interface PublishedListsInit {
  readonly sim: Simulation;
  readonly oracle: Oracle;
  readonly bites: Bites;
  /** Lists by number, from 1. */
  readonly crls: readonly string[];
  readonly start: (node: SimulatedNode) => void;
}

/** Lists of a run. */
export class PublishedLists {
  readonly #init: PublishedListsInit;
  /** Numbers of the lists on each disk, as far as they are whole. */
  readonly #onDisk = new Map<string, number>();
  readonly #late = new Map<string, number>();
  #newest = 1;

  constructor(init: PublishedListsInit) {
    this.#init = init;
  }

  /** What lies on a node's disk when a process begins: the number of its lists, and of those in its state directory. */
  at(node: SimulatedNode): { readonly number: number; readonly kept: number } {
    return { number: this.#onDisk.get(node.name) ?? 1, kept: this.#keptAt(node) };
  }

  /** The lower of the numbers that both CAs above all nodes have in a node's state directory. */
  #keptAt(node: SimulatedNode): number {
    const { root, intermediate } = this.#init.sim.authority;
    const marks = Object.values(node.marks);
    const numbers = [root, intermediate].map(({ der }) => {
      const key = markKey(Result.getOrThrow(parseCertificate(der)));
      return Number(marks.find((mark) => mark.key === key)?.number ?? 0);
    });
    return Math.min(...numbers);
  }

  /** The next list becomes the newest; revocations are numbered in the order of their events. */
  next(): number {
    this.#newest = Math.min(this.#newest + 1, this.#init.crls.length);
    return this.#newest;
  }

  /** Brings a list to all disks; late to those that {@linkcode delay} named. */
  publish(number: number): void {
    const { sim, bites } = this.#init;
    for (const node of sim.nodes.values()) {
      const waitMs = Math.max(0, (this.#late.get(node.name) ?? 0) - sim.time.now);
      if (waitMs === 0) this.#put(node, number);
      else {
        bites.note("late-crl");
        sim.after(waitMs, () => this.#put(node, number));
      }
    }
  }

  /** Lists that are published within this time reach the node only then. */
  delay(node: SimulatedNode, forMs: number): void {
    this.#late.set(node.name, this.#init.sim.time.now + forMs);
  }

  /** An attacker puts the oldest list in place. */
  putOldest(node: SimulatedNode): void {
    node.disk.put(nodePaths.crls, this.#init.crls[0] as string, 0o644);
    this.#onDisk.set(node.name, 1);
    this.#init.oracle.listsCame(node, 1, this.#init.sim.time.now, node.disk.silent);
  }

  putNewest(node: SimulatedNode): void {
    this.#put(node, this.#newest);
  }

  #put(node: SimulatedNode, number: number): void {
    const { sim, oracle, bites, crls } = this.#init;
    if (!node.disk.put(nodePaths.crls, crls[number - 1] as string, 0o644)) return bites.note("disk-full");
    if (node.disk.silent) bites.note("silent-disk");
    this.#onDisk.set(node.name, number);
    if (node.isRunning) oracle.listsCame(node, number, sim.time.now, node.disk.silent);
  }

  /** Puts the files back, and starts the node if it is down. */
  mend(node: SimulatedNode): void {
    const { sim, start } = this.#init;
    if (!node.disk.put(nodePaths.trust, sim.authority.trustPem, 0o644)) {
      return sim.after(mendAgainMs, () => this.mend(node));
    }
    this.putNewest(node);
    start(node);
  }
}
