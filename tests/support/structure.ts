/**
 * What can be seen of a machine without running it: that its guards are what guards have to be, and that the machines
 * which decide about security cannot get stuck and end an unforeseen case in a safe state.
 *
 * @module
 */
import type { AnyStateMachine, AnyStateNode, AnyTransitionDefinition } from "xstate";

/** The safe states of a security machine, as its root's `meta` names them; undefined for other machines. */
export function safeStates(machine: AnyStateMachine): readonly string[] | undefined {
  const meta = machine.root.meta as { readonly safe?: readonly string[] } | undefined;
  return meta?.safe;
}

/** Every node of a machine, the root first. */
export function nodesOf(machine: AnyStateMachine): AnyStateNode[] {
  const walk = (node: AnyStateNode): AnyStateNode[] => [node, ...Object.values(node.states).flatMap(walk)];
  return walk(machine.root as AnyStateNode);
}

/** What is wrong with the machine's structure, a line each; empty where nothing is. */
export function structuralFindings(machine: AnyStateMachine): string[] {
  const nodes = nodesOf(machine);
  return [
    ...nodes.flatMap((node) => guardFindings(machine, node)),
    ...(safeStates(machine) === undefined ? [] : nodes.flatMap((node) => safetyFindings(machine, node))),
  ];
}

/** The lists of transitions of a node: `always`, and one for each event and delay. */
function listsOf(node: AnyStateNode): [name: string, list: readonly AnyTransitionDefinition[]][] {
  return [["always", node.always ?? []], ...node.transitions.entries()];
}

/** Guards are named, live in `setup`, and are no async functions: xstate takes any truthy value for true. */
function guardFindings(machine: AnyStateMachine, node: AnyStateNode): string[] {
  const known = machine.implementations.guards as Record<string, unknown>;
  return listsOf(node).flatMap(([name, list]) =>
    list.flatMap(({ guard }) => {
      if (guard === undefined) return [];
      const place = `${node.id} ${name}`;
      const type = typeof guard === "string" ? guard : (guard as { type?: unknown }).type;
      if (typeof type !== "string") return isCombined(guard) ? [] : [`${place}: a guard is not named in setup`];
      const implementation = known[type];
      if (implementation === undefined) return [`${place}: guard ${type} is not in setup`];
      return isAsync(implementation) ? [`${place}: guard ${type} is async, which always passes`] : [];
    })
  );
}

const isAsync = (of: unknown): boolean => Object.prototype.toString.call(of) === "[object AsyncFunction]";
/** `and`, `or` and `not` of xstate, whose parts it resolves by name. */
const isCombined = (guard: unknown): boolean => typeof guard === "function" && "check" in guard;

/** In a security machine a guarded list ends in an unguarded step to safety, and no state waits for ever. */
function safetyFindings(machine: AnyStateMachine, node: AnyStateNode): string[] {
  const safe = new Set((safeStates(machine) ?? []).map((key) => `${machine.id}.${key}`));
  const unsafe = listsOf(node).flatMap(([name, list]) => {
    if (!list.some(({ guard }) => guard !== undefined)) return [];
    const last = list.at(-1) as AnyTransitionDefinition;
    if (last.guard !== undefined) return [`${node.id} ${name}: the last way is guarded`];
    const targets = last.target ?? [];
    return targets.length > 0 && targets.every(({ id }) => safe.has(id))
      ? []
      : [`${node.id} ${name}: the last way does not lead to a safe state`];
  });
  const waits = node.type === "atomic" && (node.always ?? []).length === 0;
  return waits && !hasDeadline(node) ? [...unsafe, `${node.id}: waits without a deadline`] : unsafe;
}

function hasDeadline(node: AnyStateNode): boolean {
  if (node.after.length > 0) return true;
  return node.parent === undefined ? false : hasDeadline(node.parent);
}
