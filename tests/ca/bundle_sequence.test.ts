/** The sequence of the trust bundle grows with its content, and with nothing else. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bundleSequence } from "../../actors/ca/bundle_sequence.ts";
import { start, testAuthority } from "../support/authority.ts";

const test = suite("the sequence of the trust bundle");
const seconds = +start / 1_000;
const later = (ms: number) => new Date(+start + ms);

test("it stays with the content, over a restart too, and grows when the content changes", async () => {
  const world = await testAuthority();
  const { anchor, intermediates } = world.ca;
  let { register } = world.ca;
  const sequence = (authorities: typeof intermediates, at: Date) =>
    Result.getOrThrow(register.read((rows) => bundleSequence(rows, authorities, at)));
  const [all, fewer] = [[anchor, ...intermediates], [anchor]];
  assert.is(sequence(all, start), seconds);
  assert.is(sequence(all.toReversed(), later(60_000)), seconds, "the order is no content");
  register = world.reopen().register;
  assert.is(sequence(all, later(120_000)), seconds);
  assert.is(sequence(fewer, later(120_000)), seconds + 120);
  assert.is(sequence(all, later(120_000)), seconds + 121, "two changes in a second");
  assert.is(sequence(fewer, later(-60_000)), seconds + 122, "a clock that goes back");
  world.close();
});

test.run();
