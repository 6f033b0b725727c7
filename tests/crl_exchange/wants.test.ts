/** Which list is pulled from whom: places, order, and what becomes of sources that are of no use. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SourceRank } from "../../actors/crl_exchange/neighbours.ts";
import {
  behindMs,
  pullGraceMs,
  pullMs,
  pullsMax,
  pullsPerIssuerMax,
  Wants,
  wantsPerPeerMax,
} from "../../actors/crl_exchange/wants.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";

const test = suite("Wants");

function made() {
  let now = 1_764_000_000_000;
  const wants = new Wants(() => now, (peer): SourceRank => peer.startsWith("ca") ? 0 : peer.startsWith("gw") ? 1 : 2);
  const list = (sha256: string, fields: Partial<CrlNotice> = {}): CrlNotice => ({
    issuer: "i",
    scope: sha256,
    number: "1",
    base: null,
    sha256,
    size: 1_000,
    updated: 0,
    ...fields,
  });
  /** The next pulls, as `list peer`. */
  const begun = () => {
    const pulls: string[] = [];
    for (let next = wants.next(); next !== undefined; next = wants.next()) {
      pulls.push(`${next.notice.sha256} ${next.peer}`);
    }
    return pulls;
  };
  return { wants, list, begun, pass: (ms: number) => void (now += ms) };
}

test("two pulls at once for each issuer, from different peers, four in all", () => {
  const { wants, list, begun } = made();
  for (const sha256 of ["a", "b"]) wants.add("p", list(sha256));
  assert.equal(begun(), ["a p"], "one peer is asked for one list of an issuer at a time");
  for (const peer of ["q", "r"]) wants.add(peer, list(peer));
  assert.equal(begun(), ["q q"]);
  for (const issuer of ["j", "k", "l"]) wants.add(issuer, list(issuer, { issuer }));
  assert.equal(begun(), ["j j", "k k"]);
  assert.is(pullsMax, 4);
  assert.is(pullsPerIssuerMax, 2);
});

test("the CA comes first, then gateways, then others; among equals who had fewest turns, then who came first", () => {
  const { wants, list, begun } = made();
  for (const peer of ["p", "gw", "ca"]) wants.add(peer, list(peer));
  assert.equal(begun(), ["ca ca", "gw gw"]);
  assert.is(wants.ended("ca", "useless"), "unserved");
  assert.is(wants.ended("gw", "useless"), "unserved");
  wants.add("p", list("again", { issuer: "other" }));
  assert.equal(begun(), ["p p", "again p"]);
  wants.ended("p", "useless");
  wants.ended("again", "useless");
  wants.add("p", list("third"));
  wants.add("new", list("fourth"));
  wants.add("newer", list("fifth"));
  assert.equal(begun(), ["fourth new", "fifth newer"], "a peer whose lists were of no use waits");
});

test("the next source goes on where the one before stopped; where none is left the list is given up", () => {
  const { wants, list } = made();
  wants.add("p", list("a"));
  wants.add("q", list("a"));
  assert.is(wants.next()?.peer, "p");
  wants.progressed("a", 400);
  assert.is(wants.ended("a", "useless"), undefined);
  const next = wants.next();
  assert.equal([next?.peer, next?.offset], ["q", 400]);
  assert.equal(wants.giversOf("a"), ["p"]);
  assert.is(wants.ended("a", "useless"), "unserved");
  assert.is(wants.size, 0);
});

test("bytes of one peer that make no list are its fault; those of several are nobody's, and one alone sends them again", () => {
  const { wants, list } = made();
  for (const peer of ["p", "q"]) wants.add(peer, list("a"));
  wants.next();
  wants.progressed("a", 1_000);
  wants.ended("a", "whole");
  assert.is(wants.next(), undefined);
  assert.is(wants.wasWrong("a"), "p");
  assert.equal([wants.next()?.peer, wants.size], ["q", 1]);
  wants.progressed("a", 500);
  wants.add("r", list("a"));
  wants.ended("a", "useless");
  assert.equal(wants.next()?.offset, 0, "after a wrong list nobody goes on with another's bytes");
  const mixed = made();
  for (const peer of ["p", "q"]) mixed.wants.add(peer, mixed.list("a"));
  mixed.wants.next();
  mixed.wants.progressed("a", 500);
  mixed.wants.ended("a", "stopped");
  assert.is(mixed.wants.next()?.offset, 500);
  mixed.wants.progressed("a", 1_000);
  mixed.wants.ended("a", "whole");
  assert.is(mixed.wants.wasWrong("a"), undefined);
  assert.equal([mixed.wants.next()?.offset, mixed.wants.size], [0, 1]);
});

