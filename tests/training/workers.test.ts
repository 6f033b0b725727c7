/** What a scheduler remembers of workers, for months: it is bounded. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  dispatchDelayMs,
  isOfferedElsewhere,
  mayBeForeign,
  offerOverMs,
  speakersMax,
  unknownWorkers,
  withLease,
  withOffer,
  withSpeaker,
} from "../../actors/training/workers.ts";

const test = suite("workers");

test("bug: a daemon remembered each worker that it had ever met", () => {
  let workers = unknownWorkers;
  for (let index = 0; index < speakersMax; index++) workers = withSpeaker(workers, `w${index}`, "ours");
  assert.not(mayBeForeign(workers, "w0"));
  assert.is(withSpeaker(workers, "w0", "ours"), workers, "it is known already");
  workers = withSpeaker(workers, "one more", "ours");
  assert.is(Object.keys(workers.speakers).length, speakersMax);
  assert.ok(mayBeForeign(workers, "w0"), "the first one gets the question again");
  assert.not(mayBeForeign(workers, "w1"));
});

test("bug: a node whose worker had not started yet under its new key was taken for a foreign one for ever", () => {
  const told = withSpeaker(withSpeaker(unknownWorkers, "rekeyed", "foreign"), "other", "foreign");
  const leased = withLease(told, { peer: "rekeyed", id: "lease-1" });
  assert.equal(leased.speakers, { other: "foreign" });
  const known = withSpeaker(leased, "rekeyed", "ours");
  assert.equal(withLease(known, { peer: "rekeyed", id: "lease-2" }).speakers, { other: "foreign", rekeyed: "ours" });
});

test("bug: one worker that offered again and again made the offers of all others forgotten", () => {
  let workers = withOffer(unknownWorkers, { peer: "quiet", id: "q", training: "t-1", at: 0 });
  const ids = Array.from({ length: 2_000 }, (_, index) => `e${index}`);
  for (const id of ids) workers = withOffer(workers, { peer: "eager", id, training: "t-1", at: 50 });
  assert.is(dispatchDelayMs(workers, { peer: "quiet", now: 100 }), offerOverMs - 100);
  assert.ok(isOfferedElsewhere(workers, { peer: "quiet", training: "t-2", now: 100 }));
  const own = workers.unaccepted.filter(({ peer }) => peer === "eager").map(({ id }) => id);
  assert.equal(own, ids.slice(-4), "the newest of each are kept");
});

test.run();
