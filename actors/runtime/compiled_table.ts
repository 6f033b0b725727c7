/**
 * The table of a compiled machine: for each state that can be the active one, what each event does.
 *
 * It holds what a machine of nested and final states with guards, `always` and `after` needs. Anything else is not compiled: the
 * machine keeps its meaning or is refused.
 *
 * @module
 */
import type { AnyStateMachine, AnyStateNode, StateValue } from "xstate";
import { compileActions, compileGuard, type Guard, NotCompilable, type Step } from "./compiled_steps.ts";

/** A state without states of its own. */
export interface CompiledState {
  /** As xstate has it: a name, or names within names. */
  readonly value: StateValue;
  readonly isFinal: boolean;
  /** By each event type that the machine names, in the order in which guards are asked. */
  readonly on: ReadonlyMap<string, readonly CompiledTransition[]>;
  /** For every other event. */
  readonly otherwise: readonly CompiledTransition[];
  readonly always: readonly CompiledTransition[];
}

/** A transition from one state. */
export interface CompiledTransition {
  readonly guard: Guard | undefined;
  /** Exits from the innermost state out, the transition's own actions, entries from the outermost state in. */
  readonly steps: readonly Step[];
  readonly to: CompiledState;
  /** As the machine has it, for inspection. */
  readonly definition: object;
}

/** A compiled machine. */
export interface CompiledTable {
  readonly initial: CompiledState;
  /** The entries of the first states. */
  readonly entry: readonly Step[];
}

type Definition = AnyStateNode["transitions"] extends Map<string, (infer Each)[]> ? Each : never;

const stateKeys = ["id", "meta", "description", "context", "initial", "states", "type", "entry", "exit", "on", "after"];
const knownStateKeys = new Set([...stateKeys, "always", "types", "version", "schemas"]);
const transitionKeys = [
  "target",
  "actions",
  "guard",
  "description",
  "meta",
  "source",
  "reenter",
  "eventType",
  "toJSON",
];
const knownTransitionKeys = new Set([...transitionKeys, "event", "delay"]);

/** The machine's table. Throws {@linkcode NotCompilable} for what it does not know. */
export function compileTable(machine: AnyStateMachine): CompiledTable {
  const nodes = nodesOf(machine.root);
  for (const node of nodes) checkNode(node);
  const types = new Set(nodes.flatMap((node) => [...node.transitions.keys()]).filter((type) => type !== "*"));
  const leaves = new Map(nodes.filter(isLeaf).map((node) => [node, emptyState(node)] as const));
  for (const [node, state] of leaves) {
    const compiled = (definitions: readonly Definition[]) =>
      definitions.map((definition) => compileTransition({ machine, leaves, node, definition }));
    for (const type of types) state.on.set(type, compiled(candidates(node, type)));
    state.otherwise.push(...compiled(candidates(node, undefined)));
    state.always.push(...compiled(chainOf(node).flatMap(({ always }) => always ?? [])));
  }
  const first = enteredBelow(machine.root);
  const initial = stateOf(leaves, first.at(-1) ?? machine.root);
  const entry = [machine.root, ...first].flatMap((node) => compileActions(machine, node.entry));
  return { initial, entry };
}

// ── States ──

interface BeingCompiled extends CompiledState {
  readonly on: Map<string, readonly CompiledTransition[]>;
  readonly otherwise: CompiledTransition[];
  readonly always: CompiledTransition[];
}

const nodesOf = (node: AnyStateNode): readonly AnyStateNode[] => [
  node,
  ...Object.values(node.states).flatMap((child) => nodesOf(child as AnyStateNode)),
];
const isLeaf = ({ type }: AnyStateNode): boolean => type === "atomic" || type === "final";

function emptyState(node: AnyStateNode): BeingCompiled {
  return { value: valueOf(node.path), isFinal: node.type === "final", on: new Map(), otherwise: [], always: [] };
}

function valueOf([first, ...rest]: readonly string[]): StateValue {
  if (first === undefined) return {};
  return rest.length === 0 ? first : Object.freeze({ [first]: valueOf(rest) });
}

