/** The shapes of the machines that the console draws are the machines' own. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type MachineShape, shapeOf, type StateShape } from "../../actors/console/machine_shape.ts";
import { connectionGateMachine } from "../../actors/gate/connection_gate.ts";
import { simulatedMachines } from "../../actors/simulation/mod.ts";

const test = suite("shapeOf()");

const flat = ({ states }: MachineShape | StateShape): readonly StateShape[] =>
  states.flatMap((state) => [state, ...flat(state)]);

test("the gate's states are in order, each check leads to the next one or to refused", () => {
  const { id, states } = shapeOf(connectionGateMachine as never);
  assert.is(id, "connectionGate");
  const names = states.map(({ key }) => key);
  assert.equal(names.slice(0, 3), ["handshaking", "verifying", "opening"]);
  assert.equal(states.filter(({ isInitial }) => isInitial).map(({ key }) => key), ["handshaking"]);
  for (const { leads } of states.find(({ key }) => key === "verifying")?.states ?? []) {
    assert.ok(leads.some(({ to }) => to.endsWith("refused")));
  }
});

test("every machine of the tree has a shape whose transitions lead to states that it has", () => {
  for (const machine of simulatedMachines) {
    const shape = shapeOf(machine);
    const paths = (part: MachineShape | StateShape, before: string): readonly string[] =>
      part.states.flatMap((state) => [`${before}${state.key}`, ...paths(state, `${before}${state.key}.`)]);
    const known = new Set([...paths(shape, ""), shape.id]);
    for (const { key, leads } of [...flat(shape), { ...shape, key: shape.id }]) {
      for (const { to } of leads) assert.ok(known.has(to), `${shape.id}: ${key} leads to ${to}`);
    }
    assert.equal(JSON.parse(JSON.stringify(shape)), shape);
  }
});

test.run();
