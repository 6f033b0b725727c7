/**
 * Checks connections: whom a node hears and keeps, how long a handshake takes, how often a gateway is dialled.
 *
 * @module
 */
import type { TransportFact } from "../../transport/port.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import type { ConnectionRow } from "../../transport/core/connection_table.ts";
import { SimulatedConnection } from "../../transport/simulated/connection.ts";
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
const connectionsMax = 400;
const openMax = 1_200;
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
  readonly #endedSince = new WeakMap<ConnectionRow["connection"], number>();

  constructor({ sim, findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#oracle = oracle;
  }

  /** Bytes above the gate were delivered. */
  received(node: SimulatedNode, { chain }: SimulatedConnection): void {
    const standing = this.#oracle.standingOf(chain[0]);
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

  /** A node that takes another key dials all gateways at once, and one that has reached a gateway begins with short intervals: its pace counts from there. */
  forgetDials(node: SimulatedNode, address = ""): void {
    const prefix = keyOf(node, address);
    for (const key of this.#dials.keys()) if (key.startsWith(prefix)) this.#dials.delete(key);
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    if (fact.type === "peer.established") {
      const reached = this.#nodeOf(fact.peer);
      if (reached !== undefined) this.forgetDials(node, reached.address);
    }
    if (fact.type === "peer.closed" && fact.reason.type === "trust.changed") {
      this.#dropped(node, fact.peer, fact.reason.refusal.code);
    }
    if (fact.type === "peer.refused" && fact.peer !== undefined && certificateCodes.has(fact.refusal.code)) {
      this.#dropped(node, fact.peer.id, fact.refusal.code);
    }
  }

  #nodeOf(peer: Peer): SimulatedNode | undefined {
    return [...this.#sim.nodes.values()].find((node) => node.peer === peer);
  }

  #dropped(node: SimulatedNode, peer: Peer, code: string): void {
    const dropped = this.#nodeOf(peer);
    if (dropped === undefined) return;
    // After a renewal, connections that were made with the previous certificate go on.
    const shown = dropped.sessions.length === 0 ? [] : dropped.credentials;
    const now = this.#sim.time.now;
    const mayRefuse = (der: Uint8Array) => this.#oracle.mayRefuse(node, this.#oracle.standingOf(der), now);
    if (shown.length > 0 && !shown.some(({ der }) => mayRefuse(der))) {
      this.#findings.violate("no-bystander", node.name, `refused ${dropped.name} with ${code}`);
    }
  }

  /** Looks at every connection of a node. */
  look(node: SimulatedNode): void {
    const now = this.#sim.time.now;
    for (const session of node.sessions) {
      const rows = [...session.connections()];
      for (const row of rows) this.#checkConnection(node, row, now);
      const { exchanges, streams } = session.open;
      if (rows.length > connectionsMax || exchanges + streams > openMax) {
        const detail = `${rows.length} connections, ${exchanges + streams} exchanges and streams`;
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

  #checkConnection(node: SimulatedNode, { connection, gate: { phase } }: ConnectionRow, now: number): void {
    if (!(connection instanceof SimulatedConnection)) return;
    if (phase === "established") {
      const standing = this.#oracle.standingOf(connection.chain[0]);
      const why = this.#oracle.mustRefuse(node, standing, now);
      if (why === undefined) return;
      const name = standing?.credential.name ?? "an unknown peer";
      this.#findings.violate("revoked-is-revoked", node.name, `${name} is established: ${why}`);
    } else if (phase === "refused" || phase === "closed") {
      const since = this.#endedSince.get(connection) ?? now;
      this.#endedSince.set(connection, since);
      if (now - since > closeMs) {
        this.#findings.violate("refused-is-closed", node.name, `a ${phase} connection is open`);
      }
    } else if (now - connection.createdAt > node.handshakeTimeoutMs + afterHandshakeMs) {
      this.#findings.violate(
        "handshake-deadline",
        node.name,
        `${phase} since ${Math.round(now - connection.createdAt)} ms`,
      );
    }
  }
}
