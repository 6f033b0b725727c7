/**
 * A compiled machine does what xstate makes of its configuration: for machines drawn at random, with nested and final states,
 * guards, `always`, `after`, assignments and emitted events. What the compiler does not know is refused with its name.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { assign, cancel, createActor, createMachine, emit, fromPromise, not, raise, sendTo, setup } from "xstate";
import type { AnyStateMachine } from "xstate";
import { compileMachine } from "../../actors/runtime/compiled_machine.ts";
import { NotCompilable } from "../../actors/runtime/compiled_steps.ts";
import { randomOf, type RandomStream } from "../../actors/runtime/random.ts";
import { assertSame, type Play } from "../support/compiled.ts";

const test = suite("compileMachine()");
/** Machines that are drawn, and the plays of each. */
const machines = 300;
const playsOfEach = 8;

/** What functions of machines were called with. */
const acts: unknown[] = [];

const kit = setup({
  types: {
    input: {} as { readonly seed: number },
    context: {} as { readonly count: number; readonly last: string; readonly trail: readonly string[] },
    events: {} as { readonly type: string; readonly size?: number },
    emitted: {} as { readonly type: string; readonly count: number },
  },
  guards: {
    divides: ({ context }, { by }: { by: number }) => context.count % by === 0,
    isLarge: ({ event }) => (event.size ?? 0) > 2,
    isFresh: ({ context }) => context.trail.length < 12,
  },
  actions: {
    count: assign(({ context }) => ({ count: context.count + 1 })),
    add: assign({ count: ({ context }, { by }: { by: number }) => context.count + by, last: "added" }),
    forget: assign({ last: "forgotten" }),
    note: assign(({ context, event }, { what }: { what: string }) => ({
      last: what,
      trail: [...context.trail, `${what} at ${event.type}`].slice(-20),
    })),
    say: emit(({ context }) => ({ type: "said", count: context.count })),
    sayFixed: emit({ type: "fixed", count: 0 }),
    act: ({ context, event, self }, params: unknown) => {
      acts.push([context, event, params, self.getSnapshot().context]);
    },
  },
  delays: { grows: ({ context }) => 10 + context.count % 7 },
});

const types = ["a", "b", "c", "d.e"];

const inline = ({ context }: { readonly context: object }) => void acts.push({ ...context });

/** Draws a machine. */
function drawn(seed: number): AnyStateMachine {
  const random = randomOf(seed, "machine");
  let made = 0;
  const names: string[] = [];
  const action = () =>
    random.pick(
      [
        "count",
        "say",
        "sayFixed",
        "forget",
        assign({ last: "inline" }),
        assign({ count: ({ context }: { context: { count: number } }) => context.count + 2 }),
        assign(({ event }: { event: { type: string } }) => ({ last: event.type })),
        emit({ type: "inline", count: 1 }),
        { type: "act", params: { by: random.whole(1, 4) } },
        inline,
        { type: "add", params: { by: random.whole(1, 4) } },
        { type: "note", params: { what: `n${random.whole(0, 10)}` } },
        {
          type: "note",
          params: ({ context, event }: { context: { count: number }; event: { type: string } }) => ({
            what: `${event.type}${context.count}`,
          }),
        },
      ] as const,
    );
  const actions = () => Array.from({ length: random.whole(0, 3) }, action);
  const guard = () =>
    random.pick(
      [
        undefined,
        "isLarge",
        "isFresh",
        { type: "divides", params: { by: random.whole(1, 5) } },
      ] as const,
    );
  const skeleton = (depth: number): object => {
    const name = `s${made++}`;
    names.push(name);
    const children = depth < 2 && random.chance(0.4) ? random.whole(1, 4) : 0;
    const states = Array.from({ length: children }, () => skeleton(depth + 1));
    return { name, states };
  };
  const top = Array.from({ length: random.whole(2, 5) }, () => skeleton(0));
  const transition = () => {
    const when = guard();
    const to = random.chance(0.75) ? { target: `#${random.pick(names)}` } : {};
    return { ...to, actions: actions(), ...(when === undefined ? {} : { guard: when }) };
  };
  const transitions = () => Array.from({ length: random.whole(1, 3) }, transition);
  const some = (keys: readonly string[], chance: number) =>
    Object.fromEntries(keys.filter(() => random.chance(chance)).map((key) => [key, transitions()]));
  const whole = (given: object): [string, object] => {
    const { name, states } = given as { name: string; states: object[] };
    const inner = states.map(whole);
    return [name, {
      id: name,
      entry: actions(),
      exit: actions(),
      on: {
        ...some(types, 0.4),
        ...(random.chance(0.2) ? { "*": transitions() } : {}),
        ...(random.chance(0.2) ? { b: {} } : {}),
      },
      after: some(["5", "grows"], 0.3),
      // Guarded by what ends: no chain of them is endless.
      ...(random.chance(0.2)
        ? { always: [{ guard: "isFresh", target: `#${random.pick(names)}`, actions: [noted, ...actions()] }] }
        : {}),
      ...(inner.length === 0 ? {} : { initial: inner[0]?.[0], states: Object.fromEntries(inner) }),
    }];
  };
  const noted = { type: "note", params: { what: "always" } } as const;
  const states = Object.fromEntries([...top.map(whole), ["end", { id: "end", type: "final", entry: actions() }]]);
  names.push("end");
  const config = {
    id: "drawn",
    context: ({ input }: { input: { seed: number } }) => ({ count: input.seed, last: "", trail: [] }),
    initial: Object.keys(states)[0],
    entry: actions(),
    exit: actions(),
    on: { ...some(types, 0.2), finish: { target: "#end", actions: actions() } },
    states,
  };
  return kit.createMachine(config as Parameters<typeof kit.createMachine>[0]);
}

