/**
 * Actions and guards of a compiled machine: what `assign`, `emit` and `after` do, as plain functions, and the machine's own functions.
 *
 * @module
 */
import type { AnyActorScope, AnyStateMachine, EventObject } from "xstate";

/** The context of any machine. */
export type Context = Record<string, unknown>;

/** The scope that xstate hands an actor's logic, as far as a compiled machine uses it. */
export type Scope = Pick<AnyActorScope, "self" | "system" | "defer" | "emit" | "actionExecutor">;

/** One event on its way through the machine; steps replace `context`. */
export interface Run {
  context: Context;
  readonly event: EventObject;
  readonly scope: Scope;
}

/** One action. */
export type Step = (run: Run) => void;
/** Whether a transition is taken. */
export type Guard = (context: Context, event: EventObject) => boolean;

/** A machine holds what the compiler does not know: it would behave otherwise than xstate. */
export class NotCompilable extends Error {
  override readonly name = "NotCompilable";
}

type Params = (context: Context, event: EventObject) => unknown;
interface Args {
  readonly context: Context;
  readonly event: EventObject;
  readonly self: Scope["self"];
  readonly system: Scope["system"];
}
type Act = (args: Args, params: unknown) => void;
type Expression<Value> = (args: Args, params: unknown) => Value;
/** An action of xstate's own, as it stands in a machine. */
interface Builtin {
  readonly type: string;
  readonly assignment?: Expression<Context> | Context;
  readonly event?: EventObject | Expression<EventObject>;
  readonly id?: string;
  readonly delay?: unknown;
  readonly sendId?: unknown;
}

const argsOf = ({ context, event, scope: { self, system } }: Run): Args => ({ context, event, self, system });

/** What is given where an action or guard is named: its name, and its parameters where it has some. */
function namedOf(reference: unknown): { readonly name: string; readonly params: Params } | undefined {
  if (typeof reference === "string") return { name: reference, params: () => undefined };
  if (typeof reference !== "object" || reference === null || !("type" in reference)) return undefined;
  const { type, params } = reference as { readonly type: string; readonly params?: unknown };
  if (typeof params !== "function") return { name: type, params: () => params };
  const expression = params as (args: { readonly context: Context; readonly event: EventObject }) => unknown;
  return { name: type, params: (context, event) => expression({ context, event }) };
}

/** A guard of a transition. */
export function compileGuard(machine: AnyStateMachine, guard: unknown): Guard | undefined {
  if (guard === undefined) return undefined;
  const named = namedOf(guard);
  const found: unknown = named === undefined ? undefined : machine.implementations.guards[named.name];
  if (named === undefined || typeof found !== "function" || "check" in found) {
    throw new NotCompilable(`guard ${named?.name ?? String(guard)} of ${machine.id}`);
  }
  const { params } = named;
  const check = found as (args: { readonly context: Context; readonly event: EventObject }, params: unknown) => boolean;
  return (context, event) => check({ context, event }, params(context, event));
}

/** The actions of a transition, an entry or an exit. */
export function compileActions(machine: AnyStateMachine, actions: readonly unknown[]): readonly Step[] {
  return actions.map((action) => compileAction(machine, action));
}

function compileAction(machine: AnyStateMachine, action: unknown): Step {
  const named = namedOf(action);
  const found: unknown = typeof action === "function"
    ? action
    : named === undefined
    ? undefined
    : machine.implementations.actions[named.name];
  const builtin = found as Partial<Builtin> | undefined;
  const params = named?.params ?? (() => undefined);
  if (typeof found === "function" && builtin?.type === undefined) {
    return executing(named?.name ?? (found.name || "(anonymous)"), found as Act, params);
  }
  switch (builtin?.type) {
    case "xstate.assign":
      return assigning(builtin.assignment ?? {}, params);
    case "xstate.emit":
      return emitting(builtin.event, params);
    case "xstate.raise":
      return scheduling(machine, builtin);
    case "xstate.cancel":
      return cancelling(machine, builtin.sendId);
    default:
      throw new NotCompilable(`action ${named?.name ?? builtin?.type ?? String(action)} of ${machine.id}`);
  }
}

/** A function of the machine's own: xstate's executor calls it, at once or where the actor has started. */
function executing(type: string, exec: Act, given: Params): Step {
  return (run) => {
    const params = given(run.context, run.event);
    const action = { type, info: argsOf(run), params, exec };
    run.scope.actionExecutor(action as Parameters<Scope["actionExecutor"]>[0]);
  };
}

function assigning(assignment: Expression<Context> | Context, params: Params): Step {
  if (typeof assignment === "function") {
    const expression = assignment as Expression<Context>;
    return (run) => {
      const { context, event } = run;
      run.context = { ...context, ...expression(argsOf(run), params(context, event)) };
    };
  }
  const values = Object.entries(assignment);
  if (values.every(([, value]) => typeof value !== "function")) {
    return (run) => void (run.context = { ...run.context, ...assignment });
  }
  return (run) => {
    const { context, event } = run;
    const given = params(context, event);
    const args = argsOf(run);
    const changed = values.map(([key, value]) =>
      [key, typeof value === "function" ? (value as Expression<unknown>)(args, given) : value] as const
    );
    run.context = { ...context, ...Object.fromEntries(changed) };
  };
}

function emitting(event: Builtin["event"], params: Params): Step {
  return (run) => {
    const { scope, context } = run;
    const emitted = typeof event === "function" ? event(argsOf(run), params(context, run.event)) : event;
    scope.defer(() => scope.emit(emitted as EventObject)); // what is none throws there, as with xstate
  };
}

/** What `after` makes of a state's entry: the event that it sends itself. */
function scheduling(machine: AnyStateMachine, { event, id, delay }: Partial<Builtin>): Step {
  const found: unknown = typeof delay === "string" ? machine.implementations.delays[delay] : delay;
  if (typeof event !== "object" || id === undefined || (typeof found !== "function" && typeof found !== "number")) {
    throw new NotCompilable(`raise of ${machine.id} without a known delay`);
  }
  return (run) => {
    const { scope } = run;
    const ms = typeof found === "number" ? found : (found as Expression<unknown>)(argsOf(run), undefined);
    if (typeof ms !== "number") throw new TypeError(`the delay ${String(delay)} of ${machine.id} is not a number`);
    scope.defer(() => scope.system.scheduler.schedule(scope.self, scope.self, event, ms, id));
  };
}

function cancelling(machine: AnyStateMachine, id: unknown): Step {
  if (typeof id !== "string") throw new NotCompilable(`cancel of ${machine.id} with a computed id`);
  return ({ scope }) => scope.defer(() => scope.system.scheduler.cancel(scope.self, id));
}
