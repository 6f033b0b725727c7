/**
 * Which of a simulated node's actors are its roles.
 *
 * @module
 */
import type { AnyActorRef } from "xstate";

/** The roles among a node's actors. */
export function rolesOf(children: Readonly<Record<string, AnyActorRef | undefined>>): readonly AnyActorRef[] {
  const names = Object.keys(children).filter((name) => name === "role" || name.startsWith("role/"));
  return names.flatMap((name) => children[name] ?? []);
}