function playsOf(random: RandomStream): readonly Play[] {
  return Array.from({ length: random.whole(3, 15) }, () => {
    if (random.chance(0.25)) return { passMs: random.whole(1, 13) };
    const type = random.chance(0.05) ? "finish" : random.pick([...types, "unheard"]);
    return { type, size: random.whole(0, 6) } as Play;
  });
}

test(`${machines} drawn machines: the same states, contexts, emitted events, timers and steps`, () => {
  let [steps, calls] = [0, 0];
  for (let seed = 0; seed < machines; seed++) {
    const machine = drawn(seed);
    const random = randomOf(seed, "plays");
    for (let play = 0; play < playsOfEach; play++) {
      steps += assertSame(machine, { seed: play }, playsOf(random));
      const called = acts.splice(0); // by the machine, then by what it was compiled to
      assert.equal(called.slice(called.length / 2), called.slice(0, called.length / 2), `seed ${seed}, play ${play}`);
      calls += called.length;
    }
  }
  assert.ok(calls > machines * playsOfEach, `${calls} calls`);
  assert.ok(steps > machines * playsOfEach * 4, `${steps} steps`);
});

const still: readonly (readonly [string, AnyStateMachine])[] = [
  ["no states and no context", createMachine({ id: "m", on: { a: { actions: emit({ type: "said" }) } } })],
  [
    "a context that is the same for all",
    createMachine({ id: "m", context: { count: 1 }, on: { a: { actions: assign({ last: "a" }) } } }),
  ],
  [
    "a transition without an event that changes nothing is taken once",
    createMachine({ id: "m", initial: "s", states: { s: { always: { actions: emit({ type: "said" }) } } } }),
  ],
  [
    "one transition without an event after the other, of which none changes the context",
    createMachine({
      id: "m",
      initial: "s",
      states: { s: { on: { a: "t" } }, t: { always: "u" }, u: { always: "v" }, v: { entry: emit({ type: "there" }) } },
    }),
  ],
  [
    "a transition of the whole machine to one of its states",
    createMachine({ id: "m", initial: "s", on: { a: ".t" }, states: { s: {}, t: { exit: emit({ type: "left" }) } } }),
  ],
  [
    "an event of its own, later",
    createMachine({
      id: "m",
      initial: "s",
      states: { s: { entry: raise({ type: "a" }, { delay: 5, id: "later" }), on: { a: "t" } }, t: {} },
    }),
  ],
];
for (const [name, machine] of still) {
  test(`the same as xstate: ${name}`, () => {
    assertSame(machine, undefined, [{ type: "a" }, { type: "b" }, { passMs: 10 }, { type: "a" }, { type: "a" }]);
  });
}

