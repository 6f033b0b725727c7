/**
 * Checks that nodes are linked with their gateways when a run ends.
 *
 * Nodes renew their certificates in calm times too: a link ends where its node or gateway gets another key, and where the certificate ends that it
 * was made with. Its node dials again at once, or after a quarter of a second: a link that ended so just before the look may be on its way back.
 *
 * @module
 */
import type { TransportFact } from "../../../transport/port.ts";
import type { Report } from "../../runtime/ports.ts";
import { type CheckInit, contextOf, type Findings } from "../findings.ts";
import type { SimulatedNode } from "../node.ts";
import type { Simulation } from "../simulation.ts";
import type { Member } from "./member.ts";

/** A link that ended by a renewal, or whose node or gateway began, is there after this, in milliseconds. */
export const linkMs = 2_000;

/** Reports of a node whose links end by another key: at once, or when the previous key's work is over. */
const endings: ReadonlySet<string> = new Set(["node.rekeying", "previous_identity.closed"]);

/** What is looked at of a member. */
export type CheckedMember = Pick<Member, "name" | "node" | "isJoining">;

/** Checks the links of one run. */
export class LinkChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #members: ReadonlyMap<string, CheckedMember>;
  /** When a renewal last ended links of a node. */
  readonly #endedAt = new Map<SimulatedNode, number>();

  constructor({ sim, findings, members }: CheckInit & { readonly members: ReadonlyMap<string, CheckedMember> }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#members = members;
  }

  report(node: SimulatedNode, { event }: Pick<Report, "event">): void {
    if (endings.has(event)) this.#endedAt.set(node, this.#sim.time.now);
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    if (fact.type === "peer.closed" && fact.reason.type === "expired") this.#endedAt.set(node, this.#sim.time.now);
  }

  /** Nodes that were not cut off run, and are linked with their gateways. */
  conclude(gone: ReadonlySet<string>): void {
    const here = [...this.#members.values()].filter(({ name }) => !gone.has(name));
    const gateways = here.filter(({ node }) => node.role === "gateway");
    for (const { node, name, isJoining } of here) {
      if (!node.isRunning) {
        const how = isJoining ? "it is still joining" : `its process ended: ${node.exit}`;
        this.#findings.violate("live-network", name, how);
        continue;
      }
      const { linked = [] } = contextOf<{ readonly linked?: readonly string[] }>(node.actor) ?? {};
      const missing = gateways.find(({ node: gateway }) =>
        node.options.gateways.includes(gateway.address) && !linked.includes(gateway.address) &&
        !this.#isChanging(node) && !this.#isChanging(gateway)
      );
      if (missing !== undefined) this.#findings.violate("live-network", name, `is not linked with ${missing.name}`);
    }
  }

  #isChanging(node: SimulatedNode): boolean {
    return this.#sim.time.now - Math.max(node.startedAt, this.#endedAt.get(node) ?? -Infinity) < linkMs;
  }
}
