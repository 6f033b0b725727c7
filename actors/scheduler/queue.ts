/**
 * The turns of trainings that look for workers: one at a time, the oldest first. A younger one passes only while the oldest has not waited
 * for too long.
 *
 * @module
 */
import type { Patience } from "../training/training_setup.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { runningTrainings, type SchedulerArgs, type SchedulerContext } from "./scheduler_setup.ts";
import type { KnownTraining } from "./training_record.ts";

/** A turn, and the rest after one in which there were too few workers. */
export const patience: Patience = { holdMs: 5_000, restMs: [5_000, 15_000] };
/** No younger training passes one that has waited for so long, in milliseconds. */
export const passedMaxMs = 600_000;

interface Turns extends Pick<SchedulerContext, "wanting" | "queue" | "turn"> {
  readonly trainings: Readonly<Record<string, Pick<KnownTraining, "queuedAt">>>;
}

/** The training whose turn begins; undefined while another has its turn, or where none may begin. */
export function nextTurn({ wanting, queue, turn, trainings }: Turns, now: number): string | undefined {
  if (turn !== undefined) return undefined;
  const queuedAt = (id: string) => trainings[id]?.queuedAt ?? 0;
  const byAge = Object.entries(wanting).sort(([one], [other]) => queuedAt(one) - queuedAt(other));
  const [next] = byAge.find(([id, since]) => queue.includes(id) || now - since >= passedMaxMs) ?? [];
  return next !== undefined && queue.includes(next) ? next : undefined;
}

/** A training wants workers. One that has run since it was queued did not wait all the time: it begins to wait now. */
export function noteWanting({ context, enqueue }: SchedulerArgs, { id }: { readonly id: string }): void {
  const { wanting, queue, trainings, ports } = context;
  const known = trainings[id];
  const waitedMs = known?.state === "queued" ? Math.max(0, ports.now() - known.queuedAt) : 0;
  enqueue.assign({
    wanting: { [id]: monotonicNow(ports) - waitedMs, ...wanting },
    queue: [...queue.filter((other) => other !== id), id],
  });
}

/** A training's turn is over. `served`: it has its workers, or needs none any more. */
export function noteTurnOver(
  { context, enqueue }: SchedulerArgs,
  { id, how }: { readonly id: string; readonly how: "served" | "resting" },
): void {
  const { [id]: _, ...others } = context.wanting;
  enqueue.assign({
    wanting: how === "served" ? others : context.wanting,
    queue: context.queue.filter((other) => other !== id),
    turn: context.turn === id ? undefined : context.turn,
  });
}

/** Gives the next turn, where there is one. */
export function giveTurn({ context, self, enqueue }: SchedulerArgs): void {
  const id = nextTurn(context, monotonicNow(context.ports));
  const training = runningTrainings(self).find(({ snapshot }) => snapshot.context.id === id);
  if (id === undefined || training === undefined) return;
  enqueue.assign({ turn: id, queue: context.queue.filter((other) => other !== id) });
  enqueue.sendTo(training.ref, { type: "turn.granted" });
}
