/**
 * Checks connections: whom a node hears and keeps, how long a handshake takes, how often a gateway is dialled.
 *
 * @module
 */
import type { TransportFact } from "../../transport/port.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import type { GatedLink } from "../../transport/simulated/links.ts";
import type { CheckInit, Findings } from "./findings.ts";
import { keyOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** After its handshake a connection has this long for the multiplexer and for its close, in milliseconds. */
const afterHandshakeMs = 12_000;
/** A refused or closed connection is gone within this, in milliseconds. */
const closeMs = 1_000;
/** Dials of one gateway address in half a minute; backoff leaves fewer. */
const dialsMax = 14;
const dialsWithinMs = 30_000;
/** Connections of one node, its exchanges and streams (a member may open 256 of each protocol), and tasks for each node. */
const linksMax = 400;
const exchangesMax = 1_200;
const tasksPerNodeMax = 3_000;
/** Refusal codes that judge the peer's certificate. */
const certificateCodes: ReadonlySet<string> = new Set([
  "certificate-revoked",
  "certificate-expired",
  "certificate-not-yet-valid",
  "unknown-issuer",
  "bad-signature",
  "self-signed",
  "revocation-unknown",
  "crl-expired",
  "crl-rollback",
  "malformed-certificate",
]);

/** Checks the connections of all nodes. */
export class ConnectionChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #oracle: Oracle;
  readonly #dials = new Map<string, number[]>();
  readonly #endedSince = new Map<GatedLink, number>();

  constructor({ sim, findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#oracle = oracle;
  }

  /** A message above the gate was delivered. */
  heard(node: SimulatedNode, link: GatedLink): void {
    const standing = this.#oracle.standingOf(link.chain[0]);
    const why = this.#oracle.mustRefuse(node, standing, this.#sim.time.now);
    if (why !== undefined) {
      const name = standing?.credential.name ?? "an unknown peer";
      this.#findings.violate("verified-only", node.name, `heard ${name}: ${why}`);
    }
  }

  /** A dial of a gateway failed. */
  dialled(node: SimulatedNode, address: string): void {
    const key = keyOf(node, address);
    const now = this.#sim.time.now;
    const recent = [...this.#dials.get(key) ?? [], now].filter((at) => now - at < dialsWithinMs);
    this.#dials.set(key, recent);
    if (recent.length > dialsMax) {
      const detail = `dialled ${address} ${recent.length} times in ${dialsWithinMs / 1_000} s`;
      this.#findings.violate("redial-paced", node.name, detail);
    }
  }

  /** A node that takes another key joins anew at once: its pace counts from there. */
  forgetDials(node: SimulatedNode): void {
    const prefix = keyOf(node, "");
    for (const key of this.#dials.keys()) if (key.startsWith(prefix)) this.#dials.delete(key);
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    if (fact.type === "peer.closed" && fact.reason.type === "trust.changed") {
      this.#dropped(node, fact.peer, fact.reason.refusal.code);
    }
    if (fact.type === "peer.refused" && fact.peer !== undefined && certificateCodes.has(fact.refusal.code)) {
      this.#dropped(node, fact.peer.id, fact.refusal.code);
    }
  }

  #dropped(node: SimulatedNode, peer: Peer, code: string): void {
    const dropped = [...this.#sim.nodes.values()].find((other) => other.peer === peer);
    if (dropped === undefined) return;
    // After a renewal, connections that were made with the previous certificate go on.
    const shown = dropped.host?.session === undefined ? [] : dropped.credentials;
    const now = this.#sim.time.now;
    const mayRefuse = (der: Uint8Array) => this.#oracle.mayRefuse(node, this.#oracle.standingOf(der), now);
    if (shown.length > 0 && !shown.some(({ der }) => mayRefuse(der))) {
      this.#findings.violate("no-bystander", node.name, `refused ${dropped.name} with ${code}`);
    }
  }

  /** Looks at every connection of a node. */
  look(node: SimulatedNode): void {
    const now = this.#sim.time.now;
    for (const { links, open: { exchanges, streams } } of node.sessions) {
      for (const link of links.all()) this.#checkLink(node, link, now);
      if (links.size > linksMax || exchanges + streams > exchangesMax) {
        const detail = `${links.size} connections, ${exchanges + streams} exchanges and streams`;
        this.#findings.violate("bounded", node.name, detail);
      }
    }
  }

  /** Looks at what all nodes share: timers. */
  lookAtTimers(): void {
    if (this.#sim.time.size > tasksPerNodeMax * (this.#sim.nodes.size + 4)) {
      this.#findings.violate("bounded", "all", `${this.#sim.time.size} timers`);
    }
  }

  #checkLink(node: SimulatedNode, link: GatedLink, now: number): void {
    const { phase } = link.gate;
    if (phase === "established") {
      const standing = this.#oracle.standingOf(link.chain[0]);
      const why = this.#oracle.mustRefuse(node, standing, now);
      if (why === undefined) return;
      const name = standing?.credential.name ?? "an unknown peer";
      this.#findings.violate("revoked-is-revoked", node.name, `${name} is established: ${why}`);
    } else if (phase === "refused" || phase === "closed") {
      const since = this.#endedSince.get(link) ?? now;
      this.#endedSince.set(link, since);
      if (now - since > closeMs) {
        this.#findings.violate("refused-is-closed", node.name, `a ${phase} connection is open`);
      }
    } else if (now - link.bornAt > node.handshakeTimeoutMs + afterHandshakeMs) {
      this.#findings.violate("handshake-deadline", node.name, `${phase} since ${Math.round(now - link.bornAt)} ms`);
    }
  }
}
