/** Slices, shares of a round, what progress is answered, and what a worker's book promises. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Result } from "effect";
import { readDatasetRecord } from "../../actors/data/dataset_record.ts";
import { answerStatus, batchesAheadMax, freshPace, type TrainerPace } from "../../actors/training/rounds.ts";
import { firstSlice, takeSlice } from "../../actors/training/slices.ts";
import { silentTrainers } from "../../actors/training/round_wait.ts";
import {
  answerProgress,
  emptyTraining,
  isTrained,
  leasedAggregator,
  leasedTrainer,
  type Training,
  withParticipant,
} from "../../actors/training/training.ts";
import {
  acceptOffer,
  addJob,
  addOffer,
  availableResources,
  endJob,
  endLease,
  leaseForJob,
  noCommitments,
} from "../../actors/worker/commitments.ts";
import { memberOf } from "../../pki/member.ts";
import type { JobSpec, Progress } from "../../transport/protocols/messages.ts";
import { failedWith, identityOf } from "../support/fake_transport.ts";

const test = suite("training");
const plan = { rounds: 2, samplesPerRound: 100 };

test("every slice once an epoch, then again from the first", () => {
  let cursor = firstSlice(3);
  const taken: number[] = [];
  for (let index = 0; index < 7; index++) {
    const next = takeSlice(cursor);
    taken.push(next.index);
    cursor = next.cursor;
  }
  assert.equal(taken, [0, 1, 2, 0, 1, 2, 0]);
  assert.is(cursor.epoch, 2);
});

test("a trainer alone gets the answer to stop once a round, so that its samples reach the round's", () => {
  let pace: TrainerPace = freshPace;
  let counters: number[] = [];
  let batches = 0;
  for (let stop = Number.POSITIVE_INFINITY; batches < stop && batches < 50; batches++) {
    const answered = answerStatus({ a: pace }, { peer: "a", batchSize: 8, now: batches * 10 }, plan);
    pace = answered.pace;
    if (answered.answer.type === "ScheduleUpdate") {
      counters = [...counters, answered.answer.counter];
      stop = batches + 1 + answered.answer.counter;
    }
  }
  assert.is(counters.length, 1);
  assert.is(batches * 8, 104, "the first multiple of a batch that reaches 100");
});

/** Found by seed 3,010,811: a connection broke under the answer, and the round waited for an hour. */
test("bug: a trainer whose ScheduleUpdate was lost went on for ever", () => {
  let pace: TrainerPace = freshPace;
  const told: [batch: number, counter: number][] = [];
  for (let batch = 1; batch <= 30; batch++) {
    const answered = answerStatus({ a: pace }, { peer: "a", batchSize: 8, now: batch * 10 }, plan);
    pace = answered.pace;
    if (answered.answer.type === "ScheduleUpdate") told.push([batch, answered.answer.counter]);
  }
  assert.equal(told.slice(0, 3), [[10, 3], [16, 1], [20, 1]]);
});

test("shares are equal until speeds are known, then follow them", () => {
  const slow = answerStatus({ a: freshPace, b: freshPace }, { peer: "a", batchSize: 48, now: 0 }, plan);
  assert.equal(slow.answer, { type: "ScheduleUpdate", counter: 1 });
  const fast: TrainerPace = { ...freshPace, samples: 32, firstAt: 0, firstSamples: 8 };
  const lame: TrainerPace = { ...freshPace, samples: 16, firstAt: 0, firstSamples: 8 };
  const at = { now: 30, batchSize: 8 };
  const ofFast = answerStatus({ fast, lame }, { peer: "fast", ...at }, plan);
  assert.equal(ofFast.answer, { type: "Continue" }, "three quarters and more of 100 are its own");
  const ofLame = answerStatus({ fast, lame }, { peer: "lame", ...at }, plan);
  assert.is(ofLame.answer.type, "ScheduleUpdate");
});

