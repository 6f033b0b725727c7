/**
 * Checks that revocation lists travel: ten seconds after the troubles are over, two linked nodes have the same lists of their own domain.
 *
 * Not held to it: a node whose clock is wrong, for which a list may lie in the future, and one whose disk is in trouble.
 *
 * @module
 */
import { compareNumbers } from "../../pki/crl.ts";
import { markKey, ownDomain } from "../../pki/crl_marks.ts";
import { heldCrls } from "../../pki/held_crls.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { type CheckInit, contextOf, type Findings } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** Compares the lists of linked nodes. */
export class ListChecks {
  readonly #sim: Simulation;
  readonly #oracle: Oracle;
  readonly #findings: Findings;
  /** Links that were there at every look, since the quiet began. */
  #links: ReadonlySet<string> | undefined;

  constructor({ sim, oracle, findings }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#oracle = oracle;
    this.#findings = findings;
  }

  /** The troubles are over. */
  begin(): void {
    this.#links = new Set(this.#linked().map(([a, b]) => `${a.name} ${b.name}`));
  }

  look(): void {
    if (this.#links === undefined) return;
    const now = new Set(this.#linked().map(([a, b]) => `${a.name} ${b.name}`));
    this.#links = new Set([...this.#links].filter((link) => now.has(link)));
  }

  conclude(): void {
    for (const [node, peer] of this.#linked()) {
      if (this.#links?.has(`${node.name} ${peer.name}`) !== true) continue;
      const own = listsOf(node);
      for (const [place, number] of listsOf(peer)) {
        const held = own.get(place);
        if (held === undefined || compareNumbers(held, number) >= 0) continue;
        const detail = `it has list ${held} of ${place}, its peer ${peer.name} has ${number}`;
        this.#findings.violate("lists-travel", node.name, detail);
      }
    }
  }

  #linked(): readonly (readonly [SimulatedNode, SimulatedNode])[] {
    const nodes = [...this.#sim.nodes.values()].filter((node) =>
      node.isRunning && node.skewMs === 0 && !node.disk.full && !this.#oracle.hasJumped(node) &&
      !this.#oracle.isExcused(node, this.#sim.time.now)
    );
    return nodes.flatMap((node) =>
      nodes.filter((peer) => peer !== node && node.peers.includes(peer.peer) && peer.peers.includes(node.peer))
        .map((peer) => [node, peer] as const)
    );
  }
}

/** Numbers of the complete lists in force that travel, those of anchors, by key and scope. */
function listsOf(node: SimulatedNode): ReadonlyMap<string, string> {
  const snapshot = contextOf<{ readonly snapshot: TrustSnapshot | undefined }>(node.actor)?.snapshot;
  if (snapshot === undefined) return new Map();
  const anchors = new Set(snapshot.anchors.map(markKey));
  return new Map(
    heldCrls(snapshot).held
      .filter(({ domain, kind, key }) => domain === ownDomain && kind === "complete" && anchors.has(key))
      .map(({ key, scope, number }) => [`${key.slice(0, 16)} ${scope}`, number]),
  );
}
