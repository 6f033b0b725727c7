import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HungUp, type Refusal } from "../../../pki/refusal.ts";
import { answersMax, PeerDial, silentMs } from "../../../transport/core/peer_dial.ts";
import type { WireConnection } from "../../../transport/core/wire.ts";
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

const hungUp = new HungUp({ detail: "in a test" });

/** A dial of a peer whose remembered addresses lead nowhere, with a search that the test answers. */
function searched() {
  const clock = new ManualClock();
  const outcomes: Result.Result<unknown, unknown>[] = [];
  const dials: {
    readonly addresses: readonly string[] | undefined;
    end(outcome: Result.Result<WireConnection, Refusal>): void;
    isOver: boolean;
  }[] = [];
  const search = { found: (_: readonly string[]) => {}, done: () => {}, isOver: false };
  new PeerDial({
    wire: {
      dial: (target, end) => {
        const dial = { addresses: "addresses" in target ? target.addresses : undefined, end, isOver: false };
        dials.push(dial);
        return () => void (dial.isOver = true);
      },
      findPeer: (_, found, done) => {
        Object.assign(search, { found, done });
        return () => void (search.isOver = true);
      },
    },
    clock,
    target: { peer: "x" },
    isSecuring: () => false,
    isRefused: () => false,
    done: (outcome) => outcomes.push(outcome),
  });
  dials[0]?.end(Result.fail(hungUp));
  return { dials, search, outcomes };
}

test("bug: the first answer to a search counted alone, so that a wrong one hid the peer", () => {
  const { dials, search, outcomes } = searched();
  search.found(["/ip4/192.0.2.1/tcp/1"]);
  search.found(["/ip4/192.0.2.1/tcp/1/p2p/y"]);
  search.found(["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1"]);
  assert.equal(dials.slice(1).map(({ addresses }) => addresses), [
    ["/ip4/192.0.2.1/tcp/1/p2p/x"],
    ["/ip4/192.0.2.2/tcp/1/p2p/x"],
  ]);
  dials[1]?.end(Result.fail(hungUp));
  assert.equal(outcomes, []);
  const connection = new FakeConnection({ direction: "outbound" });
  dials[2]?.end(Result.succeed(connection));
  assert.equal(outcomes, [Result.succeed(connection)]);
  assert.ok(search.isOver);
});

test("no more than a few answers of a search are dialled, and it ends with the last of them", () => {
  const { dials, search, outcomes } = searched();
  for (let port = 1; port <= 2 * answersMax; port++) search.found([`/ip4/192.0.2.1/tcp/${port}`]);
  assert.is(dials.length, 1 + answersMax);
  search.done();
  for (const dial of dials.slice(1)) {
    assert.equal(outcomes, []);
    dial.end(Result.fail(hungUp));
  }
  assert.is(outcomes.length, 1);
});

test.run();
