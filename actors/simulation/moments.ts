/**
 * Moments of a node that trouble is aimed at: a message that arrives, or something that the node reports.
 *
 * Rare bugs live between two steps of a protocol. An event at a random time hardly ever falls there; an aimed one does.
 *
 * @module
 */
import type { Report } from "../runtime/ports.ts";
import type { SimulatedNode } from "./node.ts";
import type { SimulationWatch } from "./simulation.ts";

/** Messages that arrive at the node. */
export const frameMoments = ["request", "response", "stream.open", "stream.data", "stream.end", "gossip"] as const;
/** Events that the node reports. */
export const reportMoments = [
  "node.ready",
  "offer.made",
  "lease.granted",
  "job.dispatched",
  "job.ended",
  "update.received",
  "trust.loaded",
  "peer.closed",
  "gateway.unreachable",
] as const;
export const moments = [...frameMoments, ...reportMoments] as const;
export type Moment = (typeof moments)[number];

interface Aim {
  readonly node: SimulatedNode;
  readonly when: string;
  strike: (() => void) | undefined;
}

/** Calls back at moments. */
export class MomentWatch implements SimulationWatch {
  readonly #aims = new Set<Aim>();

  /** Calls `strike` once, at the next such moment of the node. Returns how to strike at once. */
  aim(node: SimulatedNode, when: Moment, strike: () => void): () => void {
    const aim: Aim = { node, when, strike };
    this.#aims.add(aim);
    return () => this.#strike(aim);
  }

  frame(node: SimulatedNode, _: unknown, { type }: { readonly type: string }): void {
    if (this.#aims.size > 0) this.#came(node, type);
  }

  report(node: SimulatedNode, { event }: Report): void {
    if (this.#aims.size > 0) this.#came(node, event);
  }

  #came(node: SimulatedNode, moment: string): void {
    for (const aim of this.#aims) if (aim.node === node && aim.when === moment) this.#strike(aim);
  }

  #strike(aim: Aim): void {
    const { strike } = aim;
    aim.strike = undefined;
    this.#aims.delete(aim);
    strike?.();
  }
}
