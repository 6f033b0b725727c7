/**
 * The paths of the gate that `xstate/graph` enumerates, and those that gates of simulated networks took.
 *
 * Goal: each enumerated path is also taken in a simulation, by real certificates and frames, or is listed with the reason why
 * none can take it. Method: the machine is enumerated with scripted checks, told by phases and failed checks; fixed seeds with
 * one kind of fault each are run; what is neither reached nor listed fails, and so does what is listed and reached.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ActorLogic } from "xstate";
import { getSimplePaths } from "xstate/graph";
import { connectionGateMachine } from "../../actors/gate/connection_gate.ts";
import {
  type FaultKind,
  GatePaths,
  type GateState,
  placeOf,
  runScenario,
  type Scenario,
  type ScenarioEvent,
  scenarioOf,
  stepOf,
} from "../../actors/simulation/mod.ts";
import { Result } from "effect";
import type { GateCommand, GateInput } from "../../transport/port.ts";
import { RateLimited, Unreachable } from "../../pki/refusal.ts";
import type { CheckFunctions } from "../../pki/checks/check_table.ts";
import { gateInput, refusalOfCheck, scripted, scriptedChecks, secured } from "../support/gates.ts";

const test = suite("paths of simulated gates");

/** Each reaches paths that the others don't. */
const seeds: readonly [seed: number, kind?: FaultKind][] = [[29], [19], [17], [23], [28], [51], [60]];

/** A handshake that a cut link or a drain interrupts, at two of its steps, and more half-open connections than a node keeps. */
const crafted: readonly Scenario[] = [
  onSlowLink(trouble("partition", 300, 14_000, 0.3)),
  onSlowLink(trouble("partition", 1_900, 14_000, 0.3)),
  onSlowLink(trouble("drain", 1_300, 9_000, 0.3)),
  onSlowLink(trouble("drain", 2_100, 9_000, 0.3)),
  {
    ...scenarioOf(1, { faults: [] }),
    knobs: {},
    events: Array.from({ length: 6 }, () => trouble("half-open", 1_000, 9_000, 0.9)),
    troubleMs: 6_000,
    quietMs: 1_000,
  },
];

function onSlowLink(event: ScenarioEvent): Scenario {
  const events = [trouble("slow-link", 1, 20_000, 0.9), event];
  return { ...scenarioOf(1, { faults: [] }), knobs: {}, events, troubleMs: 16_000, quietMs: 1_000 };
}

function trouble(kind: FaultKind, at: number, forMs: number, amount: number): ScenarioEvent {
  return { kind, at, forMs, amount, target: "worker-2", other: "gateway-1" };
}

const refusal = new Unreachable({ detail: "scripted" });
const ofConnection = ["tlsVersion", "wellFormed", "identity"] as const;
const ofAnchors = ["algorithm", "path", "validity", "revocation", "role"] as const;
const changed = (snapshot: ReturnType<typeof scripted>) => ({ type: "trust.changed", snapshot }) as const;
const events: readonly GateCommand[] = [
  { type: "connection.securing" },
  secured(),
  ...ofConnection.map((check) => secured({ [check]: "refuses" })),
  { type: "tls.failed", refusal },
  { type: "connection.opened" },
  { type: "connection.closed", by: "us", detail: "scripted" },
  { type: "connection.closed", by: "them", detail: "scripted" },
  { type: "connection.closed", by: "lost", detail: "scripted" },
  { type: "opening.failed", refusal },
  ...ofAnchors.map((check) => changed(scripted(5, "anchors-3", { [check]: "refuses" }))),
  { type: "close", reason: "scripted" },
];

interface Path {
  readonly state: GateState;
  readonly steps: readonly { readonly event: { readonly type: string }; readonly state: GateState }[];
}

/** Every simple path, as its places: born under trust that lets everybody in, or under one whose check refuses. */
function enumerate(): ReadonlySet<string> {
  const paths = new Set<string>();
  const births: Partial<GateInput>[] = [
    {},
    { admission: Result.fail(new RateLimited({ limit: "handshakes a second", max: 5 })) },
    ...ofAnchors.map((check) => ({ snapshot: scripted(1, "anchors-1", { [check]: "refuses" }) })),
  ];
  for (const birth of births) {
    for (const checks of [scriptedChecks(), runningOut()]) {
      const logic = connectionGateMachine as unknown as ActorLogic<GateState, GateCommand, GateInput>;
      const found = getSimplePaths(logic, {
        input: { ...gateInput(scripted(1, "anchors-1"), birth), now: () => 1_000, checks },
        events: (state: GateState) => [...events, ...timersOf(state)],
        serializeState: placeOf,
        stopWhen: ({ status }: GateState) => status === "done",
        limit: 100_000,
      } as never) as unknown as readonly Path[];
      for (const { steps } of found) paths.add(told(steps));
    }
  }
  return paths;
}

/** A certificate that is valid at the first look, and has run out at every later one. */
function runningOut(): CheckFunctions {
  const checks = scriptedChecks();
  const seen = new WeakSet<object>();
  return {
    ...checks,
    validity(found, at) {
      if (seen.has(found)) return Result.fail(refusalOfCheck("validity")) as never;
      seen.add(found);
      return checks.validity(found, at);
    },
  };
}

function timersOf(state: GateState): { type: string }[] {
  const types = state._nodes.flatMap((node) => [...node.transitions.keys()]);
  return types.filter((type) => type.startsWith("xstate.after")).map((type) => ({ type }));
}

/** xstate's first step is the birth itself. */
function told(steps: Path["steps"]): string {
  return steps.map(({ event, state }, nth) => nth === 0 ? placeOf(state) : stepOf(event, state)).join(", ");
}

const file = new URL("../fixtures/simulation/unreached_gate_paths.json", import.meta.url);
const listed = JSON.parse(readFileSync(file, "utf8")) as Readonly<Record<string, string>>;

test("each enumerated path is taken in a simulation, or listed with a reason", async () => {
  const paths = new GatePaths();
  for (const [seed, kind] of seeds) {
    const { violations } = await runScenario(scenarioOf(seed, kind && { faults: [kind] }), { inspect: paths.inspect });
    assert.equal(violations, [], `seed ${seed}`);
  }
  // Cut short, they leave a job unfinished: what is looked at here are paths alone.
  for (const scenario of crafted) await runScenario(scenario, { inspect: paths.inspect, stopAtFirst: false });
  const enumerated = enumerate();
  assert.ok(enumerated.size > 40, `${enumerated.size} paths`);
  assert.equal([...enumerated].filter((path) => !paths.reached.has(path) && listed[path] === undefined), []);
  assert.equal([...paths.reached].filter((path) => !enumerated.has(path)), [], "a simulation knows no other path");
  assert.equal(Object.keys(listed).filter((path) => !enumerated.has(path) || paths.reached.has(path)), []);
  assert.ok(Object.values(listed).every((reason) => reason.length > 20));
});

test.run();