test("an event that changes nothing leaves the snapshot as it is, and none comes after the end", () => {
  const machine = createMachine({
    id: "m",
    context: { count: 0 },
    initial: "s",
    on: { go: { target: ".end", actions: assign({ count: 1 }) } },
    states: { s: {}, end: { type: "final" } },
  });
  const compiled = compileMachine(machine);
  for (const logic of [machine, compiled]) {
    const actor = createActor(logic).start();
    const before = actor.getSnapshot();
    actor.send({ type: "unheard" });
    assert.ok(actor.getSnapshot() === before);
  }
  const actor = createActor(compiled).start();
  actor.send({ type: "go" });
  const ended = actor.getSnapshot();
  assert.ok(compiled.transition(ended, { type: "go" }, {} as Parameters<typeof compiled.transition>[2]) === ended);
});

test("inspectors are told of steps only by a machine that was compiled for them", () => {
  const machine = createMachine({ id: "m", on: { go: {} } });
  const steps = [true, false].map((inspected) => {
    let told = 0;
    const inspect = ({ type }: { readonly type: string }) => void (type === "@xstate.microstep" && told++);
    const actor = createActor(compileMachine(machine, { inspected }), { inspect }).start();
    actor.send({ type: "go" });
    return told;
  });
  assert.equal(steps, [1, 0]);
});

test("inspectors are told the same names and parameters of functions", () => {
  const machine = setup({ actions: { named: function other() {} } }).createMachine({
    id: "m",
    entry: ["named", { type: "named", params: { by: 1 } } as never, function inline() {}, () => {}],
  });
  const [interpreted, compiled] = [machine, compileMachine(machine)].map((logic) => {
    const told: unknown[] = [];
    const inspect = (event: { readonly type: string }) => {
      if (event.type === "@xstate.action") told.push((event as unknown as { readonly action: unknown }).action);
    };
    createActor(logic, { inspect }).start();
    return told;
  });
  const names = compiled!.map((action) => (action as { readonly type: string }).type);
  assert.equal(names, ["named", "named", "inline", "(anonymous)"]);
  assert.equal(compiled, interpreted);
});

test("a delay that is no number ends the actor", () => {
  const failing = setup({ delays: { odd: () => "soon" as unknown as number } })
    .createMachine({ id: "failing", initial: "a", states: { a: { on: { go: "b" } }, b: { after: { odd: "a" } } } });
  const actor = createActor(compileMachine(failing));
  const errors: string[] = [];
  actor.subscribe({ error: (error) => errors.push(String(error)) });
  actor.start();
  actor.send({ type: "go" });
  assert.equal(errors, ["TypeError: the delay odd of failing is not a number"]);
});

test("a step that throws ends the actor with the same error", () => {
  const failing = setup({
    actions: {
      fail: assign(() => {
        throw new Error("thrown by a step");
      }),
    },
  }).createMachine({
    id: "failing",
    context: {},
    on: { go: { actions: "fail" } },
  });
  for (const logic of [failing, compileMachine(failing)]) {
    const actor = createActor(logic);
    const errors: string[] = [];
    actor.subscribe({ error: (error) => errors.push(String(error)) });
    actor.start();
    actor.send({ type: "go" });
    assert.equal([errors, actor.getSnapshot().status], [["Error: thrown by a step"], "error"]);
  }
});

test("a context that cannot be made ends the actor before it starts", () => {
  const failing = createMachine({
    id: "failing",
    context: () => {
      throw new Error("no context");
    },
  });
  for (const logic of [failing, compileMachine(failing)]) {
    const actor = createActor(logic);
    const errors: string[] = [];
    actor.subscribe({ error: (error) => errors.push(String(error)) });
    actor.start();
    assert.equal(errors, ["Error: no context"]);
  }
});

