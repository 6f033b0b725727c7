/**
 * The compiled gate is the gate's machine: every state and step of its enumeration, and event sequences drawn at random with
 * their timers, contexts and reports. `COMPILED_SEQUENCES=100000` plays more of them.
 */
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ActorLogic, Snapshot } from "xstate";
import { getAdjacencyMap } from "xstate/graph";
import {
  type ConnectionGateContext,
  type ConnectionGateInput,
  connectionGateMachine,
} from "../../actors/gate/connection_gate.ts";
import type { GateCheckName } from "../../actors/gate/gate_checks.ts";
import { compileMachine } from "../../actors/runtime/compiled_machine.ts";
import { randomOf, type RandomStream } from "../../actors/runtime/random.ts";
import { RateLimited, Unreachable } from "../../pki/refusal.ts";
import type { GateCommand } from "../../transport/port.ts";
import { assertSame, type Play } from "../support/compiled.ts";
import {
  type Behaviour,
  checkNames,
  gateInput,
  type Script,
  scripted,
  scriptedChecks,
  secured,
} from "../support/gates.ts";

const test = suite("the compiled gate");
const sequences = Number(process.env["COMPILED_SEQUENCES"] ?? 2_000);
const behaviours: readonly Behaviour[] = ["refuses", "throws", "says nothing", "promises"];
const refusal = new Unreachable({ detail: "scripted" });

function drawnScript(random: RandomStream, checks: readonly GateCheckName[]): Script {
  return random.chance(0.7) ? {} : { [random.pick(checks)]: random.pick(behaviours) };
}

function drawnEvent(random: RandomStream, at: number): Play {
  const underTrust = ["algorithm", "path", "validity", "revocation", "role"] as const;
  const snapshot = scripted(at + 2, `anchors-${random.whole(1, 4)}`, drawnScript(random, underTrust));
  // The usual course is drawn more often than each other event: most sequences get through the handshake.
  if (at < 3 && random.chance(0.8)) {
    const script = drawnScript(random, ["tlsVersion", "wellFormed", "identity"]);
    return [{ type: "connection.securing" }, secured(script), { type: "connection.opened" }][at] as Play;
  }
  return random.pick<Play>([
    { type: "connection.securing" },
    secured(),
    { type: "tls.failed", refusal } as GateCommand,
    { type: "connection.opened" },
    { type: "connection.closed", by: random.pick(["us", "them", "lost"]), detail: "drawn" } as GateCommand,
    { type: "opening.failed", refusal } as GateCommand,
    { type: "trust.changed", snapshot } as GateCommand,
    { type: "trust.changed", snapshot } as GateCommand,
    { type: "close", reason: "drawn" } as GateCommand,
    { type: "unheard.of" },
    { passMs: random.pick([1, 49, 50, 4_999, 5_000, 60_000]) },
  ]);
}

test(`${sequences} drawn sequences: the same states, contexts, reports, timers and steps`, () => {
  let steps = 0;
  for (let seed = 0; seed < sequences; seed++) {
    const random = randomOf(seed, "gate");
    const admission = random.chance(0.95)
      ? {}
      : { admission: Result.fail(new RateLimited({ limit: "drawn", max: 1 })) };
    const expiresAt = new Date(random.pick([8.64e15, 1_000, 1_100, 61_000]));
    const input = {
      ...gateInput(scripted(1, "anchors-1", drawnScript(random, checkNames)), admission),
      now: () => 1_000,
      checks: scriptedChecks({ expiresAt }),
    };
    steps += assertSame(connectionGateMachine, input, Array.from({ length: 12 }, (_, at) => drawnEvent(random, at)));
  }
  assert.ok(steps > sequences * 3, `${steps} steps`);
});

type State = Snapshot<unknown> & { readonly value: object | string; readonly context: ConnectionGateContext };
type Logic = ActorLogic<State, GateCommand, ConnectionGateInput>;

/** Every state that is reached, with where each event leads. */
function graphOf(logic: Logic): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const scriptsOf = (checks: readonly GateCheckName[]) =>
    checks.flatMap((check) => (["refuses", "throws"] as const).map((behaviour) => ({ [check]: behaviour }) as Script));
  const events: readonly GateCommand[] = [
    { type: "connection.securing" },
    secured(),
    ...scriptsOf(["tlsVersion", "wellFormed", "identity"]).map(secured),
    { type: "tls.failed", refusal },
    { type: "connection.opened" },
    ...(["us", "them", "lost"] as const).map((by) => ({ type: "connection.closed", by, detail: "scripted" }) as const),
    { type: "opening.failed", refusal },
    ...[{}, ...scriptsOf(["path", "role"])].map((script) =>
      ({ type: "trust.changed", snapshot: scripted(2, "anchors-2", script) }) as const
    ),
    { type: "close", reason: "scripted" },
    ...["unheard.of", ...timers].map((type) => ({ type }) as unknown as GateCommand),
  ];
  const keyOf = ({ value, status, context }: State) => {
    const outcomes = checkNames.map((name) => JSON.stringify(context[name]));
    const { snapshot, opened, verifiedBefore, waitingFor, version, reason } = context;
    const end = [context.refusal?.message, reason];
    return JSON.stringify([
      value,
      status,
      outcomes,
      snapshot.generation,
      snapshot.policy,
      opened,
      verifiedBefore,
      waitingFor,
      version,
      end,
    ]);
  };
  const graph: object = getAdjacencyMap(logic, {
    input: { ...gateInput(scripted(1, "anchors-1")), now: () => 1_000, checks: scriptedChecks() },
    events,
    serializeState: keyOf,
    stopWhen: ({ status }: State) => status !== "active",
    limit: 200_000,
  } as never);
  const rows = graph as Record<string, { readonly transitions: Record<string, { readonly state: State }> }>;
  return Object.fromEntries(
    Object.entries(rows).map(([key, { transitions }]) =>
      [key, Object.fromEntries(Object.entries(transitions).map(([event, { state }]) => [event, keyOf(state)]))] as const
    ),
  );
}

const timers = ["handshaking", "opening", "established"].flatMap((state) =>
  [...connectionGateMachine.getStateNodeById(`connectionGate.${state}`).transitions.keys()]
    .filter((type) => type.startsWith("xstate.after"))
);

test("the enumeration of its states and steps is the machine's", () => {
  assert.is(timers.length, 3);
  const interpreted = graphOf(connectionGateMachine as unknown as Logic);
  const compiled = graphOf(compileMachine(connectionGateMachine) as unknown as Logic);
  assert.ok(Object.keys(interpreted).length > 50, `${Object.keys(interpreted).length} states`);
  assert.equal(Object.keys(compiled).sort(), Object.keys(interpreted).sort());
  for (const [key, steps] of Object.entries(interpreted)) assert.equal(compiled[key], steps, key);
});

test.run();
