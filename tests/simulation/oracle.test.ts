/** What the oracle holds a node to whose clock jumped: what has ended by that clock is closed by the next sweep. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Credential } from "../../actors/simulation/authority.ts";
import type { SimulatedNode } from "../../actors/simulation/node.ts";
import { Oracle } from "../../actors/simulation/oracle.ts";
import { runScenario, type Scenario, scenarioOf } from "../../actors/simulation/mod.ts";
import { expirySweepMs } from "../../transport/core/reverification.ts";

const test = suite("Oracle");
const jumpsAt = 8_000;

/** Gateways whose clocks step ten minutes forward, past the end of a worker's certificate that really ends much later. */
function scenario(): Scenario {
  const { nodes, ...plain } = scenarioOf(20, { faults: [], nodes: 8 });
  const jump = (target: string) => ({
    kind: "clock-jump",
    target,
    other: "gateway-1",
    at: jumpsAt,
    forMs: 60_000,
    amount: 0.99,
  });
  return {
    ...plain,
    nodes: nodes.map((node) => node.name === "worker-2" ? { ...node, expiresAfterMs: 400_000 } : node),
    events: ["gateway-1", "gateway-2"].map(jump) as Scenario["events"],
    troubleMs: jumpsAt + expirySweepMs + 10_000,
    quietMs: 2_000,
  };
}

test("a clock that steps past the end of a certificate closes its connections with the next sweep", async () => {
  const { violations, faults } = await runScenario(scenario());
  assert.equal(violations, []);
  assert.is(faults["clock-jump"], 2);
});

test("bug: a list that a node found at its start could not have travelled from there", () => {
  const oracle = new Oracle();
  const [gateway, worker] = [{ name: "gateway-1" }, { name: "worker-1" }] as [SimulatedNode, SimulatedNode];
  const revoked = { credential: {} as Credential, never: undefined, notAfter: Infinity, revokedBy: 2 };
  oracle.processBegan(gateway, { number: 1, kept: 1 }, 0);
  assert.not(oracle.mayRefuse(gateway, revoked, 1_000));
  oracle.processBegan(worker, { number: 2, kept: 1 }, 2_000);
  assert.ok(oracle.mayRefuse(gateway, revoked, 3_000));
});

test.run();
