/** What a seed draws: knobs within their ranges, weights, moments, and troubles that end in time. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  aimMs,
  drawKnob,
  faultKinds,
  knobNames,
  knobRanges,
  scenarioOf,
  targetsOf,
} from "../../actors/simulation/mod.ts";

const test = suite("scenarioOf()");
const scenarios = Array.from({ length: 300 }, (_, seed) => scenarioOf(seed));

test("knobs lie in their ranges, and each is turned in some seeds and not in others", () => {
  for (const name of knobNames) {
    const { least, most } = knobRanges[name];
    const drawn = scenarios.map(({ knobs }) => knobs?.[name]);
    const turned = drawn.filter((value) => value !== undefined);
    assert.ok(turned.every((value) => value >= least && value <= most), name);
    assert.ok(turned.length > 40 && turned.length < 150, `${name}: ${turned.length} of ${drawn.length}`);
    assert.is(drawKnob(name, 0), least);
    assert.ok(drawKnob(name, 1 - 2 ** -32) <= most);
  }
});

test("a kind of weight 0 is left out, and one of weight 2 comes twice", () => {
  let doubled = 0;
  for (const { events, weights = {} } of scenarios) {
    for (const kind of faultKinds) {
      const count = events.filter((event) => event.kind === kind).length;
      if (weights[kind] === 0) assert.is(count, 0);
      if (weights[kind] !== 2 || count === 0 || kind === "renewal" || kind === "rekey") continue;
      assert.is(count % 2, 0, kind);
      doubled += 1;
    }
  }
  assert.ok(doubled > 50, `${doubled} doubled`);
});

test("a kind that is asked for alone is drawn in every seed", () => {
  for (let seed = 0; seed < 50; seed++) {
    const kinds = new Set(scenarioOf(seed, { faults: ["reset"] }).events.map(({ kind }) => kind));
    assert.equal([...kinds].toSorted(), ["reset", "revocation"]);
  }
});

test("troubles meet nodes that they can befall, and end by the end of trouble; an old list may stay longer", () => {
  for (const { nodes, events, troubleMs } of scenarios) {
    for (const { kind, target, at, forMs, when } of events) {
      if (kind === "revocation") continue;
      assert.ok(targetsOf(nodes, kind).some(({ name }) => name === target), `${kind} at ${target}`);
      const begins = at + (when === undefined ? 0 : aimMs);
      assert.ok(begins >= 500 && begins < troubleMs, `${kind} at ${at}`);
      if (!["stale-crl", "late-crl", "silent-disk"].includes(kind)) assert.ok(begins + forMs <= troubleMs, kind);
    }
  }
});

test("a third of the troubles waits for a moment; a revocation never does", () => {
  const events = scenarios.flatMap((scenario) => scenario.events);
  const aimed = events.filter(({ when }) => when !== undefined);
  assert.ok(
    aimed.length > events.length / 6 && aimed.length < events.length / 2,
    `${aimed.length} of ${events.length}`,
  );
  assert.ok(aimed.every(({ kind }) => kind !== "revocation" && kind !== "revoked-issuer"));
});

test.run();
