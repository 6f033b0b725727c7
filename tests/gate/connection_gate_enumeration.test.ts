/**
 * Every path of the gate, walked.
 *
 * Goal: whatever order events, deadlines, trust changes and outcomes come in, a gate ends in `refused` or `closed` or
 * rests in `established`; and it rests there only with every check's proof in its context, made under the snapshot that
 * is in force.
 *
 * Method: the machine runs as the pure function it is. The checks are scripted: each of them refuses, throws, says
 * nothing or answers with a promise, at the first verification and at later ones. `xstate/graph` sends every event,
 * timers included, in every state that can be reached. What holds for each state and each step of that graph holds for
 * every path; the simple paths are walked one by one as well, with fewer scripts.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ActorLogic, SnapshotFrom } from "xstate";
import { getAdjacencyMap, getSimplePaths } from "xstate/graph";
import { type ConnectionGateInput, connectionGateMachine, phaseOf } from "../../actors/gate/connection_gate.ts";
import type { GateCheckName } from "../../actors/gate/gate_checks.ts";
import { type CheckFunctions, holds } from "../../pki/checks/check_table.ts";
import { RateLimited, Unreachable } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { GateCommand } from "../../transport/port.ts";
import {
  type Behaviour,
  checkNames,
  gateInput,
  scripted,
  scriptedChecks,
  type ScriptedProof,
  secured,
} from "../support/gates.ts";

type State = SnapshotFrom<typeof connectionGateMachine>;

const behaviours: readonly Behaviour[] = ["refuses", "throws", "says nothing", "promises"];
/** Checks that a new snapshot makes run again even where the anchors are the same, and those that new anchors add. */
const ofSnapshot: readonly GateCheckName[] = ["revocation", "role"];
const ofAnchors: readonly GateCheckName[] = ["algorithm", "path", "validity", ...ofSnapshot];
const ofConnection: readonly GateCheckName[] = ["tlsVersion", "wellFormed", "identity"];

const every = <T>(checks: readonly GateCheckName[], make: (check: GateCheckName, behaviour: Behaviour) => T): T[] =>
  checks.flatMap((check) => behaviours.map((behaviour) => make(check, behaviour)));

const initial = scripted(1, "anchors-1");
const changes: readonly TrustSnapshot[] = [
  scripted(2, "anchors-1"),
  scripted(3, "anchors-2"),
  ...every(ofSnapshot, (check, behaviour) => scripted(4, "anchors-1", { [check]: behaviour })),
  ...every(ofAnchors, (check, behaviour) => scripted(5, "anchors-3", { [check]: behaviour })),
];
const refusal = new Unreachable({ detail: "scripted" });
const events: readonly GateCommand[] = [
  { type: "connection.securing" },
  secured(),
  ...every(ofConnection, (check, behaviour) => secured({ [check]: behaviour })),
  { type: "tls.failed", refusal },
  { type: "connection.opened" },
  { type: "connection.closed", by: "us", detail: "scripted" },
  { type: "connection.closed", by: "them", detail: "scripted" },
  { type: "connection.closed", by: "lost", detail: "scripted" },
  { type: "opening.failed", refusal },
  ...changes.map((snapshot) => ({ type: "trust.changed", snapshot }) as const),
  { type: "close", reason: "scripted" },
  { type: "unheard.of" } as unknown as GateCommand,
];

/** The timers that run in a state, as the events they become. */
function timersOf(state: State): GateCommand[] {
  const types = state._nodes.flatMap((node) => [...node.transitions.keys()]);
  return types.filter((type) => type.startsWith("xstate.after")).map((type) => ({ type }) as unknown as GateCommand);
}

const scriptUnder = ({ policy }: TrustSnapshot) => (policy as unknown as { script: Record<string, Behaviour> }).script;

/** What tells two states apart: where it is, what was proved or not, under which snapshot, and why it ended. */
function serializeState(state: State): string {
  const { context, value } = state;
  const end = [context.refusal?.code, context.refusal?.message, context.reason?.type];
  if (state.status === "done") return JSON.stringify([value, end]);
  const { generation, anchorsId, policy } = context.snapshot;
  const proofs = checkNames.map((name) => {
    const proof = proofOf(name, state);
    return proof === undefined ? "-" : `${proof.generation ?? "any"}/${proof.anchorsId ?? "any"}`;
  });
  return JSON.stringify([value, proofs, generation, anchorsId, policy, context.opened]);
}

function proofOf(name: GateCheckName, { context }: State): ScriptedProof | undefined {
  const outcome = context[name];
  return holds<unknown>(outcome) ? outcome.success as ScriptedProof : undefined;
}

type Logic = ActorLogic<State, GateCommand, ConnectionGateInput>;

/** The gate, as the traversal wants it. */
const gate = connectionGateMachine as unknown as Logic;

interface Given {
  readonly checks?: CheckFunctions;
  readonly admission?: unknown;
}
const optionsFor = (
  wanted: readonly GateCommand[],
  { checks = scriptedChecks(), admission = gateInput(initial).admission }: Given = {},
) => ({
  input: { ...gateInput(initial, { admission: admission as never }), now: () => 1_000, checks },
  events: (state: State) => [...wanted, ...timersOf(state)],
  serializeState,
  stopWhen: (state: State) => state.status === "done",
  limit: 100_000,
});

const isFinal = ({ status }: State) => status === "done";
const phase = ({ value }: State) => phaseOf(value as never);

