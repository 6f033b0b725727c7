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
];
