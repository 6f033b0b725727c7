/**
 * What runs in a simulation is what runs in production: the same machine objects, but for the actors that touch the world.
 *
 * Method: the machines that a run's actors have are compared, implementation by implementation, with the production ones. All
 * may be different is in one list, each with what stands there instead.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AnyStateMachine } from "xstate";
import { runScenario, scenarioOf, simulatedMachines } from "../../actors/simulation/mod.ts";

const test = suite("production modules in a simulation");

/**
 * Actors that differ in a simulation: those that touch the world, and machines that only get another input. The machines
 * among them are compared themselves.
 */
const replaced: Readonly<Record<string, readonly string[]>> = {
  node: ["worker", "trustStore", "identity"],
  worker: ["job", "sweep"],
  job: ["directory", "bridge", "executor", "exit", "limitExceeded", "stop", "flush", "remove", "aggregator"],
  parameterServer: ["aggregated"],
};

test("every machine of a run is a production machine, with other hands where listed", async () => {
  const seen = new Set<AnyStateMachine>();
  const { violations } = await runScenario(scenarioOf(1), {
    inspect: ({ actorRef }) => {
      const { logic } = actorRef as { readonly logic?: AnyStateMachine | { readonly machine: AnyStateMachine } };
      if (logic === undefined) return;
      // A compiled machine names the one that it was made from.
      const machine = "machine" in logic ? logic.machine : logic;
      if (machine.implementations !== undefined) seen.add(machine);
    },
  });
  assert.equal(violations, []);
  const production = new Map(simulatedMachines.map((machine) => [machine.id, machine]));
  const ids = new Set([...seen].map(({ id }) => id));
  for (const id of ["node", "connectionGate", "trustStore", "scheduler", "worker", "job", "parameterServer", "lease"]) {
    assert.ok(ids.has(id), `no ${id} ran`);
  }
  for (const machine of seen) {
    const original = production.get(machine.id);
    assert.ok(original !== undefined, `${machine.id} is no production machine`);
    assert.is(machine.config, original.config, `${machine.id} has another configuration`);
    for (const kind of ["actions", "guards", "delays", "actors"] as const) {
      const ours = machine.implementations[kind] as Readonly<Record<string, unknown>>;
      const theirs = original.implementations[kind] as Readonly<Record<string, unknown>>;
      const others = Object.keys({ ...ours, ...theirs }).filter((name) => ours[name] !== theirs[name]);
      const allowed = kind === "actors" ? replaced[machine.id] ?? [] : [];
      assert.equal(others.filter((name) => !allowed.includes(name)), [], `${kind} of ${machine.id}`);
    }
  }
});

test.run();
