/** Mutants are scenarios: they keep the rules by which seeds are drawn, and differ from their parent. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  aimMs,
  knobNames,
  mutantEventsMax,
  mutateScenario,
  quietAfter,
  randomOf,
  type Scenario,
  scenarioOf,
  targetsOf,
} from "../../actors/simulation/mod.ts";

const test = suite("mutateScenario()");

function mutants(): readonly Scenario[] {
  const random = randomOf(1, "mutants");
  let parent = scenarioOf(3);
  return Array.from({ length: 400 }, (_, nth) => parent = mutateScenario(parent, scenarioOf(nth % 20), random));
}

test("the same draws make the same mutants", () => {
  assert.equal(mutants().slice(0, 50), mutants().slice(0, 50));
});

test("a line of mutants keeps the rules of scenarios", () => {
  for (const { nodes, events, knobs = {}, quietMs, troubleMs } of mutants()) {
    assert.is(events.filter(({ kind }) => kind === "revocation").length, 1);
    assert.ok(events.length <= mutantEventsMax);
    assert.equal(events.map(({ at }) => at), events.map(({ at }) => at).toSorted((one, other) => one - other));
    assert.is(quietMs, quietAfter(events));
    assert.ok(Object.keys(knobs).every((name) => (knobNames as readonly string[]).includes(name)));
    for (const { kind, target, at, when } of events) {
      if (kind === "revocation") continue;
      assert.ok(targetsOf(nodes, kind).some(({ name }) => name === target), `${kind} at ${target}`);
      assert.ok(at + (when === undefined ? 0 : aimMs) < troubleMs);
    }
  }
});

test("mutants differ in events, targets, times, moments, knobs and weights", () => {
  const all = mutants();
  const differing = (of: (scenario: Scenario) => unknown) =>
    all.filter((mutant, nth) => nth > 0 && JSON.stringify(of(mutant)) !== JSON.stringify(of(all[nth - 1] as Scenario)));
  const parts: Readonly<Record<string, (scenario: Scenario) => unknown>> = {
    kinds: ({ events }) => events.map(({ kind }) => kind),
    targets: ({ events }) => events.map(({ target }) => target),
    times: ({ events }) => events.map(({ at }) => at),
    moments: ({ events }) => events.map(({ when }) => when),
    knobs: ({ knobs }) => knobs,
    weights: ({ weights }) => weights,
  };
  for (const [part, of] of Object.entries(parts)) assert.ok(differing(of).length > 20, part);
});

test.run();
