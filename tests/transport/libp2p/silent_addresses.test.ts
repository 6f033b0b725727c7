/** A silent address of several, in libp2p's own queue of dials. */
import type { Transport } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { setImmediate } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { MovedInternal } from "../../../transport/libp2p/moved_internal.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";
import { connectMs, leavingSilent } from "../../../transport/libp2p/silent_addresses.ts";
import { refusalOfDialError } from "../../../transport/libp2p/dial_refusal.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("leavingSilent()");
const peer = peerIdFromString("12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo");
const [silent, closed] = ["/ip4/8.8.4.4/tcp/1", "/ip4/8.8.8.8/tcp/1"].map((text) => multiaddr(text)) as [
  ReturnType<typeof multiaddr>,
  ReturnType<typeof multiaddr>,
];

/** A node whose TCP never connects to one address and is refused at the other, and that knows these addresses of a peer. */
async function nodeKnowing(known: readonly ReturnType<typeof multiaddr>[]) {
  const clock = new ManualClock();
  const tried: string[] = [];
  const make = (components: Parameters<ReturnType<typeof tcp>>[0]) => {
    const connect = (address: ReturnType<typeof multiaddr>, { signal }: { readonly signal: AbortSignal }) => {
      tried.push(address.toString().split("/p2p/")[0] ?? "");
      return new Promise((_resolve, reject) => {
        if (!address.toString().startsWith(silent.toString())) reject(new Error("connect ECONNREFUSED"));
        signal.addEventListener("abort", () => reject(new Error("aborted")));
      });
    };
    return Object.assign(tcp()(components), { _connect: connect }) as Transport;
  };
  const libp2p = await createLibp2p({ transports: [leavingSilent(make, clock)], logger: silentLogger });
  await libp2p.peerStore.merge(peer, { multiaddrs: [...known] });
  const turns = async () => {
    for (let turn = 0; turn < 50; turn++) await setImmediate();
  };
  const pass = async (ms: number) => {
    await turns();
    clock.pass(ms);
    await turns();
  };
  return { libp2p, clock, tried, pass };
}

const codeOf = (dial: Promise<unknown>) => dial.then(() => "done", (error) => refusalOfDialError(error, 0).code);

test("bug: one silent address took the time of the whole dial: the others were never tried", async () => {
  const { libp2p, clock, tried, pass } = await nodeKnowing([silent, closed]);
  const outcome = codeOf(libp2p.dial(peer));
  await pass(connectMs - 1);
  assert.equal(tried, [silent.toString()]);
  await pass(1);
  assert.equal(tried, [silent.toString(), closed.toString()]);
  assert.equal([await outcome, clock.waiting], ["unreachable", 0]);
  await libp2p.stop();
});

test("the only address of a peer has the whole time, until another one is known", async () => {
  const { libp2p, clock, tried, pass } = await nodeKnowing([silent]);
  const outcome = codeOf(libp2p.dial(peer));
  for (let passed = 0; passed < 3; passed++) await pass(connectMs);
  assert.equal(tried, [silent.toString()]);
  await libp2p.peerStore.merge(peer, { multiaddrs: [closed] });
  const joined = codeOf(libp2p.dial(closed.encapsulate(`/p2p/${peer}`)));
  await pass(connectMs);
  assert.equal(tried, [silent.toString(), closed.toString()]);
  assert.equal([await outcome, await joined, clock.waiting], ["unreachable", "unreachable", 0]);
  await libp2p.stop();
});

test("a dial that is given up leaves no timer", async () => {
  const { libp2p, clock, pass } = await nodeKnowing([silent, closed]);
  const controller = new AbortController();
  const outcome = codeOf(libp2p.dial(peer, { signal: controller.signal }));
  await pass(1);
  assert.is(clock.waiting, 1);
  controller.abort();
  await outcome;
  await pass(1);
  assert.is(clock.waiting, 0);
  await libp2p.stop();
});

test("a TCP transport of another make is named", () => {
  assert.throws(
    () => leavingSilent(() => ({}) as Transport, new ManualClock())({} as never),
    (error: unknown) => error instanceof MovedInternal,
  );
});

test.run();
