/**
 * The network of `npm run demo -- --console` stays up until a signal ends it.
 *
 * @module
 */

let end: (() => void) | undefined;

/** Resolves at the next signal. */
export function untilStopped(): Promise<void> {
  return new Promise((resolve) => {
    end = resolve;
  });
}

/** Ends the stay. False where the network does not stay: the signal ends the demo at once. */
export function endStay(): boolean {
  const stayed = end;
  end = undefined;
  stayed?.();
  return stayed !== undefined;
}
