import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { PeerDial, silentMs } from "../../../transport/core/peer_dial.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("PeerDial");

test("a dial that ends at once is not followed by a search", () => {
  const clock = new ManualClock();
  const outcomes: unknown[] = [];
  let searches = 0;
  new PeerDial({
    wire: {
      dial: (_, ended) => {
        ended(Result.succeed(new FakeConnection({ direction: "outbound" })));
        return () => {};
      },
      findPeer: () => {
        searches += 1;
        return () => {};
      },
    },
    clock,
    target: { peer: "x" },
    isSecuring: () => false,
    isRefused: () => false,
    done: (outcome) => outcomes.push(outcome),
  });
  clock.pass(2 * silentMs);
  assert.equal([outcomes.length, searches, clock.waiting], [1, 0, 0]);
});

test.run();
