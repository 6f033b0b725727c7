/** Limits on connection attempts: both sides of each. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  Admission,
  type Admitted,
  defaultLimits,
  relayFactor,
  sourceOf,
  sourcesMax,
} from "../../../transport/core/admission.ts";
import type { TransportLimits } from "../../../transport/port.ts";

const test = suite("Admission");
const limits: TransportLimits = {
  pendingMax: 5,
  pendingPerAddressMax: 2,
  connectionsMax: 4,
  connectionsPerAddressMax: 3,
  connectionsPerPeerMax: 8,
  handshakesPerSecond: 10,
  handshakesBurst: 100,
};
const from = (host: number) => `/ip4/10.0.0.${host}/tcp/4001`;
function admitted(result: Result.Result<Admitted, { readonly code: string }>): Admitted {
  if (Result.isFailure(result)) throw new Error(`refused: ${result.failure.code}`);
  return result.success;
}
const codeOf = (result: Result.Result<unknown, { readonly code: string }>) =>
  Result.isFailure(result) ? result.failure.code : "admitted";
const limitOf = (result: Result.Result<unknown, { readonly limit: string }>) =>
  Result.isFailure(result) ? result.failure.limit : "admitted";

test("counts handshakes under way, of one address and in all", () => {
  const admission = new Admission(limits);
  admitted(admission.admit(from(1), 0));
  const second = admitted(admission.admit(from(1), 0));
  assert.is(limitOf(admission.admit(from(1), 0)), "handshakes under way from one address");
  second.release();
  admitted(admission.admit(from(1), 0));
  for (const host of [2, 3, 4]) admitted(admission.admit(from(host), 0));
  assert.is(limitOf(admission.admit(from(5), 0)), "handshakes under way");
});

test("a source with fewer handshakes under way gets a place of the one with the most, the oldest first", () => {
  const admission = new Admission({ ...limits, pendingPerAddressMax: 5 });
  const evicted: string[] = [];
  const attempt = (host: number, name: string) =>
    admitted(admission.admit(from(host), 0)).onEvicted(({ code }) => evicted.push(`${name}: ${code}`));
  for (const name of ["a", "b", "c"]) attempt(1, name);
  attempt(2, "d");
  attempt(2, "e");
  attempt(3, "honest");
  assert.equal(evicted, ["a: too-many-connections"]);
  assert.is(limitOf(admission.admit(from(1), 0)), "handshakes under way", "the greediest displaces nobody");
  assert.equal(admission.counts, { pending: 5, open: 0, sources: 3 });
  attempt(4, "f");
  assert.is(evicted.length, 2);
});

test("one that was displaced counts no more, whatever it does afterwards", () => {
  const admission = new Admission({ ...limits, pendingMax: 1 });
  const first = admitted(admission.admit(from(1), 0));
  first.onEvicted(() => first.release());
  admitted(admission.admit(from(2), 0));
  first.opened();
  first.release();
  assert.equal(admission.counts, { pending: 1, open: 0, sources: 2 });
});

test("counts connections, of one address and in all", () => {
  const admission = new Admission(limits);
  const open = (host: number) => {
    const one = admitted(admission.admit(from(host), 0));
    one.opened();
    return one;
  };
  const [first] = [open(1), open(1), open(1)];
  assert.is(limitOf(admission.admit(from(1), 0)), "connections from one address");
  open(2);
  assert.is(limitOf(admission.admit(from(3), 0)), "connections");
  assert.equal(admission.counts, { pending: 0, open: 4, sources: 2 });
  first?.release();
  first?.release();
  assert.is(admission.counts.open, 3);
  open(3);
});

test("a connection that ended makes room for one of its address, and no more", () => {
  const admission = new Admission({ ...limits, connectionsMax: 100 });
  const open = () => {
    const one = admitted(admission.admit(from(1), 0));
    one.opened();
    return one;
  };
  const [first] = [open(), open(), open()];
  first.release();
  open();
  assert.is(limitOf(admission.admit(from(1), 0)), "connections from one address");
});

test("opening after the release counts nothing", () => {
  const admission = new Admission(limits);
  const one = admitted(admission.admit(from(1), 0));
  one.release();
  one.opened();
  assert.equal(admission.counts, { pending: 0, open: 0, sources: 1 });
});

test("lets a burst through and then so many a second; a clock that goes back refills nothing", () => {
  const admission = new Admission({ ...limits, handshakesBurst: 2 });
  const attempt = (at: number) => {
    const result = admission.admit(from(1), at);
    if (Result.isSuccess(result)) result.success.release();
    return codeOf(result);
  };
  assert.is(attempt(1_000), "admitted");
  assert.is(attempt(1_000), "admitted");
  assert.is(attempt(1_000), "rate-limited");
  assert.is(attempt(1_099), "rate-limited");
  assert.is(attempt(1_199), "admitted");
  assert.is(attempt(500), "rate-limited");
  assert.is(attempt(520), "admitted");
  assert.is(codeOf(admission.admit(from(2), 500)), "admitted");
});

test("refills so many a second, over a long time too", () => {
  const admission = new Admission({ ...limits, handshakesBurst: 1_000 });
  const burst = (at: number) => {
    for (let count = 0;; count++) {
      const result = admission.admit(from(1), at);
      if (Result.isFailure(result)) return count;
      result.success.release();
    }
  };
  assert.equal([burst(0), burst(99_950), burst(99_950 + 10 ** 6)], [1_000, 999, 1_000]);
});

test("forgets sources at rest and refuses new ones when none is", () => {
  const admission = new Admission({ ...limits, handshakesBurst: 1 });
  for (let n = 0; n < sourcesMax; n++) {
    admitted(admission.admit(`/ip4/10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/tcp/1`, 0)).release();
  }
  assert.is(limitOf(admission.admit("/ip4/192.0.2.1/tcp/1", 0)), "sources of connections");
  assert.is(codeOf(admission.admit("/ip4/192.0.2.1/tcp/1", 10_000)), "admitted");
  assert.is(admission.counts.sources, sourcesMax);
});

/** As many sources as are remembered, at 0 ms and each with its bucket emptied; the first so many keep what they got. */
function full(options: { readonly kept: number; readonly opened?: boolean }) {
  const many = { pendingMax: 1_000, connectionsMax: 1_000, pendingPerAddressMax: 1, connectionsPerAddressMax: 1 };
  const admission = new Admission({ ...limits, ...many, handshakesBurst: 1 });
  const address = (n: number) => `/ip4/10.${n >> 16}.${(n >> 8) & 255}.${n & 255}/tcp/1`;
  for (let n = 0; n < sourcesMax; n++) {
    const one = admitted(admission.admit(address(n), 0));
    if (n >= options.kept) one.release();
    else if (options.opened === true) one.opened();
  }
  return { admission, address };
}
const newcomer = "/ip4/192.0.2.1/tcp/1";

