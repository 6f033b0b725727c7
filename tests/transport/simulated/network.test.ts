/** The virtual network by itself: what it takes to dial, and what a link's quality costs. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { VirtualTime } from "../../../actors/simulation/virtual_time.ts";
import { dialSilenceMs, goodLink, VirtualNetwork, type WireEnd } from "../../../transport/simulated/network.ts";

const test = suite("VirtualNetwork");
const address = "/ip4/10.0.0.2/tcp/4000";

function networkOf() {
  const time = new VirtualTime(0);
  const network = new VirtualNetwork({ time, random: () => 0.5 });
  const accepted: WireEnd[] = [];
  network.listen(address, { host: "b", accept: (end) => void accepted.push(end) });
  const dial = (within: number) => {
    let said = "nothing";
    network.dial("a", "/ip4/10.0.0.1/tcp/4000", address, (end, why) => said = end === undefined ? why : "connected");
    time.runTo(time.now + within);
    return said;
  };
  return { time, network, accepted, dial };
}

test("a dial is answered", () => {
  const { accepted, dial } = networkOf();
  assert.is(dial(100), "connected");
  assert.is(accepted.length, 1);
});

for (const [from, to] of [["a", "b"], ["b", "a"]] as const) {
  test(`a dial from a to b is answered by nobody, late, where ${from} to ${to} is cut; after it healed it is`, () => {
    const { network, accepted, dial } = networkOf();
    network.cut(from, to);
    assert.is(dial(dialSilenceMs - 1), "nothing");
    assert.is(dial(dialSilenceMs), "no answer came");
    assert.is(accepted.length, 0);
    network.heal(from, to);
    assert.is(dial(100), "connected");
  });
}

test("a frame takes the latency of its direction, half the jitter, and its size by the bandwidth", () => {
  const { network } = networkOf();
  network.setQuality("a", "b", { latencyMs: 40, jitterMs: 10, bandwidth: 10 });
  assert.is(network.delayOf("a", "b", 1_000), 40 + 5 + 100);
  const { latencyMs, jitterMs, bandwidth } = goodLink;
  assert.is(network.delayOf("b", "a", 1_000), latencyMs + jitterMs / 2 + 1_000 / bandwidth);
});

test.run();
