import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AuthorRates, authorsMax, messagesBurst, messagesPerSecond } from "../../../transport/core/author_rates.ts";

const test = suite("AuthorRates");

test("after a pause four messages of an author count, then two a second; others' are their own", () => {
  assert.equal([messagesPerSecond, messagesBurst], [2, 4]);
  let now = 5_000;
  const rates = new AuthorRates(() => now);
  const taken = (author: string, times: number) => Array.from({ length: times }, () => rates.take(author));
  assert.equal(taken("a", 6), [true, true, true, true, false, false]);
  assert.equal(taken("b", 1), [true]);
  now += 499;
  assert.equal(taken("a", 1), [false]);
  now += 1;
  assert.equal(taken("a", 2), [true, false]);
  now += 60_000;
  assert.equal(taken("a", 5), [true, true, true, true, false]);
  let counted = 0;
  for (let ms = 0; ms < 10_000; ms += 10) {
    now += 10;
    if (rates.take("a")) counted += 1;
  }
  assert.is(counted, 20);
});

test("holds a bounded number of authors", () => {
  assert.is(authorsMax, 4_096);
  const rates = new AuthorRates(() => 0);
  const drain = (author: string) => {
    let times = 0;
    while (rates.take(author)) times += 1;
    return times;
  };
  for (let author = 0; author <= authorsMax; author++) drain(`${author}`);
  assert.equal([drain("1"), drain("0")], [0, messagesBurst]);
});

test("the author that is forgotten is the one whose message came longest ago", () => {
  let now = 0;
  const rates = new AuthorRates(() => now);
  for (let author = 0; author < authorsMax; author++) assert.ok(rates.take(`${author}`));
  const left = (author: string) => {
    let times = 0;
    while (rates.take(author)) times += 1;
    return times;
  };
  now += 500;
  assert.is(left("0"), messagesBurst, "the newest again");
  assert.ok(rates.take("one more"));
  assert.equal([left("0"), left("2")], [0, messagesBurst]);
  now = 0;
  assert.is(left("1"), messagesBurst, "forgotten");
});

test.run();
