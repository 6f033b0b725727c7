/** A simulated node whose identity is in a token: it gets its certificates for the token's signature, and goes on when that is back. */
import { setImmediate } from "node:timers/promises";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  identityFaultKinds,
  type MemberScenario,
  memberScenarioOf,
  runMemberScenario,
} from "../../../actors/simulation/mod.ts";
import { IdentityToken } from "../../../actors/simulation/membership/identity_token.ts";
import { hangMs } from "../../../actors/simulation/membership/simulated_token.ts";
import { Tasks } from "../../../actors/simulation/membership/virtual_web.ts";
import { NodeClock } from "../../../actors/simulation/node_clock.ts";
import { VirtualTime } from "../../../actors/simulation/virtual_time.ts";

const test = suite("a token with a node's identity, in virtual time");

test("it signs while it is there, is refused at once while it is gone, and after a while when it hangs", async () => {
  const [time, tasks] = [new VirtualTime(0), new Tasks()];
  const token = new IdentityToken("seed", tasks);
  const key = token.of(new NodeClock(time));
  const use = async (untilMs: number) => {
    let outcome = "waits";
    const task = key.use(async (signer) => `${(await signer.sign(Uint8Array.of(1))).length} octets`);
    const seen = Effect.match(task, { onSuccess: (text) => text, onFailure: ({ code }) => code });
    void Effect.runPromise(seen).then((text) => outcome = text);
    const end = time.now + untilMs;
    do {
      for (let turn = 0; turn < 5; turn++) await setImmediate();
    } while (time.step(end) || tasks.working > 0);
    return outcome;
  };
  assert.is(await use(1), "64 octets");
  token.state = "gone";
  assert.is(await use(1), "signer-unavailable");
  token.state = "hangs";
  assert.is(await use(hangMs - 1), "waits");
  assert.is(await use(hangMs), "signer-unavailable");
  token.state = "there";
  assert.is(await use(1), "64 octets");
});

const scenario = memberScenarioOf(1);
const short = (events: MemberScenario["events"], lives: number): MemberScenario => ({
  ...scenario,
  nodes: scenario.nodes.slice(0, 1).map((plan) => ({ ...plan, identity: "hardware", key: "same" })),
  events,
  entries: 0,
  troubleMs: lives * scenario.lifeMs,
  quietMs: 60_000,
});

test("a node renews both of its certificates for many lives of them, and the run is the same again", async () => {
  const run = () => runMemberScenario(short([], 7), { keepTrace: true });
  const [first, again] = [await run(), await run()];
  assert.equal(first.violations, []);
  const certificates = Number(/\d+/.exec(first.outcome)?.[0]);
  // The identity's lives three lives of those for TLS, which are renewed after two thirds of one.
  assert.ok(certificates >= 2 + 7 * 1.3 + 2, first.outcome);
  assert.is(again.traceHash, first.traceHash);
});

for (const kind of identityFaultKinds) {
  test(`${kind}: a node that joins meanwhile gets its certificates afterwards`, async () => {
    const event = { kind, at: 500, target: "gateway-1", forMs: 40_000, amount: 0 };
    const { violations, outcome } = await runMemberScenario({ ...short([event], 0), troubleMs: 60_000 });
    assert.equal(violations, []);
    assert.is(outcome, "2 certificates");
  });
}

test.run();
