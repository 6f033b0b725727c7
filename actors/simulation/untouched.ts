/**
 * Which nodes no trouble touches: what must go well without troubles must go well for them.
 *
 * @module
 */
import type { PeerText } from "../../transport/port.ts";
import type { SimulatedNode } from "./node.ts";
import type { ScenarioEvent, TroubleKind } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** A trouble touches its nodes for so long after its end, in milliseconds: a dead connection is noticed after 20 s. */
const afterMs = 25_000;
/** After these a training may wait for the rest of the run: an update whose sender believes that it arrived is not sent again. */
const hangsMs = Number.POSITIVE_INFINITY;
const hangs: ReadonlySet<TroubleKind> = new Set([
  "executor-hang",
  "broken-worker",
  "lying-worker",
  "garbage-answers",
  "torn-stream",
  "mute",
  "dropping-gateway",
  "delaying-gateway",
]);
/** Hostile peers, old files, and a wall clock that is set stop no training. */
const harmless: ReadonlySet<TroubleKind> = new Set([
  "clock-step",
  "stale-crl",
  "silent-disk",
  "late-crl",
  "reload",
  "half-open",
  "flood",
  "stranger",
  "expired",
  "self-signed",
  "stolen-certificate",
  "old-tls",
  "malformed",
  "intruder",
  "nonsense",
  "flooding-member",
  "second-certificate",
  "crowd",
  "forger",
  "wrong-role",
  "denied",
  "rules",
  "expensive",
  "partner",
]);

/** Knows until when troubles touch which nodes. */
export class Untouched {
  readonly #sim: Simulation;
  readonly #touched = new Map<string, number>();

  constructor(sim: Simulation) {
    this.#sim = sim;
  }

  /** A trouble begins. */
  struck({ kind, target, other, forMs }: ScenarioEvent): void {
    if (harmless.has(kind)) return;
    const until = this.#sim.now + forMs + (hangs.has(kind) ? hangsMs : afterMs);
    const all = kind === "renewal" || kind === "rekey" || kind === "revoked-issuer";
    for (const name of all ? this.#sim.nodes.keys() : [target, other ?? target]) {
      this.#touched.set(name, Math.max(until, this.#touched.get(name) ?? 0));
    }
  }

  /** Whether all are there, connected with the scheduler, and no trouble touches them or a gateway. */
  isWhole(scheduler: SimulatedNode, peers: readonly PeerText[]): boolean {
    const here = new Set(scheduler.sessions.flatMap((session) => session.peers()));
    const members = peers.map((peer) => here.has(peer) ? this.nodeOf(peer) : undefined);
    const gateways = [...this.#sim.nodes.values()].filter(({ role }) => role === "gateway");
    return [scheduler, ...members, ...gateways].every((node) =>
      node !== undefined && node.isRunning && (this.#touched.get(node.name) ?? 0) < this.#sim.now
    );
  }

  /** The node that has this key now. */
  nodeOf(peer: PeerText): SimulatedNode | undefined {
    for (const node of this.#sim.nodes.values()) if (node.sessions.some(({ self }) => self === peer)) return node;
    return undefined;
  }
}
