/**
 * Which transitions of which machine a batch of runs took, and which it did not take.
 *
 * @module
 */
import type { AnyStateMachine, AnyStateNode, InspectionEvent } from "xstate";
import { allocationMachine } from "../training/allocation.ts";
import { crlExchangeMachine } from "../crl_exchange/exchange.ts";
import { pullMachine } from "../crl_exchange/pull.ts";
import { dataMachine } from "../data/data.ts";
import { gatewayMachine } from "../gateway/gateway.ts";
import { previousIdentityMachine } from "../node/previous_identity.ts";
import { gatewayLinkMachine } from "../node/gateway_link.ts";
import { connectionGateMachine } from "../gate/connection_gate.ts";
import { heldLeaseMachine } from "../training/held_lease.ts";
import { identityMachine } from "../trust/identity.ts";
import { jobMachine } from "../job/job.ts";
import { leaseMachine } from "../worker/lease.ts";
import { nodeMachine } from "../node/node.ts";
import { ruleStoreMachine } from "../node/rule_store.ts";
import { parameterServerMachine } from "../job/parameter_server.ts";
import { refusalLogMachine } from "../trust/refusal_log.ts";
import { journalMachine } from "../scheduler/journal.ts";
import { schedulerMachine } from "../scheduler/scheduler.ts";
import { modelStoreMachine } from "../training/model_store.ts";
import { trainingMachine } from "../training/training_machine.ts";
import { watchedCrlsMachine } from "../files/watched_crls.ts";
import { watchedFilesMachine } from "../files/watched_files.ts";
import { trustStoreMachine } from "../trust/trust_store.ts";
import { auditCheckMachine } from "../witness/check.ts";
import { witnessMachine } from "../witness/witness.ts";
import { workerMachine } from "../worker/worker.ts";

/** The machines that a simulated network runs. */
export const simulatedMachines: readonly AnyStateMachine[] = [
  nodeMachine,
  connectionGateMachine,
  trustStoreMachine,
  identityMachine,
  ruleStoreMachine,
  watchedFilesMachine,
  watchedCrlsMachine,
  previousIdentityMachine,
  crlExchangeMachine,
  pullMachine,
  refusalLogMachine,
  gatewayLinkMachine,
  gatewayMachine,
  dataMachine,
  schedulerMachine,
  trainingMachine,
  modelStoreMachine,
  journalMachine,
  allocationMachine,
  heldLeaseMachine,
  workerMachine,
  leaseMachine,
  jobMachine,
  parameterServerMachine,
] as never; // their inputs differ, and AnyStateMachine has one of its own: only their transitions are read

/** The machines of witnesses, which simulations of their own run. */
export const witnessMachines: readonly AnyStateMachine[] = [witnessMachine, auditCheckMachine];

/** Coverage of one machine. */
export interface MachineCoverage {
  readonly reached: number;
  readonly total: number;
  /** Transitions that were not taken: `state event → targets`. */
  readonly missing: readonly string[];
}

interface Transition {
  readonly source: AnyStateNode;
  readonly eventType: string;
  readonly target: readonly AnyStateNode[] | undefined;
}

/** Counts transitions. */
export class Coverage {
  readonly #reached = new Set<string>();
  readonly #names = new WeakMap<object, string>();

  /** For {@linkcode SimulationOptions.inspect}. */
  readonly inspect = (event: InspectionEvent): void => {
    if (event.type !== "@xstate.microstep") return;
    for (const transition of event._transitions as readonly Transition[]) {
      let name = this.#names.get(transition);
      if (name === undefined) {
        name = nameOf(transition);
        this.#names.set(transition, name);
      }
      this.#reached.add(name);
    }
  };

  /** The names of all transitions that were taken. */
  get reached(): ReadonlySet<string> {
    return this.#reached;
  }

  /** Adds the transitions of another run; returns the new ones. */
  add(other: Coverage): readonly string[] {
    const fresh = [...other.#reached].filter((name) => !this.#reached.has(name));
    for (const name of fresh) this.#reached.add(name);
    return fresh;
  }

  /** Coverage by machine. */
  of(machines: readonly AnyStateMachine[] = simulatedMachines): Readonly<Record<string, MachineCoverage>> {
    const coverage: Record<string, MachineCoverage> = {};
    for (const machine of machines) {
      const all = [...new Set(transitionsOf(machine.root).map(nameOf))];
      const missing = all.filter((name) => !this.#reached.has(name));
      coverage[machine.id] = { reached: all.length - missing.length, total: all.length, missing };
    }
    return coverage;
  }
}

function transitionsOf(node: AnyStateNode): readonly Transition[] {
  const own = [...node.transitions.values()].flat() as readonly Transition[];
  const always = (node.always ?? []) as readonly Transition[];
  return [...own, ...always, ...Object.values(node.states).flatMap((child) => transitionsOf(child as AnyStateNode))];
}

/** Generated names of invoked actors (`0.machine.state`) and times are left as they are: they do not change. */
function nameOf({ source, eventType, target }: Transition): string {
  const to = (target ?? []).map(({ id }) => id).join(", ");
  return `${source.id} ${eventType === "" ? "always" : eventType} → ${to === "" ? "(stays)" : to}`;
}