/** Batches of 32 rows that each trainer makes in a round of 12,000, by the milliseconds between two of its reports. */
function batchesOf(everyMs: Readonly<Record<string, number>>): Record<string, number> {
  let paces: Record<string, TrainerPace> = Object.fromEntries(Object.keys(everyMs).map((peer) => [peer, freshPace]));
  const made: Record<string, number> = {}, stops: Record<string, number> = {};
  for (let now = 0; Object.keys(stops).length < Object.keys(everyMs).length || now % 1_000 > 0; now++) {
    for (const [peer, ms] of Object.entries(everyMs)) {
      if (now % ms > 0 || (made[peer] ?? 0) >= (stops[peer] ?? Number.POSITIVE_INFINITY)) continue;
      made[peer] = (made[peer] ?? 0) + 1;
      const round = { rounds: 1, samplesPerRound: 12_000 };
      const { pace, answer } = answerStatus(paces, { peer, batchSize: 32, now }, round);
      paces = { ...paces, [peer]: pace };
      if (answer.type === "ScheduleUpdate") stops[peer] ??= made[peer] + answer.counter;
    }
  }
  return made;
}

test("bug: a trainer that claimed 140 batches a second left the others a few batches of each round", () => {
  const { liar = 0, ...honest } = batchesOf({ a: 1_000, b: 1_000, c: 1_000, liar: 7 });
  for (const [peer, batches] of Object.entries(honest)) {
    assert.ok(batches >= 12_000 / 32 / 7, `${peer} makes its seventh part, not ${batches} batches`);
  }
  assert.ok(liar <= 4 / 7 * 12_000 / 32 + batchesAheadMax, `four parts of seven are the most: ${liar}`);
  const alone = batchesOf({ a: 1_000, liar: 7 });
  assert.ok((alone["a"] ?? 0) >= 12_000 / 32 / 5 - batchesAheadMax, JSON.stringify(alone));
});

test("a trainer that is three times as fast makes three times as many batches; a slow one holds no fast ones back", () => {
  const { a = 0, fast = 0 } = batchesOf({ a: 999, b: 999, fast: 333 });
  assert.ok(fast >= 2.9 * a && fast <= 3.1 * a, `${fast} and ${a}`);
  const { slow = 0, c = 0 } = batchesOf({ c: 100, d: 100, e: 100, slow: 1_000 });
  assert.ok(slow <= 0.15 * c, `${slow} and ${c}`);
});

test("a share that is reached already still gets one batch: 0 was never seen on the wire", () => {
  const { answer } = answerStatus({ a: freshPace }, { peer: "a", batchSize: 500, now: 0 }, plan);
  assert.equal(answer, { type: "ScheduleUpdate", counter: 1 });
});

const worker = (peer: string) => memberOf(identityOf(peer, "worker"));
const scheduler = (peer: string) => memberOf(identityOf(peer, "scheduler"));

function training(): Training {
  const participant = (peer: string) => ({ peer, member: worker(peer), leaseId: "l", taskId: "t", jobId: "j" });
  const running: Training = {
    ...emptyTraining,
    trainers: {
      a: leasedTrainer(participant("a"), { now: 0, roundsDone: 0, isCounted: true, gpu: 0 }),
      b: leasedTrainer(participant("b"), { now: 0, roundsDone: 0, isCounted: true, gpu: 0 }),
    },
    aggregator: leasedAggregator({ ...participant("s"), jobId: "k" }),
  };
  return ["a", "b", "s"].reduce((now, peer) => withParticipant(now, peer, { state: "running" }), running);
}

/** Feeds messages and gives the answers. */
function answers(start: Training, messages: readonly [peer: string, jobId: string, progress: Progress][]) {
  let now = start;
  const said = messages.map(([peer, jobId, progress]) => {
    const member = worker(peer);
    const { training: after, answer } = answerProgress(now, {
      peer,
      member,
      jobId,
      progress,
      namesTraining: true,
      now: 0,
    }, plan);
    now = after;
    return answer?.type ?? "no answer";
  });
  return { said, training: now };
}

