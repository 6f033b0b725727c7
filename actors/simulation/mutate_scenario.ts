/**
 * Changes a scenario a little: what a hunt does with the scenarios that reached a new transition.
 *
 * A mutant keeps to the rules by which seeds are drawn: trouble ends by `troubleMs`, lists are numbered in the order of
 * their events, and everything has the time to recover that its events ask for.
 *
 * @module
 */
import { targetsOf } from "./draw_scenario.ts";
import { drawKnob, type KnobName, knobNames } from "./knobs.ts";
import { moments } from "./moments.ts";
import type { RandomStream } from "../runtime/random.ts";
import {
  aimMs,
  type FaultKind,
  faultKinds,
  quietAfter,
  type Scenario,
  type ScenarioEvent,
  troubleMs,
} from "./scenario.ts";

/** Events of a mutant. */
export const mutantEventsMax = 24;
/** Changes that one mutant gets. */
const changesMax = 3;
/** Trouble begins this long before its end at the latest, in milliseconds, as for seeds. */
const lastMs = 25_000;

type Change = (scenario: Scenario, random: RandomStream) => Scenario;

/** A mutant of a scenario, by up to three changes. `donor` lends an event. */
export function mutateScenario(scenario: Scenario, donor: Scenario, random: RandomStream): Scenario {
  let mutant = scenario;
  for (let left = 1 + random.whole(0, changesMax); left > 0; left--) {
    mutant = random.pick([...changes, lend(donor)])(mutant, random);
  }
  const events = mutant.events.slice(0, mutantEventsMax).toSorted((one, other) => one.at - other.at);
  return { ...mutant, events, quietMs: quietAfter(events) };
}

const isFault = (event: ScenarioEvent): event is ScenarioEvent & { readonly kind: FaultKind } =>
  event.kind !== "revocation";

/** Changes one of the faults; the revocation stays, and lists keep their order. */
function changeOne(
  scenario: Scenario,
  random: RandomStream,
  change: (event: ScenarioEvent & { readonly kind: FaultKind }) => readonly ScenarioEvent[],
): Scenario {
  const faults = scenario.events.filter(isFault);
  if (faults.length === 0) return scenario;
  const chosen = random.pick(faults);
  return { ...scenario, events: scenario.events.flatMap((event) => event === chosen ? change(chosen) : [event]) };
}

const drop: Change = (scenario, random) => changeOne(scenario, random, () => []);

const move: Change = (scenario, random) =>
  changeOne(scenario, random, (event) => [{ ...event, at: drawAt(random, event), forMs: random.whole(200, 24_000) }]);

const duplicate: Change = (scenario, random) =>
  changeOne(scenario, random, (event) => {
    if (event.kind === "revoked-issuer" || scenario.events.length >= mutantEventsMax) return [event];
    const target = random.pick(targetsOf(scenario.nodes, event.kind)).name;
    return [event, { ...event, target, at: drawAt(random, event) }];
  });

const retarget: Change = (scenario, random) =>
  changeOne(scenario, random, (event) => {
    const target = random.pick(targetsOf(scenario.nodes, event.kind)).name;
    return [{ ...event, target, amount: random.next() }];
  });

/** Kinds that are not drawn with an aim get none here. */
const aim: Change = (scenario, random) =>
  changeOne(scenario, random, (event) => {
    if (event.kind === "revoked-issuer" || event.kind === "stale-crl") return [event];
    const { when: _, seenAt: __, ...rest } = event;
    if (random.chance(0.25)) return [rest];
    return [{ ...rest, when: random.pick(moments), at: Math.min(event.at, troubleMs - lastMs - aimMs) }];
  });

const add: Change = (scenario, random) => {
  const kind = random.pick(faultKinds.filter((each) => each !== "revoked-issuer"));
  const target = random.pick(targetsOf(scenario.nodes, kind)).name;
  const other = random.pick(scenario.nodes.filter(({ name }) => name !== target)).name;
  const event = { kind, target, other, forMs: random.whole(200, 24_000), amount: random.next() };
  return { ...scenario, events: [...scenario.events, { ...event, at: drawAt(random, {}) }] };
};

const turnKnob: Change = (scenario, random) => {
  const name: KnobName = random.pick(knobNames);
  const { [name]: _, ...others } = scenario.knobs ?? {};
  return { ...scenario, knobs: random.chance(0.3) ? others : { ...others, [name]: drawKnob(name, random.next()) } };
};

/** The weight of a kind changes: all its events are left out, or doubled. */
const weigh: Change = (scenario, random) => {
  const kinds = [...new Set(scenario.events.filter(isFault).map(({ kind }) => kind))];
  if (kinds.length === 0) return scenario;
  const kind = random.pick(kinds);
  const others = scenario.events.filter((event) => event.kind !== kind);
  if (kind === "revoked-issuer" || random.chance(0.5)) {
    return { ...scenario, events: others, weights: { ...scenario.weights, [kind]: 0 } };
  }
  const own = scenario.events.filter((event) => event.kind === kind);
  const again = own.map((event) => ({ ...event, at: drawAt(random, event) }));
  return { ...scenario, events: [...others, ...own, ...again], weights: { ...scenario.weights, [kind]: 2 } };
};

const changes: readonly Change[] = [drop, move, duplicate, retarget, aim, add, turnKnob, weigh];

/** An event of another scenario, where its nodes are there too. */
const lend = (donor: Scenario): Change => (scenario, random) => {
  const names = new Set(scenario.nodes.map(({ name }) => name));
  const lent = donor.events.filter((event) =>
    isFault(event) && event.kind !== "revoked-issuer" && names.has(event.target) &&
    targetsOf(scenario.nodes, event.kind).some(({ name }) => name === event.target)
  );
  return lent.length === 0 ? scenario : { ...scenario, events: [...scenario.events, random.pick(lent)] };
};

function drawAt(random: RandomStream, { when }: Pick<ScenarioEvent, "when">): number {
  return random.whole(500, troubleMs - lastMs - (when === undefined ? 0 : aimMs));
}