test("forgets a source only once its bucket is full again", () => {
  const { admission } = full({ kept: 0 });
  assert.is(limitOf(admission.admit(newcomer, 99)), "sources of connections");
  assert.is(codeOf(admission.admit(newcomer, 100)), "admitted");
  assert.is(admission.counts.sources, sourcesMax);
});

test("forgets no source that has a handshake under way or a connection", () => {
  for (const opened of [false, true]) {
    const { admission, address } = full({ kept: 2, opened });
    assert.is(codeOf(admission.admit(newcomer, 10_000)), "admitted");
    const limit = opened ? "connections from one address" : "handshakes under way from one address";
    for (const n of [0, 1]) assert.is(limitOf(admission.admit(address(n), 10_000)), limit);
  }
});

test("looks at 64 sources for one at rest, and at the next ones the next time", () => {
  assert.is(codeOf(full({ kept: 63 }).admission.admit(newcomer, 10_000)), "admitted");
  const { admission } = full({ kept: 64 });
  assert.is(limitOf(admission.admit(newcomer, 10_000)), "sources of connections");
  assert.is(codeOf(admission.admit(newcomer, 10_000)), "admitted");
});

const sources: [address: string, source: string][] = [
  ["/ip4/10.0.0.7/tcp/4001", "10.0.0.7"],
  ["/ip4/10.0.0.7/tcp/4001/p2p/12D3A", "10.0.0.7"],
  ["/ip6/2001:db8:1:2:3:4:5:6/tcp/1", "2001:db8:1:2::/64"],
  ["/ip6/2001:db8:1:2::9/tcp/1", "2001:db8:1:2::/64"],
  ["/ip6/::1/tcp/1", "0:0:0:0::/64"],
  ["/ip6/1::2:3:4:5:6:7/tcp/1", "1:0:2:3::/64"],
  ["/ip6/1:2:3::/tcp/1", "1:2:3:0::/64"],
  ["/ip6/::ffff:10.0.0.7/tcp/1", "10.0.0.7"],
  ["/ip6/nonsense/tcp/1", "nonsense"],
  ["/p2p-circuit/p2p/peer", ">peer"],
  ["/ip4/10.0.0.7/tcp/4001/p2p-circuit", ">"],
  ["/ip4/10.0.0.7/tcp/4001/p2p/relay/p2p-circuit/p2p/peer", "relay>peer"],
];
for (const [address, source] of sources) {
  test(`counts ${address} under ${source}`, () => assert.is(sourceOf(address), source));
}