/** A state and those around it, from the innermost out. */
function chainOf(node: AnyStateNode): readonly AnyStateNode[] {
  return node.parent === undefined ? [node] : [node, ...chainOf(node.parent)];
}

/** The states that are entered with a state, below it. */
function enteredBelow(node: AnyStateNode): readonly AnyStateNode[] {
  if (node.type !== "compound") return [];
  const { target: [first], actions } = node.initial; // xstate takes one child of the state there and nothing else
  if (first === undefined || actions.length > 0) throw new NotCompilable(`initial transition of ${node.id}`);
  return [first, ...enteredBelow(first)];
}

function stateOf(leaves: ReadonlyMap<AnyStateNode, CompiledState>, node: AnyStateNode): CompiledState {
  const state = leaves.get(node);
  if (state === undefined) throw new NotCompilable(`${node.id} without an active state`);
  return state;
}

function checkNode(node: AnyStateNode): void {
  const { id, type, config, parent, machine } = node;
  const unknown = Object.keys(config).find((key) => !knownStateKeys.has(key));
  if (unknown !== undefined) throw new NotCompilable(`${unknown} of ${id}`);
  if (type === "parallel" || type === "history") throw new NotCompilable(`${type} state ${id}`);
  if (type === "final" && parent !== machine.root) throw new NotCompilable(`final state ${id} within another state`);
}

// ── Transitions ──

/** Every transition for an event (or for one that no state names), in the order in which guards are asked. */
function candidates(node: AnyStateNode, type: string | undefined): readonly Definition[] {
  return chainOf(node).flatMap(({ id, transitions }) => {
    const partial = [...transitions.keys()].find((each) => each !== "*" && each.endsWith("*"));
    if (partial !== undefined) throw new NotCompilable(`event ${partial} of ${id}`);
    const exact = type === undefined ? [] : transitions.get(type) ?? [];
    return [...exact, ...transitions.get("*") ?? []];
  });
}

function compileTransition(
  { machine, leaves, node, definition }: {
    readonly machine: AnyStateMachine;
    readonly leaves: ReadonlyMap<AnyStateNode, CompiledState>;
    readonly node: AnyStateNode;
    readonly definition: Definition;
  },
): CompiledTransition {
  const { source, target, reenter } = definition;
  const unknown = Object.keys(definition).find((key) => !knownTransitionKeys.has(key));
  if (unknown !== undefined) throw new NotCompilable(`${unknown} of a transition of ${source.id}`);
  if (reenter) throw new NotCompilable(`reenter of a transition of ${source.id}`);
  if (target !== undefined && target.length !== 1) throw new NotCompilable(`targets of a transition of ${source.id}`);
  const own = compileActions(machine, definition.actions);
  const guard = compileGuard(machine, definition.guard);
  const [to] = (target ?? []) as readonly AnyStateNode[];
  if (to === undefined) return { guard, steps: own, to: stateOf(leaves, node), definition };
  const domain = domainOf(source as AnyStateNode, to);
  const chain = chainOf(node);
  const exited = chain.slice(0, chain.indexOf(domain));
  const within = chainOf(to);
  const entered = [...within.slice(0, within.indexOf(domain)).toReversed(), ...enteredBelow(to)];
  const next = stateOf(leaves, entered.at(-1) ?? node);
  const left = next.isFinal ? chainOf(entered.at(-1) ?? node).flatMap(({ exit }) => exit) : [];
  const steps = [
    ...compileActions(machine, exited.flatMap(({ exit }) => exit)),
    ...own,
    ...compileActions(machine, entered.flatMap(({ entry }) => entry)),
    ...compileActions(machine, left),
  ];
  return { guard, steps, to: next, definition };
}

/** The innermost state that a transition does not leave. */
function domainOf(source: AnyStateNode, target: AnyStateNode): AnyStateNode {
  if (chainOf(target).includes(source)) return source;
  const around = new Set(chainOf(target).slice(1));
  const common = chainOf(source).find((node) => around.has(node));
  if (common === undefined) throw new NotCompilable(`transition of ${source.id} to ${target.id}`);
  return common;
}
