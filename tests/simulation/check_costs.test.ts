/** What members cost a node: what lies within an allowance violates nothing, and more of each resource is found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CostChecks } from "../../actors/simulation/check_costs.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { Simulation, startsAt } from "../../actors/simulation/mod.ts";
import { Oracle } from "../../actors/simulation/oracle.ts";
import { TooExpensive } from "../../pki/refusal.ts";
import { kadProtocol } from "../../transport/core/wire.ts";
import type { WireWork } from "../../transport/simulated/wire.ts";

const test = suite("CostChecks");
const health = "/hypha-health/0.0.1";

async function watched() {
  const sim = await Simulation.create({ seed: 7 });
  const oracle = new Oracle();
  const findings = new Findings(sim);
  const checks = new CostChecks({ sim, oracle, findings });
  const node = await sim.addNode({ name: "gateway", role: "gateway" });
  oracle.know(node.credential, { notAfter: startsAt + 86_400_000 });
  const wire = {};
  const see = (stream: WireWork["stream"], what: WireWork["what"], bytes = 0, peer = "member") =>
    checks.worked(node, { wire, peer, stream, what, bytes });
  /** A request of so many bytes, answered. */
  const ask = (protocol: string, bytes: number, peer?: string) => {
    const stream = { protocol };
    for (const what of ["offered", "taken"] as const) see(stream, what, 0, peer);
    see(stream, "read", bytes, peer);
    see(stream, "answered", 10, peer);
    see(stream, "over", 0, peer);
  };
  return { sim, findings, checks, node, see, ask };
}

const kinds = ({ violations }: Findings) => violations.map(({ invariant }) => invariant);

test("work within a burst and a tenth of a core is allowed, for each member, and more of it is found", async () => {
  for (const protocol of [health, kadProtocol]) {
    const { sim, findings, ask } = await watched();
    const [times, bytes] = protocol === health ? [1_500, 1_000] : [2_500, 1_000];
    for (const peer of ["member", "another"]) for (let nth = 0; nth < times; nth++) ask(protocol, bytes, peer);
    assert.equal(kinds(findings), [], protocol);
    sim.run(10_000);
    for (let nth = 0; nth < times; nth++) ask(protocol, bytes);
    assert.equal(kinds(findings), [], protocol);
    for (let nth = 0; nth < times; nth++) ask(protocol, bytes);
    assert.equal(kinds(findings), ["cost-bounded"], protocol);
  }
});

test("as many streams as there are places are allowed; one more is found, also of Kademlia", async () => {
  for (const [protocol, max] of [[health, 128], [kadProtocol, 64]] as const) {
    const { findings, see } = await watched();
    const streams = Array.from({ length: max }, () => ({ protocol }));
    for (const stream of streams) see(stream, "taken");
    assert.equal(kinds(findings), []);
    see(streams[0] ?? { protocol }, "over");
    see({ protocol }, "taken");
    assert.equal(kinds(findings), []);
    see({ protocol }, "taken");
    assert.equal(kinds(findings), ["cost-bounded"], protocol);
  }
});

test("bytes are held until an answer, or the stream's end; more than the limit is found", async () => {
  const { findings, see } = await watched();
  const megabyte = 1_048_576;
  const streams = Array.from({ length: 40 }, () => ({ protocol: health }));
  for (const stream of streams) see(stream, "taken");
  for (const stream of streams.slice(0, 32)) see(stream, "read", megabyte);
  see(streams[0] ?? { protocol: health }, "answered", 10);
  see(streams[1] ?? { protocol: health }, "over");
  for (const stream of streams.slice(32, 34)) see(stream, "read", megabyte);
  assert.equal(kinds(findings), []);
  see(streams[34] ?? { protocol: health }, "read", megabyte);
  assert.equal(kinds(findings), ["cost-bounded"]);
});

test("an honest member that is refused because it costs too much is found; a hostile one is not", async () => {
  const { sim, findings, checks, node } = await watched();
  sim.run(1_000);
  const refuse = (id: string) =>
    checks.fact(node, {
      type: "peer.refused",
      address: "/ip4/10.0.0.1/tcp/1",
      direction: "inbound",
      peer: { name: "it", id },
      refusal: new TooExpensive({ delayedMs: 30_000, refusedMs: 60_000 }),
    });
  refuse("a stranger's");
  assert.equal(kinds(findings), []);
  refuse(node.peer);
  assert.equal(kinds(findings), ["cost-bounded"]);
});

test.run();
