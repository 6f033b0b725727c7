/** The key of a simulated CA in a token that hangs and vanishes: nothing is issued meanwhile, and issuing resumes by itself. */
import { setImmediate } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  identityFaultKinds,
  type MemberScenario,
  memberScenarioOf,
  runMemberScenario,
  tokenFaultKinds,
} from "../../../actors/simulation/mod.ts";
import { SimulatedToken } from "../../../actors/simulation/membership/simulated_token.ts";
import { VirtualTime } from "../../../actors/simulation/virtual_time.ts";
import { answerMs, startMs, tryAgainMs } from "../../../actors/pkcs11/token_process.ts";
import { fileSigner } from "../../../pki/issue/mod.ts";
import { makeSigningKey } from "../../../pki/issue/signing_key.ts";

const test = suite("a token in virtual time");

test("one that hangs is refused in time, then at once, and signs again some seconds after it is back", async () => {
  const time = new VirtualTime(0);
  const token = new SimulatedToken(time, fileSigner((await makeSigningKey()).keyPem));
  const sign = () => token.sign(Uint8Array.of(1)).then(() => "signed", (error) => error.code as string);
  const passed = async (ms: number) => {
    while (time.step(ms)) await setImmediate();
  };
  token.state = "hangs";
  const asked = sign();
  await passed(2 * answerMs + startMs);
  assert.is(await asked, "signer-unavailable");
  assert.is(await sign(), "signer-unavailable");
  token.state = "there";
  assert.not.ok(token.canSign, "it is tried every few seconds");
  await passed(time.now + 2 * tryAgainMs);
  assert.is(await sign(), "signed");
  assert.ok(!token.hasMade(new Uint8Array(64)) && token.hasMade(await token.sign(Uint8Array.of(2))));
});

test("a scenario of membership is the same with and without it, but for its own troubles", () => {
  const kinds: readonly string[] = [...tokenFaultKinds, ...identityFaultKinds];
  for (let seed = 0; seed < 20; seed++) {
    const { events, nodes, ...scenario } = memberScenarioOf(seed, { hardware: true });
    const inFiles = nodes.map(({ identity: _, ...plan }) => plan);
    const others = events.filter(({ kind }) => !kinds.includes(kind));
    assert.equal({ ...scenario, nodes: inFiles, events: others }, memberScenarioOf(seed));
    assert.ok(others.length < events.length);
  }
});

for (const kind of tokenFaultKinds) {
  test(`${kind}: a node that joins meanwhile gets its certificate afterwards, and the run is the same again`, async () => {
    const scenario = memberScenarioOf(1);
    const event = { kind, at: 500, target: "gateway-1", forMs: 40_000, amount: 0 };
    const short: MemberScenario = {
      ...scenario,
      nodes: scenario.nodes.slice(0, 1),
      events: [event],
      entries: 0,
      troubleMs: 60_000,
      quietMs: 60_000,
    };
    const [first, again] = [await runMemberScenario(short, { keepTrace: true }), await runMemberScenario(short)];
    assert.equal(first.violations, []);
    assert.is(first.outcome, "1 certificates");
    assert.is(again.traceHash, first.traceHash);
  });
}

test.run();