test("bug: a peer that gave a false size for a list made the pull from every other peer fail, and their fault", () => {
  const { wants, list } = made();
  wants.add("liar", list("a", { size: 1_001, issuer: "other" }));
  wants.add("ca", list("a"));
  wants.add("p", list("a"));
  const pulls: [string, number, string, number][] = [];
  for (let next = wants.next(); next !== undefined; next = wants.next()) {
    const { peer, notice: { size, issuer }, offset } = next;
    pulls.push([peer, size, issuer, offset]);
    wants.progressed("a", 500);
    wants.ended("a", "useless");
  }
  assert.equal(pulls, [["ca", 1_000, "i", 0], ["liar", 1_001, "other", 0], ["p", 1_000, "i", 0]]);
});

test("a better source displaces a worse one at once; an equal one displaces what is slower than the least rate", () => {
  const { wants, list, begun, pass } = made();
  for (const peer of ["p", "q"]) wants.add(peer, list(peer, { size: 1_000_000 }));
  assert.equal(begun(), ["p p", "q q"]);
  assert.is(wants.toStop(), undefined);
  wants.add("r", list("r"));
  assert.is(wants.toStop(), undefined, "for a second a pull may be slow");
  pass(behindMs + 1_000);
  wants.progressed("p", 500_000);
  assert.is(wants.toStop(), "q");
  wants.ended("q", "stopped");
  assert.equal(begun(), ["r r"]);
  wants.add("gw", list("gw"));
  assert.is(wants.toStop(), "p");
});

test("a pull that gives its place up keeps what it used of its time, which ends", () => {
  const { wants, list, pass } = made();
  wants.add("p", list("a"));
  const whole = pullMs(1_000);
  assert.is(wants.next()?.deadlineMs, whole);
  pass(1_000);
  wants.ended("a", "stopped");
  assert.is(wants.next()?.deadlineMs, whole - 1_000);
  pass(whole);
  assert.is(wants.ended("a", "stopped"), "unserved");
  assert.ok(whole > pullGraceMs);
});

test("of one peer the newest list of a slot counts, and no more than a few", () => {
  const { wants, list } = made();
  wants.add("p", list("a", { scope: "all" }));
  wants.add("p", list("b", { scope: "all", number: "2" }));
  assert.equal(wants.notices().map(({ sha256 }) => sha256), ["b"]);
  wants.add("q", list("a", { scope: "all" }));
  assert.is(wants.size, 2, "what one peer has displaces no other's");
  for (let count = 0; count < 2 * wantsPerPeerMax; count++) wants.add("r", list(`r${count}`));
  assert.is(wants.size, 2 + wantsPerPeerMax);
});

test("the lists of a peer that left are wanted from others, or not at all", () => {
  const { wants, list } = made();
  wants.add("p", list("a"));
  wants.add("p", list("b"));
  wants.add("q", list("b"));
  wants.left("p");
  assert.equal(wants.notices().map(({ sha256 }) => sha256), ["b"]);
  assert.is(wants.next()?.peer, "q");
  wants.left("q");
  assert.is(wants.size, 1, "the pull itself fails");
  assert.is(wants.ended("b", "useless"), "unserved");
});

test("bug: a pull that could not be stored went on behind bytes that were not there", () => {
  const { wants, list } = made();
  wants.add("p", list("a"));
  wants.next();
  wants.progressed("a", 500);
  wants.ended("a", "unstored");
  assert.is(wants.next()?.offset, 0);
  wants.progressed("a", 1_000);
  wants.ended("a", "whole");
  wants.wasLost("a");
  assert.is(wants.next()?.offset, 0, "nor behind those of a whole list that are gone");
});

test("bug: bytes of a list that was given up were not removed; it is pulled again when they are", () => {
  const { wants, list, begun } = made();
  const pulled = (sha256: string, fields: Partial<CrlNotice> = {}) => {
    wants.add("p", list(sha256, fields));
    wants.next();
    wants.progressed(sha256, 500);
  };
  const dropped = () => {
    const all = wants.givenUp();
    wants.dropped(all);
    return all;
  };
  pulled("unserved");
  wants.ended("unserved", "useless");
  assert.equal(dropped(), ["unserved"]);
  pulled("withdrawn", { scope: "all" });
  wants.ended("withdrawn", "stopped");
  wants.add("p", list("other", { scope: "all" }));
  assert.equal(dropped(), ["withdrawn"]);
  wants.remove("other");
  pulled("left");
  wants.ended("left", "stopped");
  wants.left("p");
  assert.equal(dropped(), ["left"], "no pull of the other one began");
  pulled("removed");
  assert.ok(wants.remove("removed"));
  assert.equal(dropped(), [], "its pull may still write");
  wants.ended("removed", "stopped");
  wants.add("p", list("removed"));
  assert.equal(begun(), []);
  assert.equal(dropped(), ["removed"]);
  assert.equal(begun(), ["removed p"]);
  wants.progressed("removed", 1_000);
  wants.ended("removed", "whole");
  assert.is(wants.wasWrong("removed"), "p");
  assert.equal(dropped(), ["removed"]);
});

test.run();