test("progress is answered as the existing scheduler does, round by round", () => {
  const metrics: Progress = { metrics: { round: 0, metrics: { loss: 1 } } };
  const { said, training: after } = answers(training(), [
    ["a", "j", metrics],
    ["a", "j", "update"],
    ["b", "j", "update"],
    ["s", "k", "updated"],
    ["a", "j", "update-received"],
    ["b", "j", "update-received"],
    ["s", "k", "updated"],
    ["a", "j", "update-received"],
    ["b", "j", "update-received"],
  ]);
  assert.equal(said, ["Ok", "Ok", "Ok", "Ok", "Continue", "Continue", "Done", "Done", "Done"]);
  assert.ok(isTrained(after));
});

test("what can't be placed is an Error, another's job no answer at all", () => {
  const { said } = answers(training(), [
    ["a", "j", "updated"],
    ["s", "k", "update-received"],
    ["s", "k", { status: { batch_size: 1 } }],
    ["a", "k", "update"],
    ["s", "j", "updated"],
    ["stranger", "j", "update"],
  ]);
  assert.equal(said, ["Error", "Error", "Error", "no answer", "no answer", "no answer"]);
});

test("a round that the aggregator reports twice counts once", () => {
  const { said, training: after } = answers(training(), [
    ["s", "k", "updated"],
    ["s", "k", "updated"],
    ["a", "j", "update-received"],
    ["s", "k", "updated"],
  ]);
  assert.equal(said, ["Ok", "Ok", "Continue", "Done"]);
  assert.is(after.roundsDone, 2);
});

test("bug: a receipt that was repeated, or of a result of another job, ended a trainer's part a round early", () => {
  const receipt = ["a", "j", "update-received"] as const;
  const update = ["a", "j", "update"] as const;
  const status = ["a", "j", { status: { batch_size: 8 } }] as const;
  const reported = ["s", "k", "updated"] as const;
  const receipts = (...messages: readonly (readonly [string, string, Progress])[]) => {
    const { said } = answers(training(), messages.map((each) => [...each]));
    return said.filter((_, at) => messages[at] === receipt);
  };
  assert.equal(
    receipts(status, update, reported, receipt, receipt, status, update, reported, receipt),
    ["Continue", "Continue", "Done"],
    "repeated after the report of the round",
  );
  assert.equal(
    receipts(status, update, receipt, receipt, reported, receipt, status, update, receipt),
    ["Continue", "Continue", "Continue", "Done"],
    "repeated before it, and after",
  );
  assert.equal(
    receipts(status, update, receipt, status, update, receipt, reported, status, update, receipt),
    ["Continue", "Continue", "Done"],
    "of a result that the aggregator did not send",
  );
  const many = ["a", "j", { status: { batch_size: 40 } }] as const;
  const { said } = answers(
    training(),
    [many, update, receipt, many, update, receipt, many].map(([...each]) => [...each]),
  );
  assert.is(said.at(-1), "ScheduleUpdate", "a receipt that counts no round begins one all the same");
  assert.equal(
    receipts(status, update, reported, receipt, status, reported, receipt),
    ["Continue", "Done"],
    "without `update`",
  );
});

test("only a trainer that should be training is silent, and only after the bound", () => {
  const waiting = answers(training(), [["b", "j", "update"]]).training;
  assert.equal(silentTrainers(waiting, 100, 100), []);
  assert.equal(silentTrainers(waiting, 101, 100).map(({ peer }) => peer), ["a"]);
});

test("a trainer that waits for a result counts as silent only after the bound, once its round is over", () => {
  const over = answers(training(), [["a", "j", "update"], ["b", "j", "update"], ["s", "k", "updated"]]);
  const late = answers(over.training, [["a", "j", "update-received"], ["a", "j", "update"]]).training;
  assert.equal(silentTrainers(late, 100, 100), []);
  assert.equal(silentTrainers(late, 101, 100).map(({ peer }) => peer), ["b"], "a waits for the next");
});

