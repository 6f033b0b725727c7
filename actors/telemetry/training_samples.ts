/**
 * Metrics of a scheduler's trainings, from their journals.
 *
 * @module
 */
import type { TrainingWatch } from "../training/watch.ts";
import type { Sample } from "./instruments.ts";

/** Trainings with series of their own: the first that run. */
const trainingsMax = 64;

/** The parts of a scheduler's actor that are read. */
interface ObservedScheduler {
  getSnapshot(): {
    readonly context?: { readonly running?: readonly string[] };
    readonly children?: Readonly<Record<string, unknown>>;
  };
}

/** The samples of the trainings that have an actor. `roles`: the scheduler's actors. */
export function trainingSamples(roles: readonly unknown[]): readonly Sample[] {
  const running = (roles as readonly ObservedScheduler[]).flatMap((role) => {
    const { context, children = {} } = role.getSnapshot();
    return (context?.running ?? []).map((id) => [id, children[`journal/${id}`]] as const);
  });
  return running.slice(0, trainingsMax).flatMap(([id, child]) => {
    const journal = child as
      | { getSnapshot(): { readonly context?: { readonly watch?: TrainingWatch } } }
      | undefined;
    const watch = journal?.getSnapshot().context?.watch;
    return watch === undefined ? [] : samplesOf(id, watch);
  });
}

function samplesOf(training: string, watch: TrainingWatch): readonly Sample[] {
  const loss = watch.losses.at(-1)?.loss;
  const members = (state: "in" | "out") => Object.values(watch.members).filter(({ is }) => is === state).length;
  return [
    { name: "hypha_training_round", labels: { training }, value: watch.round },
    ...(loss === undefined ? [] : [{ name: "hypha_training_loss" as const, labels: { training }, value: loss }]),
    ...(["in", "out"] as const).map((state): Sample => ({
      name: "hypha_training_members",
      labels: { training, state },
      value: members(state),
    })),
    ...Object.entries(watch.rejections).map(([code, count]): Sample => ({
      name: "hypha_training_updates_rejected_total",
      labels: { training, code },
      value: count,
    })),
    ...(watch.roundSeconds === null
      ? []
      : [{ name: "hypha_training_round_seconds" as const, labels: { training }, value: watch.roundSeconds }]),
    ...(["received", "sent"] as const).map((direction): Sample => ({
      name: "hypha_training_bytes_total",
      labels: { training, direction },
      value: watch.bytes[direction],
    })),
  ];
}
