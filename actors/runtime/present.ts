/**
 * Values that a state needs and an earlier state assigned.
 *
 * @module
 */

/**
 * A value that is there. A state is entered only after the values it needs were assigned, so a missing one is a mistake in
 * the machine: it ends the actor, and its supervisor treats that as a failure.
 *
 * @param what Names the value in the error.
 */
export function present<A>(value: A | undefined, what: string): A {
  if (value === undefined) throw new Error(`Cannot enter state: ${what} is missing`);
  return value;
}
