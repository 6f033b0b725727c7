/**
 * Runs a machine from a table that is made once, in place of xstate's interpretation of its configuration.
 *
 * The machine stays the only definition: inspection, diagrams and `xstate/graph` read it. What comes out is the logic of an xstate
 * actor with the same states, contexts, emitted events and timers; a machine that holds anything that the compiler does not know
 * is refused when it is compiled. A gate lives for one connection: interpreting its machine was a fifth of a handshake.
 *
 * @module
 */
import type {
  ActorLogic,
  AnyStateMachine,
  ContextFrom,
  EmittedFrom,
  EventFromLogic,
  EventObject,
  InputFrom,
  Snapshot,
  StateValue,
  StateValueFrom,
} from "xstate";
import type { Context, Run, Scope } from "./compiled_steps.ts";
import { type CompiledState, type CompiledTable, type CompiledTransition, compileTable } from "./compiled_table.ts";

/** A snapshot of a compiled machine. */
export type CompiledSnapshot<Value = StateValue, Of = Context> = Snapshot<undefined> & {
  readonly value: Value;
  readonly context: Of;
};

/** The logic of a compiled machine. */
export interface CompiledLogic<Machine extends AnyStateMachine> extends
  ActorLogic<
    CompiledSnapshot<StateValueFrom<Machine>, ContextFrom<Machine>>,
    EventFromLogic<Machine>,
    InputFrom<Machine>,
    Scope["system"],
    EmittedFrom<Machine>
  > {
  /** The machine's. */
  readonly id: string;
  /** What it was compiled from. */
  readonly machine: Machine;
}

/** What of an actor's system tells inspectors. */
interface TellsInspectors {
  readonly _sendInspectionEvent?: (event: object) => void;
}

/** A snapshot while the compiler's own code holds it. */
interface State {
  readonly status: "active" | "done" | "stopped" | "error";
  readonly output: undefined;
  readonly error: unknown;
  readonly context: Context;
  readonly value: StateValue;
  readonly at: CompiledState;
}

/**
 * Compiles a machine. Throws {@linkcode NotCompilable} for what it does not know.
 *
 * @param options `inspected`: tell inspectors of each step, as xstate does (`@xstate.microstep`).
 */
export function compileMachine<Machine extends AnyStateMachine>(
  machine: Machine,
  { inspected = false }: { readonly inspected?: boolean } = {},
): CompiledLogic<Machine> {
  const runner = new Runner(machine, inspected);
  const logic = {
    id: machine.id,
    machine,
    transition: (state: State, event: EventObject, scope: Scope) => runner.transition(state, event, scope),
    getInitialSnapshot: (scope: Scope, input: unknown) => runner.begin(scope, input),
    getPersistedSnapshot: (state: State) => state,
  };
  // The machine's types say what its table does.
  return logic as unknown as CompiledLogic<Machine>;
}

class Runner {
  readonly #makeContext: (input: unknown, scope: Scope) => Context;
  readonly #table: CompiledTable;
  readonly #inspected: boolean;

  constructor(machine: AnyStateMachine, inspected: boolean) {
    this.#table = compileTable(machine);
    this.#inspected = inspected;
    const context: unknown = machine.config.context;
    if (typeof context !== "function") this.#makeContext = () => (context ?? {}) as Context;
    else {
      const make = context as (args: { readonly input: unknown; readonly self: Scope["self"] }) => Context;
      this.#makeContext = (input, { self }) => make({ input, self });
    }
  }

  begin(scope: Scope, input: unknown): State {
    const { initial, entry } = this.#table;
    const run: Run = { context: {}, event: { type: "xstate.init", input } as EventObject, scope };
    try {
      run.context = this.#makeContext(input, scope);
      for (const step of entry) step(run);
      return this.#settle(undefined, initial, run);
    } catch (error) {
      return { ...stateAt(initial, run.context), status: "error", error };
    }
  }

  transition(state: State, event: EventObject, scope: Scope): State {
    const run: Run = { context: state.context, event, scope };
    if (event.type === "xstate.stop") {
      this.#tell(undefined, state.at, run);
      return { ...state, status: "stopped" };
    }
    if (state.status !== "active") return state;
    const { at } = state;
    const taken = choose(at.on.get(event.type) ?? at.otherwise, run);
    const next = taken === undefined ? at : taken.to;
    if (taken !== undefined) { for (const step of taken.steps) step(run); }
    this.#tell(taken, next, run);
    return this.#settle(state, next, run);
  }

  /** Takes the transitions that need no event, until none is left. */
  #settle(before: State | undefined, from: CompiledState, run: Run): State {
    let at = from;
    while (!at.isFinal) {
      const taken = choose(at.always, run);
      if (taken === undefined) break;
      const { context } = run;
      for (const step of taken.steps) step(run);
      this.#tell(taken, taken.to, run);
      if (taken.to === at && run.context === context) break;
      at = taken.to;
    }
    return before !== undefined && at === before.at && run.context === before.context
      ? before
      : stateAt(at, run.context);
  }

  #tell(taken: CompiledTransition | undefined, at: CompiledState, { event, context, scope }: Run): void {
    if (!this.#inspected) return;
    const { self, system } = scope;
    const _transitions = taken === undefined ? [] : [taken.definition];
    const snapshot = stateAt(at, context);
    (system as TellsInspectors)._sendInspectionEvent?.({
      type: "@xstate.microstep",
      actorRef: self,
      event,
      snapshot,
      _transitions,
    });
  }
}

function choose(transitions: readonly CompiledTransition[], { context, event }: Run): CompiledTransition | undefined {
  for (const transition of transitions) {
    if (transition.guard === undefined || transition.guard(context, event)) return transition;
  }
  return undefined;
}

function stateAt(at: CompiledState, context: Context): State {
  return {
    status: at.isFinal ? "done" : "active",
    output: undefined,
    error: undefined,
    context,
    value: at.value,
    at,
  };
}
