/**
 * Handles signals and uncaught errors of a program.
 *
 * @module
 */
import process from "node:process";

/** The handlers of a program. */
interface SignalHandlers {
  /** SIGINT or SIGTERM, the first time: end in order. */
  readonly stop: (signal: string) => void;
  /** The second time: end at once. */
  readonly abort: (signal: string) => void;
  /** SIGHUP: look at the trust files again. */
  readonly reload: () => void;
  /** An uncaught error: the state of the program is unknown, so it must end. */
  readonly crash: (error: unknown) => void;
}

/** Listens until the returned function is called. */
export function listenToSignals({ stop, abort, reload, crash }: SignalHandlers): () => void {
  let stopping = false;
  const onStop = (signal: string) => {
    if (stopping) return abort(signal);
    stopping = true;
    stop(signal);
  };
  const listeners = {
    SIGINT: onStop,
    SIGTERM: onStop,
    SIGHUP: reload,
    uncaughtException: crash,
    unhandledRejection: crash,
  };
  const entries = Object.entries(listeners) as unknown as [string, (...args: unknown[]) => void][];
  for (const [name, listener] of entries) process.on(name, listener);
  return () => {
    for (const [name, listener] of entries) process.off(name, listener);
  };
}
