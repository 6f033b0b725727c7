/** One actor looks again and again: after its time, until it is stopped, whatever becomes of a look. */
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fromPoll, type PollInput } from "../../actors/files/poll.ts";
import { host } from "../support/child_host.ts";

const test = suite("fromPoll()");

test("it looks after its time, passes over a look that breaks off, and looks no more once it is stopped", async () => {
  let looks = 0;
  const poll = fromPoll((_: PollInput) =>
    Effect.sync(() => {
      looks++;
      if (looks === 2) throw new Error("a defect");
      return looks;
    })
  );
  const polling = host(poll, { everyMs: 30 });
  assert.is(looks, 0, "not at once");
  await polling.hear("polled", 3, 10_000);
  await polling.stop();
  assert.equal(polling.said.slice(0, 3).map(({ seen }) => seen), [1, undefined, 3]);
  const before = looks;
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(looks, before);
});

test.run();