const parts = { states: { a: {}, b: {} }, initial: "a" } as const;
/** What is no guard or action, by xstate's types. */
const odd = (value: unknown) => value as never;
const guarded = (guard: unknown) => createMachine({ id: "m", on: { go: { guard: odd(guard), actions: [] } } });
const entered = (action: unknown) => createMachine({ id: "m", entry: odd([action]) });
const unknown: readonly (readonly [string, AnyStateMachine, RegExp])[] = [
  ["parallel states", createMachine({ id: "m", type: "parallel", states: { a: {} } }), /parallel state m/],
  ["history", createMachine({ id: "m", initial: "a", states: { a: {}, h: { type: "history" } } }), /history/],
  ["invoke", createMachine({ id: "m", invoke: { src: fromPromise(() => Promise.resolve()) } }), /invoke/],
  ["tags", createMachine({ id: "m", ...parts, tags: ["t"] }), /tags/],
  ["output", createMachine({ id: "m", ...parts, output: 1 }), /output/],
  ["onDone", createMachine({ id: "m", initial: "a", states: { a: { onDone: "a" } } }), /onDone/],
  ["reenter", createMachine({ id: "m", ...parts, on: { go: { target: ".b", reenter: true } } }), /reenter/],
  [
    "a nested end",
    createMachine({ id: "m", initial: "a", states: { a: { initial: "e", states: { e: { type: "final" } } } } }),
    /final state m\.a\.e/,
  ],
  ["a partial wildcard", createMachine({ id: "m", on: { "x.*": { actions: emit({ type: "e" }) } } }), /x\.\*/],
  ["raise", createMachine({ id: "m", entry: raise({ type: "go" }) }), /raise/],
  ["sendTo", createMachine({ id: "m", entry: sendTo("other", { type: "go" }) }), /xstate\.sendTo/],
  ["an action that is not there", createMachine({ id: "m", entry: "missing" }), /action missing/],
  [
    "a guard that is not there",
    createMachine({ id: "m", on: { go: { guard: "missing", actions: [] } } }),
    /guard missing/,
  ],
  [
    "a guard made of guards",
    setup({ guards: { g: () => true } }).createMachine({ id: "m", on: { go: { guard: not("g") } } }),
    /guard/,
  ],
  [
    "a named guard made of guards",
    setup({ guards: { g: () => true, n: odd(not("g" as never)) } }).createMachine({
      id: "m",
      on: { go: { guard: "n" } },
    }),
    /guard n of m/,
  ],
  ["a named guard that is not there", guarded({ type: "missing" }), /guard missing of m/],
  ["an object as guard", guarded({}), /guard \[object Object\] of m/],
  ["a number as guard", guarded(7), /guard 7 of m/],
  ["null as guard", guarded(null), /guard null of m/],
  ["a named action that is not there", entered({ type: "missing" }), /action missing of m/],
  ["an object as action", entered({}), /action \[object Object\] of m/],
  ["a number as action", entered(7), /action 7 of m/],
  ["null as action", entered(null), /action null of m/],
  ["a delayed raise without a name", entered(raise({ type: "go" }, { delay: 5 })), /raise of m/],
  ["a raise without a delay", entered(raise({ type: "go" }, { id: "later" })), /raise of m/],
  ["a raise of a computed event", entered(raise(() => ({ type: "go" }), { delay: 5, id: "later" })), /raise of m/],
  ["a cancel of a computed name", entered(cancel(() => "later")), /cancel of m/],
  [
    "a transition to the machine itself",
    createMachine({ id: "m", ...parts, on: {}, states: { a: { on: { go: "#m" } }, b: {} } }),
    /transition of m\.a to m/,
  ],
  [
    "a transition to several states",
    createMachine({ id: "m", ...parts, on: { go: odd({ target: [".a", ".b"] }) } }),
    /targets of a transition of m/,
  ],
  [
    "what no transition has",
    createMachine({ id: "m", on: { go: odd({ in: "a", actions: [] }) } }),
    /in of a transition of m/,
  ],
  ["a delay that is not there", createMachine({ id: "m", ...parts, after: { missing: ".b" } }), /delay/],
  [
    "actions of an initial transition",
    createMachine({ id: "m", initial: { target: "a", actions: emit({ type: "e" }) }, states: { a: {} } }),
    /initial transition of m/,
  ],
];
for (const [name, machine, message] of unknown) {
  test(`is refused: ${name}`, () => {
    assert.throws(
      () => compileMachine(machine),
      (error: unknown) =>
        error instanceof NotCompilable && message.test(error.message) || assert.unreachable(String(error)),
    );
  });
}

test.run();