/** Every check's proof stands, and those that depend on trust were made under the snapshot in force. */
function isProven(state: State): boolean {
  const { generation, anchorsId } = state.context.snapshot;
  const stands = checkNames.every((name) => holds<unknown>(state.context[name]));
  const fresh = (["revocation", "role"] as const).every((name) => proofOf(name, state)?.generation === generation);
  return stands && fresh && proofOf("path", state)?.anchorsId === anchorsId;
}

type Adjacency = { state: State; transitions: Record<string, { event: GateCommand; state: State }> };
const graphOf = (options: ReturnType<typeof optionsFor>): Adjacency[] =>
  Object.values(getAdjacencyMap(gate, options as never)) as Adjacency[];

const whole = graphOf(optionsFor(events));
const states = whole.map(({ state }) => state);
const steps = whole.flatMap(({ state, transitions }) =>
  Object.values(transitions).map(({ event, state: next }) => ({ state, event, next }))
);

const test = suite("connection gate, every path");

test("every state is one of those that are drawn, and none died of an error", () => {
  assert.ok(states.length > 50 && steps.length > 1_000, `${states.length} states, ${steps.length} steps`);
  assert.equal([...new Set(states.map(phase))].sort(), [
    "admitting",
    "closed",
    "established",
    "opening",
    "refused",
    "securing",
  ]);
  assert.equal(states.filter(({ status }) => status === "error" || status === "stopped"), []);
});

test("every path ends in established, refused or closed: whatever waits has a timer that ends it", () => {
  for (const { state, event, next } of steps.filter(({ event }) => (event.type as string).startsWith("xstate.after"))) {
    if (phase(state) === "established") assert.ok(["established", "closed"].includes(phase(next)));
    else assert.is(phase(next), "refused", `${phase(state)} after ${event.type}`);
  }
  for (const state of states.filter((each) => !isFinal(each))) {
    assert.ok(timersOf(state).length > 0, `${JSON.stringify(state.value)} waits without a timer`);
  }
});

test("refused and closed are final and say why", () => {
  for (const state of states) {
    const { refusal, reason } = state.context;
    assert.is(isFinal(state), phase(state) === "refused" || phase(state) === "closed");
    if (phase(state) === "refused") assert.ok(refusal !== undefined, "refused without a refusal");
    if (phase(state) === "closed") assert.ok(reason !== undefined, "closed without a reason");
  }
});

test("established and opening are reached with every check's proof, made under the snapshot in force", () => {
  const open = states.filter((state) => ["opening", "established"].includes(phase(state)));
  assert.ok(open.length >= 6, `${open.length} states`);
  for (const state of open) assert.ok(isProven(state), serializeState(state));
});

test("established is reached from opening, and opening from securing, and each from nowhere else", () => {
  const before = (wanted: string) =>
    new Set(steps.filter(({ next }) => phase(next) === wanted).map(({ state }) => phase(state)));
  assert.equal([...before("established")].sort(), ["established", "opening"]);
  assert.equal([...before("opening")].sort(), ["opening", "securing"]);
  assert.equal([...before("securing")].sort(), ["admitting", "securing"]);
});

test("a check that fails is refused at the first verification and closed at a later one", () => {
  for (const { state, event, next } of steps) {
    if (phase(state) === "securing" && event.type === "tls.secured") {
      const passes = event.version === "TLSv1.3" &&
        Object.keys(JSON.parse(new TextDecoder().decode(event.chain[0] as Uint8Array))).length === 0;
      const trusted = Object.keys(scriptUnder(state.context.snapshot)).length === 0;
      assert.is(phase(next), passes && trusted ? "opening" : "refused");
    }
    if (["opening", "established"].includes(phase(state)) && event.type === "trust.changed") {
      const trusted = Object.keys(scriptUnder(event.snapshot)).length === 0;
      assert.is(phase(next), trusted ? phase(state) : "closed");
    }
  }
});

test("an event that no state foresees refuses before the verdict is used and closes after", () => {
  for (const { state, next } of steps.filter(({ event }) => (event.type as string) === "unheard.of")) {
    assert.is(phase(next), phase(state) === "established" ? "closed" : "refused");
  }
});

test("every simple path, one by one, with a change that is accepted and one that is not", () => {
  const few: readonly GateCommand[] = [
    { type: "connection.securing" },
    secured(),
    secured({ identity: "refuses" }),
    { type: "connection.opened" },
    { type: "trust.changed", snapshot: scripted(2, "anchors-2") },
    { type: "trust.changed", snapshot: scripted(3, "anchors-3", { path: "refuses" }) },
  ];
  const paths = getSimplePaths(gate, optionsFor(few) as never) as unknown as readonly {
    readonly steps: readonly { readonly state: State }[];
  }[];
  assert.ok(paths.length > 20, `${paths.length} paths`);
  for (const { steps: walked } of paths) {
    for (const { state } of walked.filter((step) => ["opening", "established"].includes(phase(step.state)))) {
      assert.ok(isProven(state), serializeState(state));
    }
  }
});

test("what admission refuses never gets further", () => {
  const refused = Result.fail(new RateLimited({ limit: "handshakes a second", max: 5 }));
  for (const admission of [refused, undefined, true, Promise.resolve(true)]) {
    const reached = graphOf(optionsFor(events, { admission: admission ?? null }));
    assert.equal(reached.map(({ state }) => phase(state)), ["refused"], String(admission));
  }
});

test("a gate whose path check says nothing of the snapshot is caught by these tests", () => {
  const careless = { ...scriptedChecks(), path: () => Result.succeed({ script: {} }) as never };
  const reached = graphOf(optionsFor(events, { checks: careless })).map(({ state }) => state);
  assert.ok(reached.some((state) => phase(state) === "established" && !isProven(state)));
});

test.run();