test("bug: a trainer whose update is reported after its round is waited for without end", () => {
  // The aggregator reports a round before it sends the result, so that this message may come first.
  const late = answers(training(), [["a", "j", "update"], ["s", "k", "updated"], ["b", "j", "update"]]).training;
  assert.equal(silentTrainers(late, 101, 100).map(({ peer }) => peer), ["a", "b"]);
  const next = answers(late, [["b", "j", "update-received"], ["b", "j", "update"]]).training;
  assert.equal(silentTrainers(next, 101, 100).map(({ peer }) => peer), ["a"], "b waits for the next");
});

test("a data set's record: publisher and whole number, else the reason", () => {
  const identity = identityOf("data", "data");
  const answer = { type: "record", id: "1", key: "k", publisher: "data", identity } as const;
  const record = (text: string) => readDatasetRecord({ ...answer, value: new TextEncoder().encode(text) });
  const found = { provider: "data", member: memberOf(identity), slices: 12 };
  assert.equal(Result.getOrThrow(record('{"num_slices": 12}')), found);
  const bad = ["{}", "[]", "null", "x", '{"num_slices": 0}', '{"num_slices": 1.5}', '{"num_slices": "3"}'];
  for (const text of bad) assert.ok(Result.isFailure(record(text)), text);
  const own = { ...answer, value: new TextEncoder().encode('{"num_slices": 1}'), identity: undefined };
  assert.ok(Result.isFailure(readDatasetRecord(own)), "its own");
  assert.ok(Result.isFailure(record(`{"num_slices": 1, "x": "${"x".repeat(5_000)}"}`)));
  assert.ok(Result.isFailure(readDatasetRecord({ type: "record.missing", id: "1" })));
  assert.ok(Result.isFailure(readDatasetRecord({ type: "record.failed", id: "1", error: failedWith("timed-out") })));
});

test("a worker's book: reserved from the offer on, free when the lease is over and its job has ended", () => {
  const total = { cpu: 4, gpu: 0, memory: 0, storage: 0 };
  const descriptor = { class: "train", name: "x" } as const;
  const offer = {
    id: "1",
    to: "s",
    resources: { ...total, cpu: 3 },
    descriptors: [descriptor],
    price: 1,
    gpus: [],
    reserves: true,
  };
  const left = (book: typeof noCommitments) => availableResources(book, total).cpu;
  const offered = addOffer(noCommitments, offer);
  assert.is(left(offered), 1);
  assert.is(left(addOffer(noCommitments, { ...offer, reserves: false })), 4);
  const leased = acceptOffer(offered, "1", { gpus: [], holder: scheduler("s"), endsAt: 10, training: undefined });
  assert.is(left(leased), 1);
  assert.is(leaseForJob(leased, scheduler("s"), descriptor)?.id, "1");
  assert.is(leaseForJob(leased, scheduler("stranger"), descriptor), undefined);
  assert.is(leaseForJob(leased, worker("s"), descriptor), undefined, "another member of the same PeerID");
  assert.is(leaseForJob(leased, scheduler("s"), { class: "aggregate", name: "x" }), undefined);
  const busy = addJob(leased, {
    taskId: "t",
    leaseId: "1",
    scheduler: "s",
    holder: scheduler("s"),
    spec: {} as JobSpec,
    training: undefined,
    dispatch: 0,
    dispatchedAt: 0,
  });
  assert.is(leaseForJob(busy, scheduler("s"), descriptor), undefined, "one job a lease");
  const ending = endLease(busy, "1");
  assert.is(left(ending), 1, "the job still runs");
  assert.is(left(endJob(ending, "t")), 4);
  assert.is(left(endLease(leased, "1")), 4);
  assert.is(left(endJob(busy, "t")), 1, "the lease goes on");
});

test.run();
