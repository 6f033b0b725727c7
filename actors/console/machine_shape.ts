/**
 * The shape of a machine, read from the machine itself: its states inside each other, and where each event leads.
 *
 * @module
 */
import type { AnyStateMachine, AnyStateNode } from "xstate";

/** A state. */
export interface StateShape {
  readonly key: string;
  readonly type: "atomic" | "compound" | "parallel" | "final" | "history";
  readonly isInitial: boolean;
  readonly states: readonly StateShape[];
  /** Transitions to other states, in their order. */
  readonly leads: readonly { readonly on: string; readonly to: string }[];
}

/** A machine. */
export interface MachineShape {
  readonly id: string;
  readonly states: readonly StateShape[];
  /** Transitions from every state. */
  readonly leads: StateShape["leads"];
}

/** Reads it. */
export function shapeOf({ root }: AnyStateMachine): MachineShape {
  return { id: root.key, states: statesOf(root), leads: leadsOf(root) };
}

function statesOf(node: AnyStateNode): readonly StateShape[] {
  const initial = node.initial?.target?.[0];
  return Object.values(node.states as Readonly<Record<string, AnyStateNode>>).map((child) => ({
    key: child.key,
    type: child.type,
    isInitial: child === initial,
    states: statesOf(child),
    leads: leadsOf(child),
  }));
}

interface Transition {
  readonly eventType: string;
  readonly target: readonly AnyStateNode[] | undefined;
}

function leadsOf(node: AnyStateNode): StateShape["leads"] {
  const all = [...(node.always ?? []), ...[...node.transitions.values()].flat()] as readonly Transition[];
  const leads = all.flatMap(({ eventType, target = [] }) =>
    target.filter((to) => to !== node).map((to) => ({ on: eventName(eventType), to: to.path.join(".") || to.key }))
  );
  return [...new Map(leads.map((lead) => [`${lead.on} ${lead.to}`, lead])).values()];
}

/** xstate's names for timers and children, in words. */
function eventName(type: string): string {
  const after = /^xstate\.after\.([^.]+)/.exec(type)?.[1];
  if (after !== undefined) return `after ${after}`;
  if (type === "") return "always";
  if (type === "*") return "anything else";
  return type.replace(/^xstate\.done\.actor\./, "done ").replace(/^xstate\.error\.actor\./, "error of ")
    .replace(/^xstate\.done\.state\./, "end of ");
}
