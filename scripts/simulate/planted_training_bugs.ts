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
    find: "report.round <= training.roundsDone;",
    replace: "report.round <= training.roundsDone + 1;",
  },
  {
    name: "with an update that is rejected those of the others are lost",
    file: "actors/job/parameter_server/actions.ts",
    find: "const received = without({ ...context.batch, ...context.received }, culprit);",
    replace: "const received: Record<string, string> = {};",
  },
  {
    name: "the scheduler is told that a rejected update counted",
    file: "actors/job/parameter_server/actions.ts",
    find: 'const verdict = outReport(culprit, "rejected", code, messageOf(error));',
    replace: 'const verdict: MemberReport = { peer: culprit, outcome: "counted" };',
  },
  {
    name: "an update counts although its sender left the training",
    file: "actors/job/parameter_server/actions.ts",
    find: "received: Object.fromEntries(Object.entries(context.received).filter(([peer]) => !isOut(peer))),",
    replace: "received: context.received,",
  },
  {
    name: "the round of a push is not looked at",
    file: "actors/job/receiver.ts",
    find: "if (this.#round !== undefined && label.round !== this.#round) {",
    replace: "if (this.#round !== undefined && label.round < 0) {",
  },
  {
    name: "an aggregator that takes over begins without the velocity",
    file: "actors/job/parameter_server/setup.ts",
    find: "goesOn: ({ context }) => firstRound(context.job.spec) > 1,",
    replace: "goesOn: ({ context }) => firstRound(context.job.spec) > 1_000_000,",
  },
  {
    name: "a newcomer gets its job and the parameters before the aggregator knows it",
    family: "trainings",
    file: "actors/training/dispatching.ts",
    find: "training: { ...context.training, aggregator: { ...aggregator, sent, dispatch } },",
    replace: "training: { ...context.training, aggregator: { ...aggregator, sent, dispatch, knows: sent } },",
  },
  {
    name: "a trainer's worker forgets its update when it was sent",
    file: "actors/job/trainer_link.ts",
    find: "return Effect.raceFirst(Effect.andThen(Effect.ignore(copied), Effect.never), changed);",
    replace: "return Effect.andThen(Effect.ignore(copied), Effect.andThen(changed, Effect.never));",
  },
  {
    name: "an aggregator that takes over does not send the newest result again",
    family: "trainings",
    file: "actors/job/parameter_server/effects.ts",
    find: "firstRound(spec) > 1 ? spec.aggregation?.late ?? [] : [];",
    replace: "firstRound(spec) > 1_000_000 ? spec.aggregation?.late ?? [] : [];",
  },
  {
    name: "a trainer does not add a result to its parameters where it fetched them late",
    file: "actors/job/trainer_link.ts",
    find: "this.#saved = Math.max(this.#saved, round);",
    replace: "this.#saved = Math.max(this.#saved, round + 1);",
  },
  {
    name: "a file of a round gets its name before its bytes are synced",
    file: "actors/files/aside_file.ts",
    find: "      yield* handle.sync;\n",
    replace: "",
  },
  {
    name: "the folder of a file that got its name is not synced",
    file: "actors/files/write_whole.ts",
    find: 'Effect.ignore(Effect.scoped(Effect.flatMap(files.open(folder, { flag: "r" }), (handle) => handle.sync)));',
    replace: 'Effect.ignore(Effect.scoped(Effect.flatMap(files.open(folder, { flag: "r" }), () => Effect.void)));',
  },
  {
    name: "integers are averaged",
    family: "trainings",
    file: "actors/learning/element_types.ts",
    find: "writeWhole(out, at, column[(column.length - 1) >> 1] ?? 0, width);",
    replace:
      "writeWhole(out, at, Math.round(column.reduce((sum: number, each) => sum + Number(each), 0) / column.length), width);",
  },
  {
    name: "a result is acknowledged before its round is on disk",
    family: "trainings",
    file: "actors/training/take_result.ts",
    find: "const checkpoint = yield* keepRound(rules, rules.before, rules);\n      yield* Effect.ignore(stream.end);",
    replace:
      "yield* Effect.ignore(stream.end);\n      const checkpoint = yield* keepRound(rules, rules.before, rules);",
  },
  {
    name: "an aggregator sends a result to the trainers, and goes on, before its scheduler has taken it",
    family: "trainings",
    file: "actors/job/parameter_server.ts",
    find: '"effect.failed.handed": {\n                      target: "handingAgain",',
    replace: '"effect.failed.handed": {\n                      target: "distributing",',
  },
  {
    name: "every training that waits gets its turn at once",
    family: "trainings",
    file: "actors/scheduler/queue.ts",
    find: "if (turn !== undefined) return undefined;",
    replace: "",
  },
  {
    name: "a scheduler that starts again knows no training but those that wait",
    family: "trainings",
    file: "actors/scheduler/trainings.ts",
    find: "const known = Object.fromEntries(trainings.map((training) => [training.id, training]));",
    replace:
      'const known = Object.fromEntries(trainings.filter(({ state }) => state === "queued").map((training) => [training.id, training]));',
  },
  {
    name: "a lease's time is the wall clock's",
    family: "trainings",
    file: "actors/training/held_lease.ts",
    find: 'import { monotonicNow, type Ports } from "../runtime/ports.ts";',
    replace:
      'import type { Ports } from "../runtime/ports.ts";\nconst monotonicNow = ({ now }: Pick<Ports, "now">) => now();',
  },
  {
    name: "a restarted scheduler takes the run that it had",
    file: "actors/training/run_number.ts",
    find: "Math.max(before + 1, secondsOf(now))",
    replace: "Math.max(1, before)",
  },
];
