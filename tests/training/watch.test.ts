/** What is remembered of a training, from the lines that it reports. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { emptyWatch, membersIn, type TrainingWatch, watchLine } from "../../actors/training/watch.ts";

const test = suite("watchLine()");
let at = 0;
const after = (watch: TrainingWatch, event: string, fields: Record<string, unknown> = {}, name?: string) =>
  watchLine(watch, { report: { level: "info", event, message: "", fields }, name, at: at += 1_000 });

test("members come and go; members that are out are not counted, and a new run begins with none", () => {
  let watch = after(emptyWatch, "run.began", { run: 7 });
  watch = after(watch, "lease.granted", { class: "train" }, "w1");
  watch = after(watch, "lease.granted", { class: "aggregate" }, "w2");
  assert.equal([watch.run, membersIn(watch), watch.members["w2"]?.part], [7, 2, "aggregator"]);
  watch = after(watch, "trainer.lost", { reason: "its lease is over" }, "w1");
  assert.equal([membersIn(watch), watch.members["w1"]?.last], [1, "its lease is over"]);
  assert.is(membersIn(after(watch, "run.began", { run: 8 })), 0);
});

test("the loss of a round is the mean of those that are in; the time of a round is that since the one before", () => {
  let watch = after(emptyWatch, "lease.granted", { class: "train" }, "w1");
  watch = after(watch, "lease.granted", { class: "train" }, "w2");
  watch = after(watch, "round.metrics", { round: 1, metrics: { loss: 1 } }, "w1");
  watch = after(watch, "round.metrics", { round: 1, metrics: { loss: 3 } }, "w2");
  watch = after(watch, "round.finished", { round: 1, resultBytes: 5 });
  assert.equal([watch.round, watch.losses, watch.roundSeconds], [1, [{ round: 1, loss: 2 }], null]);
  watch = after(watch, "trainer.lost", { reason: "gone" }, "w2");
  watch = after(watch, "round.finished", { round: 2, resultBytes: 5 });
  assert.equal([watch.losses.at(-1), watch.roundSeconds, watch.bytes.received], [{ round: 2, loss: 1 }, 2, 10]);
});

test("bug: losses of an earlier part or run counted in the loss of a round", () => {
  let watch = after(emptyWatch, "lease.granted", { class: "train" }, "w1");
  watch = after(watch, "round.metrics", { round: 1, metrics: { loss: 2.3 } }, "w1");
  watch = after(watch, "run.began", { run: 2 });
  watch = after(watch, "lease.granted", { class: "aggregate" }, "w1");
  watch = after(watch, "lease.granted", { class: "train" }, "w2");
  watch = after(watch, "round.metrics", { round: 1, metrics: { loss: 0.1 } }, "w2");
  watch = after(watch, "round.finished", { round: 1, resultBytes: 5 });
  assert.equal([watch.losses.at(-1), watch.members["w1"]?.loss], [{ round: 1, loss: 0.1 }, null]);
});

test("bug: losses and accuracy of rounds that are made again stayed", () => {
  let watch = after(emptyWatch, "lease.granted", { class: "train" }, "w1");
  for (const round of [1, 2, 3]) {
    watch = after(watch, "round.metrics", { round, metrics: { loss: round } }, "w1");
    watch = after(watch, "round.finished", { round });
  }
  watch = after(watch, "round.evaluated", { round: 3, accuracy: 0.5 });
  const roundsOf = (
    { round, losses, accuracy, accuracyRound }: TrainingWatch,
  ) => [round, losses.map((each) => each.round), accuracy, accuracyRound];
  assert.equal(roundsOf(after(watch, "run.began", { run: 8 })), [3, [1, 2, 3], 0.5, 3], "its model is kept");
  assert.equal(roundsOf(after(watch, "run.began", { run: 8, round: 0 })), [0, [], null, undefined]);
  assert.equal(roundsOf(after(watch, "training.continued", { round: 3 })), [3, [1, 2, 3], 0.5, 3]);
  const continued = after(watch, "training.continued", { round: 2 });
  assert.equal(roundsOf(continued), [2, [1, 2], null, undefined]);
  assert.equal([watch.roundSeconds, continued.roundSeconds], [2, null]);
  const { losses } = after(watch, "round.finished", { round: 2 });
  assert.equal(
    losses,
    [{ round: 1, loss: 1 }, { round: 2, loss: 3 }],
    "a round has one loss, and none is of a later one",
  );
});

test("what an aggregator claims cannot grow without bound, and hostile values are not taken", () => {
  let watch = emptyWatch;
  for (let code = 0; code < 500; code++) {
    watch = after(watch, "update.rejected", { code: `code-${code}`, round: 1 }, `w${code}`);
  }
  assert.is(Object.keys(watch.rejections).length, 65);
  assert.is(Object.values(watch.rejections).reduce((sum, count) => sum + count), 500);
  for (let member = 0; member < 1_500; member++) watch = after(watch, "lease.granted", {}, `m${member}`);
  assert.is(Object.keys(watch.members).length, 1_000);
  const odd = after(watch, "round.metrics", { round: "x", metrics: { loss: Number.NaN } }, "m1499");
  assert.is(odd.members["m1499"]?.loss, null);
  assert.is(after(watch, "constructor", {}), watch);
  for (const name of ["__proto__", "constructor"]) {
    const named = after(
      after(emptyWatch, "update.rejected", { code: name, round: 1 }, name),
      "lease.granted",
      {},
      name,
    );
    const read = JSON.parse(JSON.stringify(named)) as TrainingWatch;
    assert.equal(Object.entries(read.rejections), [[name, 1]]);
    assert.equal(Object.entries(read.members).map(([key, { part, last }]) => [key, part, last]), [
      [name, "trainer", "leased"],
    ]);
  }
  assert.is(after(watch, "update.rejected", { code: "x".repeat(5_000) }, undefined).rejections["other"], 437);
});

test.run();
