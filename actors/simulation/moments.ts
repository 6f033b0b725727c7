/**
 * Moments of a node that trouble is aimed at: a message that arrives, or something that the node reports.
 *
 * Rare bugs live between two steps of a protocol. An event at a random time hardly ever falls there; an aimed one does.
 *
 * @module
 */
import { gossipProtocol } from "../../transport/simulated/wire.ts";
import type { Report } from "../runtime/ports.ts";
import type { SimulatedNode } from "./node.ts";
import type { SimulationWatch } from "./simulation.ts";

/** Bytes that arrive at the node, by their protocol. */
const protocols = {
  "/hypha-api/0.0.1": "api",
  "/hypha-progress/0.0.1": "progress",
  "/hypha-training/1": "progress",
  "/hypha-tensor-stream/push": "push",
  "/hypha-tensor-stream/push/2": "push",
  "/hypha-tensor-stream/pull": "pull",
  "/hypha-tensor-stream/pull/2": "pull",
  [gossipProtocol]: "gossip",
} as const;
export const byteMoments = ["api", "progress", "push", "pull", "gossip"] as const;
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
export const moments = [...byteMoments, ...reportMoments] as const;
/** Events that a scheduler reports, which only seeds of the third family aim at. */
export const trainingMoments = ["round.finished"] as const;
export const allMoments = [...moments, ...trainingMoments] as const;
export type Moment = (typeof allMoments)[number];

/** The moment that bytes of a protocol make; undefined where none. */
export function byteMomentOf(protocol: string): string | undefined {
  return (protocols as Readonly<Record<string, string>>)[protocol];
}

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

  bytes(node: SimulatedNode, _: unknown, protocol: string): void {
    const moment = this.#aims.size > 0 ? byteMomentOf(protocol) : undefined;
    if (moment !== undefined) this.#came(node, moment);
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
