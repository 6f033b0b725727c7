/**
 * Deliberate defects in what keeps trainings apart. They need two schedulers that share workers, or a scheduler that restarts.
 *
 * @module
 */
import type { PlantedBug } from "./planted_bugs.ts";

/** Planted bugs of trainings. */
export const plantedTrainingBugs: readonly PlantedBug[] = [
  {
    name: "a push goes to the newest job that waits for its sender, whatever its label says",
    file: "actors/job/receiver.ts",
    find: "const receiver = free.find((each) => each.mismatch(peer, label) === undefined);",
    replace: "const [receiver] = free;",
  },
  {
    name: "two schedulers' trainings of one name are one",
    file: "actors/job/receiver.ts",
    find: "if (training === undefined || training.id !== label.training || training.scheduler !== label.scheduler) {",
    replace: "if (training === undefined || training.id !== label.training) {",
  },
  {
    name: "the round of a push is not counted up",
    file: "actors/job/parameter_server/setup.ts",
    find: "return Object.keys(batch).length > 0 ? round + 1 : round;",
    replace: "return round;",
  },
  {
    name: "an update that is too long is scaled by the wrong factor",
    file: "actors/learning/verdicts.ts",
    find: "updates.map(({ norm }) => norm > bound ? bound / norm : 1)",
    replace: "updates.map(({ norm }) => norm > bound ? norm / bound : 1)",
  },
  {
    name: "a report of a round is taken for a repeated one",
    file: "actors/training/training.ts",
    find: "if (training.roundsDone > furthest) return",
    replace: "if (training.roundsDone >= furthest) return",
  },
  {
    name: "with an update that is rejected those of the others are lost",
    file: "actors/job/parameter_server/actions.ts",
    find: "received: { ...without(context.batch, culprit), ...without(context.received, culprit) },",
    replace: "received: {},",
  },
  {
    name: "the scheduler is told that a rejected update counted",
    file: "actors/job/parameter_server/actions.ts",
    find:
      'outReport(culprit, "rejected", error instanceof UpdateRejected ? error.code : "malformed", messageOf(error)),',
    replace: '{ peer: culprit, outcome: "counted" },',
  },
  {
    name: "an update counts although its sender left the training",
    file: "actors/job/parameter_server/actions.ts",
    find: "received: Object.fromEntries(Object.entries(context.received).filter(([peer]) => !isOut(peer))),",
    replace: "received: context.received,",
  },
  {
    name: "a restarted scheduler takes the run that it had",
    file: "actors/training/run_number.ts",
    find: "Math.max(before + 1, secondsOf(now))",
    replace: "Math.max(1, before)",
  },
];
