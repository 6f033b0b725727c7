/** Nothing is open ten seconds after quiet: what closes in time passes, and what never closes is found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { QuietChecks, quietLookMs } from "../../actors/simulation/check_quiet.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { Simulation } from "../../actors/simulation/mod.ts";

const test = suite("QuietChecks");
const lookEveryMs = 250;

/** Strangers dial and send nothing further, so often; the gateway gives each five seconds. */
async function looked(strangers: number, everyMs: number): Promise<readonly string[]> {
  const sim = await Simulation.create({ seed: 7 });
  const gateway = await sim.addNode({ name: "gateway", role: "gateway" });
  const findings = new Findings(sim);
  const quiet = new QuietChecks({ sim, findings });
  sim.run(1_000);
  for (let nth = 0; nth < strangers; nth++) {
    sim.after(
      nth * everyMs,
      () =>
        sim.network.dial("stranger", "/ip4/192.0.2.1/tcp/1", gateway.address, (end) => end?.send({ type: "hello" })),
    );
  }
  sim.run(500);
  assert.is(gateway.open.halfOpen, 1);
  quiet.begin();
  for (let at = 0; at < quietLookMs; at += lookEveryMs) {
    sim.run(lookEveryMs);
    quiet.look();
  }
  quiet.conclude();
  return findings.violations.map(({ invariant, node, detail }) => `${invariant} ${node}: ${detail}`);
}

test("a half-open connection that ends in time is no violation", async () => {
  assert.equal(await looked(1, 0), []);
});

test("half-open connections at every look are a violation", async () => {
  const found = await looked(5, 3_000);
  assert.is(found.length, 1);
  assert.match(found[0] as string, /^nothing-left-open gateway: open 10 s after quiet: [12] halfOpen$/);
});

test("before the quiet begins nothing is held against a node", async () => {
  const sim = await Simulation.create({ seed: 7 });
  await sim.addNode({ name: "gateway", role: "gateway" });
  const findings = new Findings(sim);
  const quiet = new QuietChecks({ sim, findings });
  quiet.look();
  quiet.conclude();
  assert.equal(findings.violations, []);
});

test.run();
