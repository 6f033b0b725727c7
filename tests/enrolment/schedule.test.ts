import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  lookAfterMs,
  lookEveryMs,
  renewAt,
  retryAfterMs,
  retryMaxEndedMs,
  retryMaxMs,
  retryMinMs,
  waitAfterMs,
} from "../../actors/enrolment/schedule.ts";

const test = suite("when to renew, and when to try again");
const hourMs = 3_600_000;
const day = { notBefore: new Date(0), notAfter: new Date(24 * hourMs) };

test("a certificate is renewed after two thirds of its life, give or take a twentieth", () => {
  assert.is(renewAt(day, 0.5), 16 * hourMs);
  assert.is(renewAt(day, 0), Math.round((16 - 24 / 20) * hourMs));
  assert.ok(renewAt(day, 0.999_999) < (16 + 24 / 20) * hourMs);
});

test("one that lies there past its time is due, one that has just come is not", () => {
  assert.is(renewAt(day, 0.5), 16 * hourMs);
  assert.is(renewAt(day, 0.5, 23 * hourMs), 23 * hourMs + hourMs / 3);
  assert.is(renewAt(day, 0.5, 24 * hourMs - 1), 24 * hourMs - 1 + retryMinMs, "never in a loop");
  assert.is(renewAt(day, 0.5, 0), 16 * hourMs, "a fresh one is renewed in its time");
});

const waits: [name: string, failures: number, leftMs: number, random: number, expected: number][] = [
  ["the first wait is the shortest", 1, 8 * hourMs, 0.5, retryMinMs],
  ["and it is never shorter", 1, 8 * hourMs, 0, retryMinMs],
  ["the wait doubles", 4, 800 * hourMs, 0.5, 80_000],
  ["with a quarter less", 4, 800 * hourMs, 0, 60_000],
  ["and at most a quarter more", 4, 800 * hourMs, 1, 100_000],
  ["it takes no more than a twentieth of what is left", 20, 5 * hourMs, 0.5, hourMs / 4],
  ["nor more than an hour", 20, 8_000 * hourMs, 0.5, retryMaxMs],
  ["the last minutes are tried every ten seconds", 20, 60_000, 0.5, retryMinMs],
  ["one that has ended is tried every minute", 20, -1, 0.5, retryMaxEndedMs],
  ["failures without end stay finite", 1e9, 8_000 * hourMs, 0.5, retryMaxMs],
];
for (const [name, failures, leftMs, random, expected] of waits) {
  test(name, () => assert.is(retryAfterMs(failures, leftMs, random), expected));
}

const requested: [name: string, ownMs: number, requestedMs: number, leftMs: number, expected: number][] = [
  ["a Retry-After lengthens the wait", 10_000, 30_000, 8 * hourMs, 30_000],
  ["one that is shorter does not", 10_000, 1_000, 8 * hourMs, 10_000],
  ["it takes no more than a twentieth of what is left", 10_000, hourMs, 5 * hourMs, hourMs / 4],
  ["in the last minutes it is ten seconds at most", 0, hourMs, 60_000, retryMinMs],
  ["with one that has ended it is a minute at most", 10_000, hourMs, -1, retryMaxEndedMs],
  ["without a certificate the CA's wait holds", 10_000, hourMs, 0, hourMs],
];
for (const [name, ownMs, requestedMs, leftMs, expected] of requested) {
  test(name, () => assert.is(waitAfterMs(ownMs, requestedMs, leftMs), expected));
}

test("a retired issuer's certificates are renewed within the hour", () => {
  assert.ok(lookAfterMs(1) + lookEveryMs <= hourMs);
  assert.is(lookAfterMs(0), lookEveryMs * 0.75);
});

test.run();
