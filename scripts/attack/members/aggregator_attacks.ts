/**
 * Aggregators that lie: to the scheduler, which keeps the model of the training, or to its trainers.
 *
 * @module
 */
import { Result } from "effect";
import { encodeTensors, type NamedTensors } from "../../../actors/learning/mod.ts";
import { addTensors } from "../../../actors/learning/tensors.ts";
import type { PushLabel } from "../../../transport/protocols/messages.ts";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import { digestOf, PlayedMember } from "./played_member.ts";
import { initialWeights, lyingAggregator, trainExecutor } from "./world.ts";

/** A member is dropped within this, in milliseconds; a machine at load 20 takes ten times as long as a quiet one. */
const withinMs = 20_000;
/** A member that is barred offers for so long in vain, in milliseconds: the scheduler asks each second. */
const barredMs = 2_500;

/** A result whose elements are all this. */
const resultOf = (value: number, elements = 2): NamedTensors =>
  new Map([["w", { shape: [elements], values: new Float32Array(elements).fill(value) }]]);

/** A training of the scheduler under attack, all of whose members the attack plays. */
class PlayedTraining {
  readonly means: AttackMeans;
  readonly members: PlayedMember[] = [];
  trainers: readonly PlayedMember[] = [];
  parameters: NamedTensors = initialWeights;
  round = 0;

  constructor(means: AttackMeans) {
    this.means = means;
  }

  async join(kind: "train" | "aggregate"): Promise<PlayedMember> {
    const descriptor = kind === "train" ? trainExecutor : lyingAggregator;
    const member = await PlayedMember.start(this.means, descriptor);
    this.members.push(member);
    return member;
  }

  /** Two trainers and an aggregator, each with its job. Returns the aggregator. */
  async begin(): Promise<PlayedMember> {
    const [one, other, aggregator] = await Promise.all([
      this.join("train"),
      this.join("train"),
      this.join("aggregate"),
    ]);
    this.trainers = [one, other];
    for (const member of this.members) await member.dispatched();
    this.round = aggregator.job.spec.training?.round ?? 0;
    // Every result of these attacks is of ones.
    for (let round = 0; round < this.round; round++) this.#add(resultOf(1));
    return aggregator;
  }

  #add(result: NamedTensors): void {
    this.parameters = Result.getOrThrow(addTensors(this.parameters, result));
  }

  /** The aggregator reports a round in which all trainers counted. */
  report(aggregator: PlayedMember, round = this.round + 1) {
    const members = this.trainers.map(({ peer }) => ({ peer, outcome: "counted" as const, norm: 1 }));
    return aggregator.say({ progress: "updated", report: { round, members } });
  }

  /** A round whose result the scheduler keeps. */
  async keep(aggregator: PlayedMember): Promise<void> {
    for (const trainer of this.trainers) await trainer.say({ progress: "update" });
    await this.report(aggregator);
    const result = resultOf(1);
    if (!await aggregator.push(encodeTensors(result), aggregator.label(this.round + 1))) {
      this.means.escaped(`an honest result of round ${this.round + 1} was refused`);
    }
    this.round += 1;
    this.#add(result);
  }

  /** A trainer has a result: the one that the scheduler keeps, or another. */
  confirm(trainer: PlayedMember, gets: "the same" | "another") {
    const parameters = gets === "the same"
      ? this.parameters
      : Result.getOrThrow(addTensors(this.parameters, resultOf(0.5)));
    return trainer.say({
      progress: "update-received",
      receipt: { round: this.round, parameters: digestOf(parameters) },
    });
  }

  /** Whether a member is one no longer. */
  async dropped(member: PlayedMember, who: string): Promise<boolean> {
    const isDropped = await holds(() => member.isOut, withinMs);
    if (!isDropped) this.means.escaped(`${who} was not dropped`);
    this.trainers = this.trainers.filter((other) => other !== member);
    return isDropped;
  }

  /** An aggregator that was dropped offers in vain; another one takes over, and a round is finished with it. */
  async replace(aggregator: PlayedMember, why: string): Promise<PlayedMember> {
    if (!await this.dropped(aggregator, `the aggregator ${why}`)) return aggregator;
    const jobs = aggregator.jobs.length;
    await pause(barredMs);
    if (aggregator.jobs.length > jobs) this.means.escaped(`the aggregator ${why} was leased again`);
    const next = await this.join("aggregate");
    await next.dispatched();
    if (next.job.spec.training?.round !== this.round) {
      this.means.escaped(`the training goes on after round ${next.job.spec.training?.round}, not ${this.round}`);
    }
    await this.keep(next);
    for (const trainer of this.trainers) {
      const answer = await this.confirm(trainer, "the same");
      if (answer !== "Continue") {
        this.means.escaped(`an honest trainer is out (${answer}; told ${trainer.told.join(", ")}) after one ${why}`);
      }
    }
    return next;
  }

  stop(): void {
    for (const member of this.members) member.stop();
  }
}

