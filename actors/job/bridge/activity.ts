/**
 * When an executor last used its bridge. Its scheduler takes that for a sign of life of a trainer that reports nothing yet: one
 * that loads a model, for example.
 *
 * @module
 */
/** The use of one bridge. */
export interface BridgeActivity {
  /** A call that may last as long as the job. Only its begin counts. */
  note(): void;
  /** A call or a transfer that ends by itself: the bridge is in use until the returned function is called. */
  begin(): () => void;
  /** Milliseconds since the last use; 0 during one. */
  idleMs(): number;
}

/** Watches the use of a bridge that opens now. */
export function watchActivity(now: () => number): BridgeActivity {
  let lastAt = now(), underWay = 0;
  const note = () => void (lastAt = now());
  const end = () => {
    underWay -= 1;
    note();
  };
  const begin = () => {
    underWay += 1;
    return end;
  };
  return { note, begin, idleMs: () => underWay > 0 ? 0 : Math.max(0, now() - lastAt) };
}
