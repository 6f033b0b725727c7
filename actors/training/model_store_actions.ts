/**
 * Actions of the model store: what becomes of a result, and what is said about it.
 *
 * @module
 */
import type { PeerText } from "../../transport/port.ts";
import { moreOf } from "../../transport/core/rare_reports.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { RoundDamaged } from "./checkpoints.ts";
import type { ModelStoreContext, Pause, StoreArgs } from "./model_store_setup.ts";
import { HubFailed } from "./repository_weights.ts";
import type { ModelPull } from "./serve_model.ts";
import type { FailedResult, TakenResult } from "./take_result.ts";

/** There is no room for the round, a file is damaged, or the model hub does not give the weights. */
export function pause(args: StoreArgs, { error }: { readonly error: Error }): void {
  const { context, enqueue } = args;
  if (context.paused === undefined) enqueue.sendTo(context.parent, { type: "model.paused", isPaused: true });
  notePause(args, context, { reason: error.message, hint: hintOf(error, context.folder) });
}

/** Reports once why the training is paused, and again where that is something else. */
function notePause({ context, enqueue }: StoreArgs, now: ModelStoreContext, paused: Pause): void {
  if (context.paused?.hint !== paused.hint) enqueue(() => reportPaused(now, paused));
  enqueue.assign({ paused, pausedAt: monotonicNow(context.ports) });
}

const hubHint =
  "The scheduler asks the model hub again by itself, ever more seldom. Check its network and the job's token.";
const roomHint = (folder: string): string =>
  `Make room in ${folder}, and let the scheduler's user read and write there: the training continues by itself.`;
const damagedHint = (path: string): string =>
  `Restore ${path} from a copy: the training continues by itself. Without a copy, cancel it and resume it: it goes on after ` +
  "the newest round that is whole.";

function hintOf(error: Error, folder: string): string {
  if (error instanceof HubFailed) return hubHint;
  return error instanceof RoundDamaged ? damagedHint(error.path) : roomHint(folder);
}

/** The disk has room again, and its files are whole, and no result has come: the training waits for its aggregator. */
export function goOn({ context, enqueue }: StoreArgs): void {
  enqueue.assign({ paused: undefined });
  enqueue(() => reportGoesOn(context, `round ${roundNext(context)} can be kept`));
  enqueue.sendTo(context.parent, { type: "model.paused", isPaused: false });
}

/** Takes the outcome of a push. */
export function noteTaken(args: StoreArgs, outcome: TakenResult | FailedResult): void {
  const { context, enqueue } = args;
  if (outcome.type === "kept") {
    const { checkpoint, resultBytes, shortage } = outcome;
    enqueue.assign({ checkpoint });
    enqueue.sendTo(context.parent, { type: "round.kept", checkpoint, resultBytes });
    if (shortage === undefined) {
      if (context.paused !== undefined) enqueue(() => reportGoesOn(context, `round ${roundNext(context)} is kept`));
      return enqueue.assign({ paused: undefined });
    }
    notePause(args, { ...context, checkpoint }, { reason: shortage, hint: roomHint(context.folder) });
    enqueue.sendTo(context.parent, { type: "model.paused", isPaused: true });
  } else if (outcome.type === "failed") noteFailed(args, outcome);
  else if (outcome.type === "refused") enqueue(() => reportRefused(context, outcome.reason));
}

/** A result that was not kept: its own fault is its aggregator's; a fault of the disk, or of a file there, pauses the training. */
function noteFailed(args: StoreArgs, { error }: FailedResult): void {
  const { context, enqueue } = args;
  switch (error._tag) {
    case "TransportError":
      return enqueue(() => reportRefused(context, error.message));
    case "MalformedSafetensors":
    case "ResultRejected": {
      const { peer, member } = present(context.current, "the result");
      return enqueue.sendTo(context.parent, { type: "result.rejected", peer, member, reason: error.reason });
    }
    case "RoundDamaged":
    case "CheckpointFailed":
    case "FileNotWritten":
      return pause(args, { error });
  }
}

const roundNext = ({ checkpoint }: ModelStoreContext): number => (checkpoint?.record.round ?? -1) + 1;

function reportPaused(context: ModelStoreContext, { reason, hint }: Pause): void {
  context.ports.report({
    level: "error",
    event: "training.paused",
    message: `Training ${context.training.id} is paused before round ${roundNext(context)} is kept: ${reason}`,
    fields: {
      training: context.training.id,
      round: roundNext(context),
      reason,
      hint,
    },
  });
}

/** The training is no longer paused. */
export function reportGoesOn(context: ModelStoreContext, why: string): void {
  context.ports.report({
    level: "info",
    event: "training.resumed",
    message: `Training ${context.training.id} goes on: ${why}`,
    fields: { training: context.training.id, round: roundNext(context) },
  });
}

/** Reports a pull: of those of one member that were not served, one a minute. */
export function reportPull({ ports, rare }: ModelStoreContext, peer: PeerText, outcome: ModelPull): void {
  const fields = { peer, ...outcome };
  if (outcome.type === "served") {
    return ports.report({
      level: "debug",
      event: "model.served",
      message: `Served ${outcome.file} to ${peer}`,
      fields,
    });
  }
  const untold = rare.note(peer, "model.unserved");
  if (untold === undefined) return;
  ports.report({
    level: "warn",
    event: "model.unserved",
    message: `Cannot serve the model to ${peer}${moreOf(untold)}`,
    fields: { ...fields, untold },
  });
}

/** Reports a result that is not taken: one a minute. */
function reportRefused(context: ModelStoreContext, reason: string): void {
  const { peer } = present(context.current, "the result");
  const untold = context.rare.note(peer, "result.refused");
  if (untold === undefined) return;
  context.ports.report({
    level: "warn",
    event: "result.refused",
    message: `Cannot take result of ${peer}: ${reason}${moreOf(untold)}`,
    fields: { training: context.training.id, peer, reason, untold },
  });
}
