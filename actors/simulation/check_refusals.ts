/**
 * Checks the accounts of refusals: every refusal is counted once and leaves exactly one record.
 *
 * @module
 */
import type { AnyActorRef } from "xstate";
import type { TransportFact } from "../../transport/port.ts";
import type { DataContext } from "../data/data_setup.ts";
import type { AuditEntry } from "../trust/audit.ts";
import { type CheckInit, contextOf, type Findings, keyOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";

/** Codes that are summed up by the minute: the peer's certificate was not seen. */
const earlyCodes: ReadonlySet<string> = new Set([
  "rate-limited",
  "too-many-connections",
  "handshake-timeout",
  "protocol-mismatch",
]);

interface Refusals {
  told: number;
  toldLate: number;
  recorded: number;
}

/** Checks the refusals of all nodes. */
export class RefusalChecks {
  readonly #findings: Findings;
  readonly #refusals = new Map<string, Refusals>();
  /** Pulls that each role of a data node refused, by process: a role of a previous key ends before the process does. */
  readonly #pulls = new Map<string, Map<AnyActorRef, DataContext["refusals"]>>();

  constructor({ findings }: CheckInit) {
    this.#findings = findings;
  }

  fact(node: SimulatedNode, fact: TransportFact): void {
    if (fact.type !== "peer.refused" && fact.type !== "act.refused") return;
    const refusals = this.#of(node);
    if (fact.type === "act.refused") {
      refusals.told += fact.untold + 1;
      refusals.toldLate += 1;
      return;
    }
    refusals.told += 1;
    if (fact.peer !== undefined || !earlyCodes.has(fact.refusal.code)) refusals.toldLate += 1;
  }

  recorded(node: SimulatedNode, entry: AuditEntry): void {
    if (entry.type !== "refusal.summary") this.#of(node).recorded += 1;
  }

  #of(node: SimulatedNode): Refusals {
    const key = keyOf(node, "refusals");
    const known = this.#refusals.get(key);
    if (known !== undefined) return known;
    const fresh = { told: 0, toldLate: 0, recorded: 0 };
    this.#refusals.set(key, fresh);
    return fresh;
  }

  /** Notes the pulls that a data node refused so far. */
  notePulls(node: SimulatedNode): void {
    const key = keyOf(node, "pulls");
    const pulls = this.#pulls.get(key) ?? new Map<AnyActorRef, DataContext["refusals"]>();
    this.#pulls.set(key, pulls);
    for (const actor of node.roleActors) {
      pulls.set(actor, contextOf<DataContext>(actor)?.refusals ?? { facts: 0, counted: 0 });
    }
  }

  /** At the end of a run. */
  conclude(node: SimulatedNode): void {
    if (!node.isRunning) return;
    const root = node.actor?.getSnapshot() as {
      context: { refusalLog: { getSnapshot(): { context: { counts: Readonly<Record<string, number>> } } } };
    };
    const { counts } = root.context.refusalLog.getSnapshot().context;
    const counted = Object.values(counts).reduce((sum, count) => sum + count, 0);
    // A data node refuses pulls itself, in addition to what its transport refuses.
    if (node.role === "data") this.notePulls(node);
    const pulls = [...this.#pulls.get(keyOf(node, "pulls"))?.values() ?? []];
    const sumOf = (key: "facts" | "counted") => pulls.reduce((sum, some) => sum + some[key], 0);
    const { recorded, ...seen } = this.#refusals.get(keyOf(node, "refusals")) ?? { told: 0, toldLate: 0, recorded: 0 };
    const told = seen.told + sumOf("counted"), toldLate = seen.toldLate + sumOf("facts");
    if (counted !== told || recorded !== toldLate) {
      const detail =
        `${told} refusals, ${counted} counted; ${toldLate} with a record of their own, ${recorded} recorded`;
      this.#findings.violate("refusal-recorded", node.name, detail);
    }
  }
}
