/**
 * Writes the trust store's marks and lists to disk: one write at a time; of several waiting writes, only the last.
 *
 * @module
 */
import { Cause, Effect, Exit } from "effect";
import { type CallbackActorLogic, fromCallback } from "xstate";
import { type HeldFile, type KeepLedger, keepTrust, type KeepWork } from "../files/keep_crls.ts";
import { unwritableText } from "../files/state_directory.ts";
import type { Ports } from "../runtime/ports.ts";

/** Input of the keeper. */
export interface CrlKeeperInput {
  readonly ports: Pick<Ports, "run" | "report">;
  /** Nothing is kept where undefined. */
  readonly stateDir: string | undefined;
  /** {@linkcode keepRetryMs} where undefined. */
  readonly retryMs?: number | undefined;
}

/** Its events. */
export type CrlKeeperEvent = { readonly type: "keep"; readonly work: KeepWork };

/** What it sends its parent after each file: what it holds now, undefined where it was removed. */
export interface CrlsKept {
  readonly type: "crls.kept";
  /** As marks name it. */
  readonly domain: string;
  readonly path: string;
  readonly held: HeldFile | undefined;
}

/** After a write that failed, how long until the next try, in milliseconds. */
export const keepRetryMs = 60_000;

/** The keeper as actor logic. Where it cannot write, it reports that once, and tries again until it can. */
export const crlKeeperLogic: CallbackActorLogic<CrlKeeperEvent, CrlKeeperInput> = fromCallback<
  CrlKeeperEvent,
  CrlKeeperInput
>(({ input: { ports, stateDir, retryMs = keepRetryMs }, receive, sendBack }) => {
  let interrupt: (() => void) | undefined;
  let waiting: KeepWork | undefined;
  let failing = false;
  let resting = false;
  let runs = 0;
  /** What was written since the keeper last rested: the work at hand may have been given before. */
  let written = new Map<string, HeldFile>();
  const fail = (error: unknown) => {
    if (failing || stateDir === undefined) return;
    failing = true;
    const message = unwritableText(stateDir, error instanceof Error ? error.message : String(error));
    ports.report({ level: "warn", event: "state.unwritable", message, fields: { file: stateDir } });
  };
  const onKept: KeepLedger["onKept"] = (domain, path, held) => {
    if (held !== undefined) written.set(path, held);
    sendBack({ type: "crls.kept", domain, path, held } satisfies CrlsKept);
  };
  const begin = (directory: string, work: KeepWork, afterMs = 0) => {
    const run = ++runs;
    const keep = Effect.suspend(() => {
      resting = false;
      return keepTrust(directory, work, { written, onKept });
    });
    resting = afterMs > 0;
    interrupt = ports.run(resting ? Effect.delay(keep, afterMs) : keep, (exit) => {
      if (run !== runs || (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))) return;
      interrupt = undefined;
      const next = waiting;
      waiting = undefined;
      if (Exit.isSuccess(exit)) {
        failing = false;
        if (next !== undefined) begin(directory, next);
        else written = new Map();
      } else {
        fail(Cause.squash(exit.cause));
        begin(directory, next ?? work, next === undefined ? retryMs : 0);
      }
    });
  };
  receive(({ work }) => {
    if (stateDir === undefined) return;
    if (resting) interrupt?.();
    if (interrupt === undefined || resting) begin(stateDir, work);
    else waiting = work;
  });
  return () => {
    runs += 1;
    waiting = undefined;
    interrupt?.();
  };
});
