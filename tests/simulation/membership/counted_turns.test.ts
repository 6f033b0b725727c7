/** A simulated CA while its token hangs: what needs no signature goes on, what waits for the turn of a signature waits for virtual time. */
import { Deferred, Effect, Semaphore } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CaRefused } from "../../../actors/ca/ca_refused.ts";
import type { CertificateAuthority } from "../../../actors/ca/certificate_authority.ts";
import { memberScenarioOf, runMemberScenario } from "../../../actors/simulation/mod.ts";
import { CountedTurns } from "../../../actors/simulation/membership/counted_turns.ts";
import { makeWorld } from "../../../actors/simulation/membership/member_world.ts";
import { playTo } from "../../../actors/simulation/membership/run_member_scenario.ts";
import { caUrl } from "../../../actors/simulation/membership/simulated_ca.ts";
import { hangMs } from "../../../actors/simulation/membership/simulated_token.ts";
import { startsAt } from "../../../actors/simulation/simulation.ts";

const test = suite("turns of a simulated CA");

test("a CA whose token hangs serves its lists, and answers in their order what waited for the signature", async () => {
  const world = await makeWorld({ ...memberScenarioOf(1), nodes: [], events: [] }, {});
  const { sim, ca, web } = world;
  const order: string[] = [];
  const done = (name: string) => () => void order.push(`${name} at ${Math.trunc(sim.time.now - startsAt)}`);
  ca.start();
  try {
    await playTo(world, startsAt + 2_000, true);
    assert.ok(ca.isServing);
    sim.after(2_000, () => {
      ca.keyToken.state = "hangs";
      const signed = Effect.promise(() => ca.keyToken.sign(Uint8Array.of(1)).catch(() => {}));
      ca.operate((authority) => authority.inTurn(signed), done("first"));
      ca.operate((authority) => authority.inTurn(Effect.void), done("second"));
    });
    const request = {
      method: "GET",
      path: `/crl/${ca.issuerId}.crl`,
      authorization: undefined,
      ifNoneMatch: undefined,
    };
    const sent = { origin: caUrl, judge: () => undefined, request: { ...request, body: new Uint8Array() } };
    for (const at of [3_000, 6_000]) sim.after(at, () => web.send("worker-1", sent, done("list")));
    await playTo(world, startsAt + 30_000, true);
    assert.is(order.length, 4, order.join());
    for (const line of order.slice(0, 2)) assert.match(line, /^list at [36]\d{3}$/);
    assert.equal(order.slice(2), [`first at ${2_000 + hangMs}`, `second at ${2_000 + hangMs}`]);
  } finally {
    ca.end();
  }
});

test("operations that wait are counted while one has the turn, and none that was refused or interrupted", async () => {
  const refusal = new CaRefused({ code: "busy", detail: "" });
  const turn = Semaphore.makeUnsafe(1);
  const inTurn: CertificateAuthority["inTurn"] = (operation) => turn.withPermit(operation);
  const turns = new CountedTurns();
  const counted = turns.of({ inTurn, inLine: () => () => Effect.fail(refusal) } as unknown as CertificateAuthority);
  const held = Deferred.makeUnsafe<void>();
  const first = Effect.runPromise(counted.inTurn(Deferred.await(held)));
  await Effect.runPromise(Effect.yieldNow);
  const second = Effect.runFork(counted.inTurn(Effect.void));
  const third = Effect.runPromise(counted.inTurn(Effect.sync(() => turns.waiting)));
  const refused = await Effect.runPromiseExit(counted.inLine("")(Effect.void));
  assert.is(refused._tag, "Failure");
  assert.is(turns.waiting, 2);
  second.interruptUnsafe();
  await Effect.runPromise(Effect.yieldNow);
  assert.is(turns.waiting, 1);
  Effect.runSync(Deferred.succeed(held, undefined));
  await first;
  assert.is(await third, 0);
  assert.is(turns.waiting, 0);
});

/** Found by a seed of --hardware: no virtual second of a token that hung left the CA a turn to answer in. */
test("a node that fetches lists gets them from a CA whose token hangs", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(80_102_430, { hardware: true }));
  assert.equal(violations, []);
});

test.run();
