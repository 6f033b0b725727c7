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
  /** SIGHUP: read the files again, where the program does. */
  readonly reload: () => void;
  /** An uncaught error: the state of the program is unknown, so it must end. */
  readonly crash: (error: unknown) => void;
}

/** Whether SIGHUP came before `listenToSignals`. */
let isReloadDue = false;
const remember = (): void => {
  isReloadDue = true;
};

/**
 * Remembers SIGHUP until `listenToSignals`. By default it ends the process, and a service manager takes that for an orderly end. For
 * programs that run on and on; other commands end with their terminal.
 */
export function rememberReload(): void {
  process.on("SIGHUP", remember);
}

/** Listens until the returned function is called. A SIGHUP that was remembered is taken up now. */
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
  process.off("SIGHUP", remember);
  if (isReloadDue) reload();
  isReloadDue = false;
  return () => {
    for (const [name, listener] of entries) process.off(name, listener);
  };
}
