/**
 * Writes the trust store's marks and lists to disk: one write at a time; of several waiting writes, only the last.
 *
 * @module
 */
import { Cause, Exit } from "effect";
import { type CallbackActorLogic, fromCallback } from "xstate";
import { keepTrust, type KeepWork } from "../files/keep_lists.ts";
import { unwritableText } from "../files/state_directory.ts";
import type { Ports } from "../runtime/ports.ts";

/** Input of the keeper. */
export interface ListKeeperInput {
  readonly ports: Pick<Ports, "run" | "report">;
  /** Nothing is kept where undefined. */
  readonly stateDir: string | undefined;
}

/** What it hears. What the kept files hold it knows itself after the first time. */
export type ListKeeperEvent = { readonly type: "keep"; readonly work: KeepWork };

/** The keeper as actor logic. It says nothing: where it cannot write, it reports that once until it can again. */
export const listKeeperLogic: CallbackActorLogic<ListKeeperEvent, ListKeeperInput> = fromCallback<
  ListKeeperEvent,
  ListKeeperInput
>(({ input: { ports, stateDir }, receive }) => {
  let interrupt: (() => void) | undefined;
  let waiting: KeepWork | undefined;
  let held: KeepWork["held"] | undefined;
  let failing = false;
  const fail = (error: unknown) => {
    if (failing || stateDir === undefined) return;
    failing = true;
    const message = unwritableText(stateDir, error instanceof Error ? error.message : String(error));
    ports.report({ level: "warn", event: "state.unwritable", message, fields: { file: stateDir } });
  };
  const begin = (directory: string, work: KeepWork) => {
    interrupt = ports.run(keepTrust(directory, { ...work, held: held ?? work.held }), (exit) => {
      interrupt = undefined;
      if (Exit.isSuccess(exit)) {
        held = exit.value;
        failing = false;
      } else if (!Cause.hasInterruptsOnly(exit.cause)) fail(Cause.squash(exit.cause));
      const next = waiting;
      waiting = undefined;
      if (next !== undefined) begin(directory, next);
    });
  };
  receive(({ work }) => {
    if (stateDir === undefined) return;
    if (interrupt === undefined) begin(stateDir, work);
    else waiting = work;
  });
  return () => {
    waiting = undefined;
    interrupt?.();
  };
});