function play(run: (training: PlayedTraining, means: AttackMeans) => Promise<void>): MemberAttack["run"] {
  return async (means) => {
    const training = new PlayedTraining(means);
    try {
      await run(training, means);
    } finally {
      training.stop();
    }
  };
}

/** The scheduler and one trainer get one result, another trainer a different one; in the next round another trainer does. */
const differ: MemberAttack = {
  id: "results-that-differ",
  target: "scheduler",
  keepsDeadlines: true,
  expected: {},
  run: play(async (training, means) => {
    const aggregator = await training.begin();
    const [one, other] = training.trainers as [PlayedMember, PlayedMember];
    await training.keep(aggregator);
    for (const trainer of [one, other]) await training.confirm(trainer, "the same");
    await training.keep(aggregator);
    means.attempts += 1;
    await training.confirm(one, "the same");
    await training.confirm(other, "another");
    if (!await training.dropped(other, "a trainer with other parameters")) return;
    if (one.told.length + aggregator.told.length > 0) means.escaped("one trainer alone cost others their part");
    const newcomer = await training.join("train");
    await newcomer.dispatched();
    await training.keep(aggregator);
    training.trainers = [...training.trainers, newcomer];
    means.attempts += 1;
    await training.confirm(newcomer, "the same");
    await training.confirm(one, "another");
    await training.dropped(one, "a second trainer with other parameters");
    await training.replace(aggregator, "of results that differ");
  }),
};

/** Results that are no result of the round under way, and results that are none of the model's. */
const unfit: MemberAttack = {
  id: "results-that-do-not-fit",
  target: "scheduler",
  group: "aggregator",
  leftOutOf: "quick",
  keepsDeadlines: true,
  expected: {},
  run: play(async (training, means) => {
    let aggregator = await training.begin();
    const good = encodeTensors(resultOf(1));
    await training.keep(aggregator);
    const { round } = training;
    const label = (over: Partial<PushLabel> = {}) => ({ ...aggregator.label(round + 1), ...over });
    const refused = async (what: string, bytes: Uint8Array, labelled: PushLabel | undefined, sizeBytes?: number) => {
      means.attempts += 1;
      if (await aggregator.push(bytes, labelled, sizeBytes)) means.escaped(`${what} was taken`);
    };
    await refused("a result of a round that was not reported", good, label());
    if (await training.report(aggregator, round + 5) !== "Ok") means.escaped("a report of a later round was refused");
    await refused("a result of a later round", good, label({ round: round + 2 }));
    await refused("a result of another run", good, label({ run: 1 }));
    await refused("a result of another training", good, label({ training: "t-another" }));
    await refused("a result of 4 GiB", good, label(), 4 * 2 ** 30);
    await refused("a result that ends early", good.subarray(0, 40), label());
    // One whose acknowledgement was lost comes again: whatever it holds, the round stays.
    means.attempts += 1;
    await aggregator.push(encodeTensors(resultOf(9)), label({ round }));
    for (const trainer of training.trainers) await training.confirm(trainer, "the same");
    const lies: Readonly<Record<string, NamedTensors>> = {
      "of a result of NaN": resultOf(Number.NaN),
      "of an infinite result": resultOf(Infinity),
      "of a result of another shape": resultOf(1, 3),
    };
    for (const [why, result] of Object.entries(lies)) {
      for (const trainer of training.trainers) await trainer.say({ progress: "update" });
      await training.report(aggregator);
      means.attempts += 1;
      if (await aggregator.push(encodeTensors(result), aggregator.label(training.round + 1))) {
        means.escaped(`the result ${why} was taken`);
      }
      aggregator = await training.replace(aggregator, why);
    }
  }),
};

/** The attacks. */
export const aggregatorAttacks: readonly MemberAttack[] = [differ, unfit];