test("the defaults let an operator's network in and no flood", () => {
  for (const value of Object.values(defaultLimits)) assert.ok(value > 0 && value < 10_000);
  assert.is(sourcesMax, 16_384);
  assert.equal(defaultLimits, {
    pendingMax: 256,
    pendingPerAddressMax: 64,
    connectionsMax: 6_144,
    connectionsPerAddressMax: 512,
    connectionsPerPeerMax: 8,
    handshakesPerSecond: 50,
    handshakesBurst: 200,
  }, "who changes a default says so here");
});

test("says beforehand what it would refuse, and takes nothing for it", () => {
  const admission = new Admission({ ...limits, handshakesPerSecond: 1, handshakesBurst: 3 });
  const look = (host: number, now = 0) => admission.refusalOf(from(host), now)?.limit ?? "to be admitted";
  for (let looked = 0; looked < 10; looked++) assert.is(look(1), "to be admitted");
  assert.is(admission.counts.sources, 0);
  const first = admitted(admission.admit(from(1), 0));
  for (let looked = 0; looked < 10; looked++) assert.is(look(1), "to be admitted");
  const second = admitted(admission.admit(from(1), 0));
  assert.is(look(1), "handshakes under way from one address");
  first.opened();
  second.opened();
  admitted(admission.admit(from(1), 0)).opened();
  assert.is(look(1), "connections from one address");
  first.release();
  assert.is(look(1), "handshakes a second from one address");
  assert.is(look(1, 1_000), "to be admitted");
  for (const host of [2, 3]) admitted(admission.admit(from(host), 0)).opened();
  assert.is(look(4), "connections");
  assert.is(limitOf(admission.admit(from(4), 0)), "connections");
  assert.is(admission.counts.sources, 3);
});

const relayed = (peer: string, relay = "relay") => `/ip4/10.0.0.7/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`;

test("all that one relay brings are counted together, whomever it names: with many times the limits of an address", () => {
  const admission = new Admission({ ...defaultLimits, handshakesPerSecond: 1, handshakesBurst: 1 });
  const attempt = (address: string) => {
    const verdict = admission.admit(address, 0);
    if (Result.isSuccess(verdict)) verdict.success.release();
    return codeOf(verdict);
  };
  const madeUp = Array.from({ length: 60 }, (_, nth) => attempt(relayed(`made up ${nth}`)));
  assert.is(madeUp.filter((code) => code === "admitted").length, relayFactor);
  assert.is(madeUp.at(-1), "rate-limited");
  assert.is(admission.refusalOf(relayed("one more"), 0)?.code, "rate-limited");
  assert.is(admission.refusalOf(relayed("one more"), 1_000), undefined, "a second later");
  assert.equal([attempt(relayed("peer", "another")), attempt(relayed("peer", "another"))], [
    "admitted",
    "rate-limited",
  ]);
  assert.is(attempt(from(1)), "admitted");
});

test("connections through one relay, and handshakes under way, are counted until they end", () => {
  const admission = new Admission({
    ...defaultLimits,
    pendingMax: 1_000,
    pendingPerAddressMax: 1,
    connectionsPerAddressMax: 2,
  });
  const under = Array.from({ length: relayFactor }, (_, nth) => admitted(admission.admit(relayed(`${nth}`), 0)));
  assert.is(limitOf(admission.admit(relayed("more"), 0)), "handshakes under way from one address");
  for (const each of under) each.opened();
  const more = Array.from({ length: relayFactor }, (_, nth) => admitted(admission.admit(relayed(`more ${nth}`), 0)));
  for (const each of more) each.opened();
  assert.is(limitOf(admission.admit(relayed("too many"), 0)), "connections from one address");
  for (const each of [...under, ...more]) each.release();
  assert.is(codeOf(admission.admit(relayed("again"), 0)), "admitted");
});

test.run();
