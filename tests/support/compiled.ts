/**
 * Plays the same events to a machine and to its compiled form, and compares all that can be seen of the two.
 *
 * @module
 */
import * as assert from "uvu/assert";
import { type AnyActorLogic, type AnyStateMachine, createActor, type EventObject, SimulatedClock } from "xstate";
import { compileMachine } from "../../actors/runtime/compiled_machine.ts";

/** A step of a play: an event, or time that passes. */
export type Play = EventObject | { readonly passMs: number };

interface Seen {
  readonly status: string;
  readonly value: unknown;
  readonly context: unknown;
  /** Emitted, timers that were set and cleared, and microsteps, in their order, since the step before. */
  readonly happened: readonly unknown[];
}

/** What is seen after the start and after each step. Steps after the end are not played. */
function played(logic: AnyActorLogic, input: unknown, plays: readonly Play[]): readonly Seen[] {
  const happened: unknown[] = [];
  const clock = new WatchedClock(happened);
  const inspect = (event: { readonly type: string }) => {
    if (event.type !== "@xstate.microstep") return;
    const { _transitions, snapshot } = event as unknown as {
      _transitions: readonly object[];
      snapshot: { value: unknown };
    };
    happened.push(["step", _transitions.length, JSON.stringify(snapshot.value), ..._transitions.map(labelOf)]);
  };
  const actor = createActor(logic, { input, clock, inspect });
  actor.on("*", (event) => happened.push(["emitted", event]));
  let failed: unknown;
  actor.subscribe({ error: (error) => failed = error });
  const seen: Seen[] = [];
  const look = () => {
    const { status, value, context } = actor.getSnapshot();
    seen.push({ status: failed === undefined ? status : "error", value, context, happened: happened.splice(0) });
    return status === "active" && failed === undefined;
  };
  actor.start();
  let goesOn = look();
  for (const play of plays) {
    if (!goesOn) break;
    if ("passMs" in play) clock.increment(play.passMs);
    else actor.send(play);
    goesOn = look();
  }
  actor.stop();
  return [...seen, { status: actor.getSnapshot().status, value: "", context: "", happened: happened.splice(0) }];
}

function labelOf(transition: object): string {
  const { source, eventType } = transition as { readonly source: { readonly id: string }; readonly eventType: string };
  return `${source.id} ${eventType}`;
}

class WatchedClock extends SimulatedClock {
  readonly #happened: unknown[];

  constructor(happened: unknown[]) {
    super();
    this.#happened = happened;
  }

  override setTimeout(fn: (...args: unknown[]) => void, ms: number): number {
    const id = super.setTimeout(fn, ms);
    this.#happened.push(["set", id, ms]);
    return id;
  }

  override clearTimeout(id: number): void {
    this.#happened.push(["cleared", id]);
    super.clearTimeout(id);
  }
}

/** Fails at the first step at which a machine and its compiled form differ. Returns the steps that were played. */
export function assertSame(machine: AnyStateMachine, input: unknown, plays: readonly Play[]): number {
  const interpreted = played(machine, input, plays);
  const compiled = played(compileMachine(machine, { inspected: true }), input, plays);
  interpreted.forEach((seen, at) => {
    const other = compiled[at];
    const same = sameValue(seen, other);
    if (!same) assert.equal(other, seen, `step ${at} of ${JSON.stringify(plays)}`);
    assert.ok(same, `step ${at}`);
  });
  assert.is(compiled.length, interpreted.length);
  return interpreted.length;
}

/** Equality by structure; what is no plain data (functions, classes of libraries) by reference. */
function sameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) =>
    key in b && sameValue((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key])
  );
}
