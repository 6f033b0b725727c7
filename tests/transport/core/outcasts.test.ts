/** For how long a peer that cost too much is refused. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  outcastForgottenMs,
  Outcasts,
  outcastsMax,
  refusedFirstMs,
  refusedMaxMs,
} from "../../../transport/core/outcasts.ts";

const test = suite("Outcasts");

test("a peer is refused for a minute, then for twice as long each time up to ten minutes, and forgotten after", () => {
  const outcasts = new Outcasts();
  let now = 0;
  const times: number[] = [];
  for (let each = 0; each < 6; each++) {
    const { refusedMs } = outcasts.add("peer", 30_000, now);
    times.push(refusedMs);
    const refusal = outcasts.refusalOf("peer", now + refusedMs - 1);
    assert.equal([refusal?.code, refusal?.delayedMs, refusal?.refusedMs], ["too-expensive", 0, 1]);
    now += refusedMs;
    assert.is(outcasts.refusalOf("peer", now), undefined);
  }
  assert.equal(times, [60_000, 120_000, 240_000, 480_000, 600_000, 600_000]);
  assert.equal([times[0], times.at(-1)], [refusedFirstMs, refusedMaxMs]);
  assert.is(outcasts.size, 1);
  assert.is(outcasts.refusalOf("peer", now + outcastForgottenMs), undefined);
  assert.is(outcasts.size, 0);
  outcasts.add("peer", 30_000, now);
  assert.is(outcasts.add("peer", 30_000, now + refusedFirstMs + outcastForgottenMs).refusedMs, refusedFirstMs);
});

test("another peer is not refused, and so many are remembered and no more", () => {
  const outcasts = new Outcasts();
  for (let each = 0; each <= outcastsMax; each++) outcasts.add(`${each}`, 30_000, 0);
  assert.is(outcasts.size, outcastsMax);
  assert.is(outcasts.refusalOf("0", 1), undefined);
  assert.is(outcasts.refusalOf("1", 1)?.code, "too-expensive");
  assert.is(outcasts.refusalOf("another", 1), undefined);
});

test("the peer that is forgotten is the one that was refused first, a peer that was refused again is not", () => {
  const outcasts = new Outcasts();
  for (let each = 0; each < outcastsMax; each++) outcasts.add(`${each}`, 30_000, 0);
  outcasts.add("0", 30_000, 1);
  outcasts.add("one more", 30_000, 2);
  assert.equal(["0", "1"].map((peer) => outcasts.refusalOf(peer, 3)?.code), ["too-expensive", undefined]);
});

test.run();
