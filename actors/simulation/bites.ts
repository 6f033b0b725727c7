/**
 * Whether a trouble bit: whether its direct effect was observed, rather than only its injection.
 *
 * A second run without the trouble would not tell: one message more or less shifts every later draw of a latency, and so
 * changes the trace of any run. So each kind names the effect by which it is recognised: an effect at its target (or, where
 * `anywhere`, at any node) between its beginning and {@linkcode lateMs} after its end. Kinds whose effect only their maker
 * sees (a frame that was dropped) note it themselves. What bites unobserved is not counted.
 *
 * @module
 */
import type { TransportFact } from "../../transport/port.ts";
import type { Report } from "../runtime/ports.ts";
import type { SimulatedNode } from "./node.ts";
import type { ScenarioEvent, TroubleKind } from "./scenario.ts";
import type { Simulation, SimulationWatch } from "./simulation.ts";

/** Effects come this long after the end of a trouble, at most, in milliseconds: a dead connection is noticed after 20 s. */
const lateMs = 25_000;
/** Where hostile peers dial from (RFC 5737, TEST-NET-1). */
export const hostileNetwork = "/ip4/192.0.2.";

/** How an effect is recognised; `noted` where the code that makes the trouble notes it. */
interface Effect {
  readonly anywhere?: true;
  readonly reports?: readonly string[];
  readonly fact?: (fact: TransportFact, struck: Struck) => boolean;
  /** Traffic between target and other, or through a relay. */
  readonly traffic?: "direct" | "relayed";
}

const refusedStranger: Effect = {
  fact: (fact) => fact.type === "peer.refused" && fact.address.startsWith(hostileNetwork),
};
const lostPeer: Effect = {
  reports: ["gateway.unreachable"],
  fact: (fact) => fact.type === "peer.closed" && fact.reason.type === "lost",
};
/** The name of a peer that was refused, or disconnected, because it is revoked. */
function revokedName(fact: TransportFact): string | undefined {
  if (fact.type === "peer.closed" && fact.reason.type === "trust.changed") return fact.identity.name;
  return fact.type === "peer.refused" && fact.refusal.code === "certificate-revoked" ? fact.peer?.name : undefined;
}
const failedJob: Effect = { reports: ["job.ended", "job.left-behind"] };
const brokenFile: Effect = { reports: ["trust.broken", "identity.broken", "identity.refused"] };
const noted: Effect = {};

const timeCodes: ReadonlySet<string> = new Set([
  "certificate-expired",
  "certificate-not-yet-valid",
  "crl-not-yet-valid",
]);

/** By kind. */
const effects: Readonly<Record<TroubleKind, Effect>> = {
  revocation: { anywhere: true, fact: (fact, { target }) => revokedName(fact) === target },
  "revoked-issuer": {
    anywhere: true,
    fact: (fact, { gone }) => !gone.has(revokedName(fact) ?? "") && revokedName(fact) !== undefined,
  },
  partition: lostPeer,
  "one-way": lostPeer,
  "slow-link": { traffic: "direct" },
  reset: noted,
  "torn-stream": noted,
  crash: noted,
  "power-cut": noted,
  "clock-jump": {
    reports: ["lease.lapsed", "trust.broken", "identity.broken"],
    fact: (fact) => fact.type === "peer.refused" && timeCodes.has(fact.refusal.code),
  },
  "clock-step": noted,
  "torn-file": brokenFile,
  "unreadable-file": brokenFile,
  "stale-crl": { reports: ["trust.broken", "trust.loaded", "trust.warning"] },
  "silent-disk": noted,
  "disk-full": { reports: ["state.unwritable", "job.ended"] },
  "late-crl": noted,
  "executor-crash": failedJob,
  "executor-hang": failedJob,
  "garbage-update": { anywhere: true, reports: ["update.rejected"] },
  "half-open": refusedStranger,
  flood: refusedStranger,
  stranger: refusedStranger,
  expired: refusedStranger,
  "self-signed": refusedStranger,
  "stolen-certificate": refusedStranger,
  "old-tls": refusedStranger,
  malformed: refusedStranger,
  intruder: noted,
  nonsense: { reports: ["request.malformed"] },
  rotation: noted,
  renewal: { anywhere: true, reports: ["identity.renewed"] },
  rekey: { anywhere: true, reports: ["node.rekeying"] },
  reload: { reports: ["trust.loaded"] },
  drain: { reports: ["node.draining"] },
  "broken-worker": failedJob,
  "lying-worker": { reports: ["lease.granted", "job.ended"] },
  "garbage-answers": noted,
  "flooding-member": noted,
  "dropping-gateway": noted,
  "delaying-gateway": noted,
  "second-certificate": noted,
  crowd: noted,
  forger: noted,
  mute: noted,
  relayed: { traffic: "relayed" },
  rules: noted,
  "wrong-role": { fact: (fact) => fact.type === "act.refused" },
  denied: noted,
  partner: noted,
  expensive: { fact: (fact) => fact.type === "peer.refused" && fact.refusal.code === "too-expensive" },
};

interface Struck {
  readonly kind: TroubleKind;
  readonly effect: Effect;
  readonly target: string;
  readonly other: string | undefined;
  readonly until: number;
  /** Names of nodes that were revoked themselves. */
  readonly gone: ReadonlySet<string>;
}

/** Observes the effects of a run's troubles. */
export class Bites implements SimulationWatch {
  readonly bit = new Set<TroubleKind>();
  readonly #sim: Simulation;
  readonly #gone: ReadonlySet<string>;
  #struck: Struck[] = [];

  constructor(sim: Simulation, gone: ReadonlySet<string>) {
    this.#sim = sim;
    this.#gone = gone;
  }

  /** A trouble begins. */
  struck({ kind, target, other, forMs }: ScenarioEvent): void {
    const effect = effects[kind];
    if (effect === noted || this.bit.has(kind)) return;
    const until = this.#sim.now + forMs + lateMs;
    this.#struck.push({ kind, effect, target, other, until, gone: this.#gone });
  }

  /** Its maker saw the effect of a trouble. */
  note(kind: TroubleKind): void {
    this.bit.add(kind);
    this.#struck = this.#struck.filter((struck) => struck.kind !== kind);
  }

  report(node: SimulatedNode, { event }: Report): void {
    this.#observe(node, ({ effect: { reports } }) => reports?.includes(event) === true);
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    this.#observe(node, (struck) => struck.effect.fact?.(fact, struck) === true);
  }

  bytes(
    node: SimulatedNode,
    { remoteHost, relay }: { readonly remoteHost: string; readonly relay: string | undefined },
  ): void {
    this.#observe(node, ({ effect: { traffic }, target, other }) => {
      if (traffic === "relayed") return relay !== undefined && node.name === target;
      return traffic === "direct" && (remoteHost === other || remoteHost === target);
    });
  }

  #observe(node: SimulatedNode, shows: (struck: Struck) => boolean): void {
    if (this.#struck.length === 0) return;
    for (const struck of this.#struck) {
      const { kind, effect, target, other, until } = struck;
      const isThere = effect.anywhere === true || node.name === target || node.name === other;
      if (isThere && this.#sim.now <= until && shows(struck)) return this.note(kind);
    }
  }
}
