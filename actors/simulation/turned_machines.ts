/**
 * Production machines that get the turned knobs of their run as input. They are the same machines: only the input differs.
 *
 * @module
 */
import type { AnyStateMachine, InputFrom } from "xstate";
import type { JobInput } from "../job/messages.ts";
import type { Ports } from "../runtime/ports.ts";
import { type IdentityInput, identityMachine } from "../trust/identity.ts";
import { type TrustStoreInput, trustStoreMachine } from "../trust/trust_store.ts";
import type { WorkerInput } from "../worker/worker_setup.ts";
import { type Knobs, valueOf } from "./knobs.ts";

/** By the `run` of the process, which all its actors get. */
const knobsByRun = new WeakMap<Ports["run"], Knobs>();

/** The machines of a process whose actors get this `run` are turned by these knobs. */
export function giveKnobs(run: Ports["run"], knobs: Knobs): void {
  knobsByRun.set(run, knobs);
}

function knobsOf({ ports }: { readonly ports: Pick<Ports, "run"> }): Knobs {
  return knobsByRun.get(ports.run) ?? {};
}

/** A machine whose input is extended before it starts. */
export function withInput<Machine extends AnyStateMachine>(
  machine: Machine,
  extend: (input: InputFrom<Machine>) => InputFrom<Machine>,
): Machine {
  const getInitialSnapshot: AnyStateMachine["getInitialSnapshot"] = (scope, input) =>
    machine.getInitialSnapshot(scope, extend(input as InputFrom<Machine>));
  return Object.create(machine, { getInitialSnapshot: { value: getInitialSnapshot } }) as Machine;
}

/** The trust store, with its times. */
export const turnedTrustStore = withInput(trustStoreMachine, (input: TrustStoreInput): TrustStoreInput => {
  const knobs = knobsOf(input);
  const { trustSettleMs: settleMs, trustPollMs: pollMs } = knobs;
  if (settleMs === undefined && pollMs === undefined) return input;
  const timing = { settleMs: valueOf(knobs, "trustSettleMs"), pollMs: valueOf(knobs, "trustPollMs") };
  return { ...input, timing: { ...input.timing, ...timing } };
});

/** The identity, with its times. */
export const turnedIdentity = withInput(identityMachine, (input: IdentityInput): IdentityInput => {
  const knobs = knobsOf(input);
  const { identityPollMs, identityPatienceMs } = knobs;
  if (identityPollMs === undefined && identityPatienceMs === undefined) return input;
  const timing = { pollMs: valueOf(knobs, "identityPollMs"), patienceMs: valueOf(knobs, "identityPatienceMs") };
  return { ...input, timing: { ...input.timing, ...timing } };
});

/** A worker's input, with the life of its leases. */
export function turnWorker(input: WorkerInput): WorkerInput {
  const { leaseLifeMs } = knobsOf(input);
  return leaseLifeMs === undefined ? input : { ...input, leaseLifeMs };
}

/** A job's input, with its deadlines. */
export function turnJob(input: JobInput): JobInput {
  const knobs = knobsOf(input);
  const limits = {
    prepareMs: valueOf(knobs, "jobPrepareMs"),
    endMs: valueOf(knobs, "jobEndMs"),
    idleMs: valueOf(knobs, "jobIdleMs"),
  };
  return { ...input, limits: { ...limits, ...input.limits } };
}
