/**
 * A training whose files could not be read when its scheduler started: they are read again until they can be, and the training goes on.
 *
 * ```
 *  waiting ── after a while ──▶ reading ── read, damaged or gone ──▶ ended
 *     ▲                            │
 *     └──────── unreadable ────────┘
 * ```
 *
 * @module
 */
import { enqueueActions, setup } from "xstate";
import { Result } from "effect";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { Ports } from "../runtime/ports.ts";
import { type BrokenTraining, loadTraining } from "./load_trainings.ts";
import type { KnownTraining } from "./training_record.ts";

/** Between two tries, in milliseconds. */
export const readAgainMs = 10_000;

/** The event that a late training sends to its parent. */
export interface TrainingFound {
  readonly type: "training.found";
  readonly training: KnownTraining;
}

/** The input of a late training. */
export interface LateTrainingInput extends HasParent<TrainingFound> {
  readonly ports: Ports;
  readonly stateDir: string;
  readonly id: string;
}

type Read = Result.Result<KnownTraining, BrokenTraining> | undefined;

const reread = fromEffect(
  "reread",
  ({ stateDir, id }: Pick<LateTrainingInput, "ports" | "stateDir" | "id">) => loadTraining(stateDir, id),
);

const actors = { reread };

/** Reads one training until it can be read. */
export const lateTrainingMachine = setup({
  types: {
    input: {} as LateTrainingInput,
    context: {} as LateTrainingInput,
    events: {} as EventsOf<typeof actors>,
  },
  actors,
  guards: {
    isUnreadable: (_, read: { readonly value: Read }) =>
      read.value !== undefined && Result.isFailure(read.value) && read.value.failure.isUnreadable,
  },
  actions: {
    tell: enqueueActions(({ context, enqueue }, { value }: { readonly value: Read }) => {
      if (value === undefined) return;
      if (Result.isSuccess(value)) {
        return enqueue.sendTo(context.parent, { type: "training.found", training: value.success });
      }
      const { folder, detail } = value.failure;
      enqueue(() =>
        context.ports.report({
          level: "error",
          event: "training.unreadable",
          message: `Cannot read training in ${folder}: ${detail}`,
          fields: { folder, hint: `The others go on. Move ${folder} away, or put its files back and start again.` },
        })
      );
    }),
  },
}).createMachine({
  id: "lateTraining",
  context: ({ input }) => input,
  initial: "waiting",
  states: {
    waiting: { after: { [readAgainMs]: "reading" } },
    reading: {
      invoke: {
        src: "reread",
        input: ({ context: { ports, stateDir, id } }) => ({ ports, stateDir, id }),
      },
      on: {
        "effect.done.reread": [
          { guard: { type: "isUnreadable", params: ({ event }) => event }, target: "waiting" },
          { target: "ended", actions: { type: "tell", params: ({ event }) => event } },
        ],
        // A defect: the next try may meet it again.
        "effect.failed.reread": "waiting",
      },
    },
    ended: { type: "final" },
  },
});
