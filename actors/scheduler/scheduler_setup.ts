/**
 * Context, events, guards and children of the scheduler's machine.
 *
 * @module
 */
import { type ActorRefFrom, setup, type SnapshotFrom } from "xstate";
import type { RequestAnswer, StreamAnswer } from "../../transport/port.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import type { SchedulerConfig } from "../config/config.ts";
import type { EventsOf } from "../runtime/effect_actor.ts";
import type { RoleEvent, RoleInput, RoleOutcome } from "../runtime/role.ts";
import type { Evaluator } from "../training/evaluator.ts";
import { trainingMachine } from "../training/training_machine.ts";
import type { ReceivedStream, TrainingFact } from "../training/training_setup.ts";
import type { Workers } from "../training/workers.ts";
import type { AdminAsked } from "./admin_routes.ts";
import { journalMachine, type JournalRef } from "./journal.ts";
import { lateTrainingMachine, type TrainingFound } from "./late_training.ts";
import { loadedActor } from "./load_trainings.ts";
import { sortedActor } from "./sort_stream.ts";
import { statusBridgeMachine, type StatusBridgeRef } from "./status_bridge.ts";
import type { KnownTraining } from "./training_record.ts";

/** The input of a scheduler. */
export interface SchedulerInput extends RoleInput<SchedulerConfig> {
  /** Measures the model of a training after each round. A job with `evaluation` fails without one. */
  readonly evaluator?: Evaluator | undefined;
  /** Its own trust domain; undefined where neither its certificate nor its configuration names one. */
  readonly domain?: string | undefined;
  /** Names of trainings that are being received now: `loading` leaves them alone. */
  readonly receiving?: ReadonlySet<string> | undefined;
}

/** The context of a scheduler. */
export interface SchedulerContext extends SchedulerInput {
  /** Trainings that were submitted, by name. That of `[scheduler.job]` is not among them. */
  readonly trainings: Readonly<Record<string, KnownTraining>>;
  /** Names of the trainings that have an actor. */
  readonly running: readonly string[];
  /** Since when each training looks for workers that has none yet, by the monotonic clock (`monotonicNow`). */
  readonly wanting: Readonly<Record<string, number>>;
  /** Those of them that wait for their turn, and the one that has it. */
  readonly queue: readonly string[];
  readonly turn: string | undefined;
  readonly workers: Workers;
  /** When the role started, by the monotonic clock (`monotonicNow`). */
  readonly startedAt: number;
  /** Trainings of which an earlier run may have left leases and jobs at workers, with the run that followed it. */
  readonly restarted: Readonly<Record<string, number>>;
  /** Streams of members of several trainings, whose heads are being read. */
  readonly sorting: Readonly<Record<string, ReceivedStream>>;
  readonly outcome: RoleOutcome;
}

const actors = {
  training: trainingMachine,
  journal: journalMachine,
  lateTraining: lateTrainingMachine,
  statusBridge: statusBridgeMachine,
  sorted: sortedActor,
  loaded: loadedActor,
};

/** xstate's own: a child reached its end. Of the scheduler's children only trainings have an output. */
export interface TrainingEnded {
  readonly type: `xstate.done.actor.${string}`;
  readonly output?: RoleOutcome;
}

/** xstate's own: a child died of an error. */
export interface TrainingCrashed {
  readonly type: `xstate.error.actor.${string}`;
  readonly error: unknown;
}

/** The events that a scheduler receives. */
export type SchedulerEvent =
  | RoleEvent
  | TrainingFact
  | EventsOf<typeof actors>
  | AdminAsked
  | TrainingFound
  | TrainingEnded
  | TrainingCrashed
  | { readonly type: "training.answered"; readonly peer: Peer; readonly answer: RequestAnswer }
  | { readonly type: "stream.accepted"; readonly exchange: string; readonly answer: StreamAnswer };

/** Types, guards and children of the scheduler's machine. `scheduler_actions.ts` adds the actions. */
export const schedulerSetup = setup({
  types: {
    input: {} as SchedulerInput,
    context: {} as SchedulerContext,
    events: {} as SchedulerEvent,
    output: {} as RoleOutcome,
  },
  actors,
  guards: {
    hasJob: ({ context }) => context.config.job !== undefined,
    hasNoTraining: ({ context }) => context.running.length === 0,
    isConfiguredOver: ({ context }) => context.config.job !== undefined && context.running.length === 0,
    isSubmitted: ({ context }, { type }: TrainingCrashed) => {
      const id = endedTraining(context, type);
      return id !== undefined && context.trainings[id] !== undefined;
    },
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type SchedulerArgs = Omit<Parameters<Parameters<typeof schedulerSetup.enqueueActions>[0]>[0], "event">;

/** A training's actor. */
export type TrainingRef = ActorRefFrom<typeof trainingMachine>;

/** A training that runs, as it is now. */
export interface RunningTraining {
  readonly ref: TrainingRef;
  readonly snapshot: SnapshotFrom<typeof trainingMachine>;
}

/** Something whose children are looked at: a scheduler. */
interface Parent {
  getSnapshot(): { readonly children: Readonly<Record<string, unknown>> };
}

const prefix = "training/";

/** The id of a training's actor among the children of its scheduler. */
export const trainingActorId = (id: string): string => `${prefix}${id}`;
/** The id of its journal's actor. */
export const journalActorId = (id: string): string => `journal/${id}`;

/** The training whose actor ended with an event of xstate. */
export function endedTraining({ running }: Pick<SchedulerContext, "running">, type: string): string | undefined {
  return running.find((id) => type.replace(/^xstate\.(?:done|error)\.actor\./, "") === trainingActorId(id));
}

/** The trainings among the children of a scheduler, the oldest first. */
export function runningTrainings(self: Parent): readonly RunningTraining[] {
  return Object.entries(self.getSnapshot().children).flatMap(([id, child]) => {
    if (!id.startsWith(prefix) || child === undefined) return [];
    const ref = child as TrainingRef;
    const snapshot = ref.getSnapshot();
    return snapshot.status === "active" ? [{ ref, snapshot }] : [];
  });
}

/** The training of a name, if it has an actor. */
export function trainingOf(self: Parent, id: string): RunningTraining | undefined {
  return runningTrainings(self).find(({ snapshot }) => snapshot.context.id === id);
}

/** The journal of a training. */
export function journalOf(self: Parent, id: string): JournalRef | undefined {
  return self.getSnapshot().children[journalActorId(id)] as JournalRef | undefined;
}

/** The status bridge; undefined where the configuration names none. */
export function statusBridgeOf(self: Parent): StatusBridgeRef | undefined {
  return self.getSnapshot().children["statusBridge"] as StatusBridgeRef | undefined;
}
