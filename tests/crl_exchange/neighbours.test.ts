/** What peers told and were told, and which of them are not heard. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CrlBook } from "../../actors/crl_exchange/book.ts";
import { due, established, tellAll } from "../../actors/crl_exchange/exchange_actions.ts";
import type { ExchangeArgs } from "../../actors/crl_exchange/exchange_setup.ts";
import {
  deafMs,
  Neighbours,
  slotsPerPeerMax,
  strikesMax,
  strikingPeersMax,
} from "../../actors/crl_exchange/neighbours.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import { crlNoticesMax } from "../../transport/protocols/mod.ts";
import { identityOf } from "../support/played_session.ts";

const test = suite("Neighbours");
const list = (sha256: string, fields: Partial<CrlNotice> = {}): CrlNotice => ({
  issuer: "i",
  scope: "all",
  number: "1",
  base: null,
  sha256,
  size: 1_000,
  updated: 0,
  ...fields,
});
function made() {
  let now = 0;
  const neighbours = new Neighbours(() => now);
  neighbours.established(identityOf("p"));
  return { neighbours, pass: (ms: number) => void (now += ms) };
}
const hashes = (lists: readonly CrlNotice[]) => lists.map(({ sha256 }) => sha256);

/** Found by a seed of --hardware: 32,500,429. */
test("bug: a peer whose connection fell silent while lists were pulled from it was ignored for an hour", () => {
  const { neighbours } = made();
  for (let strike = 0; strike < strikesMax; strike++) neighbours.strike("p", true);
  assert.not(neighbours.isHeard("p"));
  neighbours.forgiveLate("p");
  assert.ok(neighbours.isHeard("p"));
  neighbours.forgiveLate("p");
  for (let strike = 1; strike < strikesMax; strike++) neighbours.strike("p");
  neighbours.strike("p", true);
  assert.not(neighbours.isHeard("p"));
  neighbours.forgiveLate("p");
  assert.ok(neighbours.isHeard("p"));
  neighbours.strike("p");
  assert.not(neighbours.isHeard("p"), "what was useless for another reason still counts");
});

test("a peer is told what it has not told, one announcement at a time", () => {
  const { neighbours } = made();
  neighbours.noteTold("p", list("a"));
  const delta = list("d", { base: "1" });
  assert.equal(hashes(neighbours.announcementTo("p", [list("a"), delta])), ["d"]);
  assert.equal(neighbours.announcementTo("p", [list("b")]), [], "until it answered");
  neighbours.answered("p");
  assert.equal(hashes(neighbours.announcementTo("p", [list("b"), delta])), ["b"]);
  neighbours.answered("p");
  assert.equal(neighbours.announcementTo("p", [list("b"), delta]), []);
  neighbours.forgetAnnouncements();
  assert.equal(hashes(neighbours.announcementTo("p", [list("b"), delta])), ["b", "d"]);
  assert.equal(neighbours.announcementTo("stranger", [list("b")]), []);
});

test("how a peer stands to a list: what it told, and what it answered", () => {
  const { neighbours } = made();
  const newest = list("b", { number: "10" });
  const state = () => neighbours.standingsTo(newest);
  assert.equal(state(), [{ peer: "p", number: null, state: "unknown" }]);
  neighbours.noteTold("p", list("a", { number: "9" }));
  assert.equal(state(), [{ peer: "p", number: "9", state: "older" }]);
  neighbours.answered("p", [newest], ["want"]);
  assert.equal(state(), [{ peer: "p", number: "9", state: "sent" }]);
  neighbours.answered("p", [newest], ["have"]);
  assert.equal(state(), [{ peer: "p", number: "10", state: "has" }]);
  neighbours.noteTold("p", list("c", { number: "11" }));
  assert.equal(neighbours.standingsTo(list("d", { number: "10" })), [{ peer: "p", number: "11", state: "newer" }]);
  neighbours.answered("p", [newest], []); // an answer that is too short says nothing more
  neighbours.closed(identityOf("p"));
  assert.equal(state(), []);
});

test("bug: two peers that keep to different lists told each other of them without end", () => {
  const ends = [made().neighbours, made().neighbours] as const;
  const own = [list("a"), list("b", { number: "2" })] as const;
  let announcements = 0;
  for (let turn = 0; turn < 20; turn++) {
    for (const [end, other] of [[0, 1], [1, 0]] as const) {
      for (const notice of ends[end].announcementTo("p", [own[end]])) {
        announcements += 1;
        ends[other].noteTold("p", notice);
      }
      ends[end].answered("p");
    }
  }
  assert.is(announcements, 2);
  ends[0].noteTold("p", list("c", { number: "3" }));
  assert.equal(hashes(ends[0].announcementTo("p", [list("c", { number: "3" })])), [], "it told that itself");
  assert.equal(hashes(ends[0].announcementTo("p", [own[0]])), ["a"], "another one took its place meanwhile");
});

test("many lists go out in several announcements", () => {
  const { neighbours } = made();
  const lists = Array.from({ length: crlNoticesMax + 2 }, (_, index) => list(`${index}`, { scope: `s${index}` }));
  assert.is(neighbours.announcementTo("p", lists).length, crlNoticesMax);
  neighbours.answered("p");
  assert.is(neighbours.announcementTo("p", lists).length, 2);
});

test("bug: two peers with more lists than slots are remembered announced to each other without end", () => {
  const ends = [made().neighbours, made().neighbours] as const;
  const lists = Array.from({ length: slotsPerPeerMax + 1 }, (_, index) => list(`${index}`, { scope: `s${index}` }));
  const counts = [0, 0];
  for (let turn = 0; turn < 200; turn++) {
    for (const [end, other] of [[0, 1], [1, 0]] as const) {
      const news = ends[end].announcementTo("p", lists);
      counts[end]! += news.length;
      for (const notice of news) ends[other].noteTold("p", notice);
      ends[end].answered("p");
    }
  }
  assert.ok(counts.every((count) => count <= lists.length), counts.join());
  // Slots that are no longer in use go first.
  const later = lists.map(({ sha256 }) => list(sha256, { scope: `later${sha256}` }));
  let announced = 0;
  for (let turn = 0; turn < 200; turn++) {
    announced += ends[0].announcementTo("p", later).length;
    ends[0].answered("p");
  }
  assert.is(announced, later.length);
});

test("an announcement that failed is repeated, but to a peer that does not speak the protocol", () => {
  const { neighbours } = made();
  const lists = neighbours.announcementTo("p", [list("a")]);
  assert.is(neighbours.failed("p", lists, false), 1);
  assert.equal(hashes(neighbours.announcementTo("p", [list("a")])), ["a"]);
  assert.is(neighbours.failed("p", lists, true), undefined);
  assert.equal(neighbours.announcementTo("p", [list("a")]), []);
  assert.ok(neighbours.closed(identityOf("p")));
  neighbours.established(identityOf("p"));
  assert.equal(
    hashes(neighbours.announcementTo("p", [list("a")])),
    ["a"],
    "a new connection is another process, perhaps",
  );
});

test("bug: a peer that was back before its former connection ended was told no list for up to an hour", () => {
  const { neighbours } = made();
  const lists = neighbours.announcementTo("p", [list("a")]);
  neighbours.answered("p", lists, ["want"]);
  neighbours.noteTold("p", list("b", { scope: "user" }));
  const all = [list("a"), list("b", { scope: "user" })];
  assert.equal(neighbours.announcementTo("p", all), []);
  neighbours.established(identityOf("p"));
  assert.equal(hashes(neighbours.announcementTo("p", all)), ["a", "b"]);
  neighbours.failed("p", all, true);
  neighbours.established(identityOf("p"));
  assert.equal(hashes(neighbours.announcementTo("p", all)), ["a", "b"], "another process may speak the protocol");
  assert.ok(neighbours.closed(identityOf("p")), "it is one member still");
});

test("bug: a thief with a peer's pair who did not speak the protocol had the peer told no list any more", () => {
  const { neighbours } = made();
  neighbours.answered("p", neighbours.announcementTo("p", [list("a")]), ["have"]);
  neighbours.established(identityOf("p"));
  const lists = neighbours.announcementTo("p", [list("a")]);
  assert.is(neighbours.failed("p", lists, true), 1, "it is repeated");
  assert.equal(hashes(neighbours.announcementTo("p", [list("a")])), ["a"]);
});

test("a peer with two certificates is gone with the last of them", () => {
  const { neighbours } = made();
  const gateway = identityOf("p", { role: "gateway" });
  assert.is(neighbours.rankOf("p"), 2);
  neighbours.established(gateway);
  assert.is(neighbours.rankOf("p"), 1);
  assert.not(neighbours.closed(gateway));
  assert.ok(neighbours.closed(identityOf("p")));
  assert.equal([...neighbours.peers()], []);
});

test("after three useless lists a peer is not heard for an hour, also over another connection", () => {
  const { neighbours, pass } = made();
  for (let strike = 1; strike < strikesMax; strike++) assert.not(neighbours.strike("p"));
  assert.ok(neighbours.isHeard("p"));
  neighbours.forgive("p");
  for (let strike = 1; strike < strikesMax; strike++) assert.not(neighbours.strike("p"));
  assert.ok(neighbours.strike("p"));
  neighbours.closed(identityOf("p"));
  neighbours.established(identityOf("p"));
  pass(deafMs - 1);
  assert.not(neighbours.isHeard("p"));
  pass(1);
  assert.ok(neighbours.isHeard("p"));
  assert.not(neighbours.strike("p"), "it begins anew");
});

test("bug: a peer that got its strikes while the clock was years ahead was not heard for years", () => {
  const { neighbours, pass } = made();
  const years = 5 * 365 * 24 * deafMs;
  pass(years);
  for (let strike = 0; strike < strikesMax; strike++) neighbours.strike("p");
  assert.not(neighbours.isHeard("p"));
  pass(-years);
  assert.ok(neighbours.isHeard("p"));
  assert.not(neighbours.strike("p"), "it begins anew");
});

/** The actions of an exchange with three peers, and what they enqueue. */
function acting() {
  const book = new CrlBook({ now: Date.now, stateDir: "" });
  for (const peer of ["p", "q", "r"]) book.neighbours.established(identityOf(peer));
  const enqueued: string[] = [];
  const enqueue = {
    sendTo: () => {},
    raise: ({ type }: { readonly type: string }) => void enqueued.push(type),
    cancel: (id: string) => void enqueued.push(`cancel ${id}`),
  };
  return { book, enqueued, args: { context: { book, transport: {} }, enqueue } as unknown as ExchangeArgs };
}

test("bug: each new connection cost work for all peers, and the lists were gathered for each of them", () => {
  const { book, args } = acting();
  const told: string[] = [];
  const { announcementTo } = book.neighbours;
  book.neighbours.announcementTo = (peer, lists) => {
    told.push(peer);
    return announcementTo.call(book.neighbours, peer, lists);
  };
  let gathered = 0;
  book.notices = () => {
    gathered += 1;
    return [];
  };
  established(args, { type: "peer.established", identity: identityOf("new") } as never);
  assert.equal([told, gathered], [["new"], 1]);
  tellAll(args);
  assert.equal([told.slice(1), gathered], [["p", "q", "r", "new"], 2]);
});

test("bug: each list that was kept aside began looks of its own", () => {
  const { book, enqueued, args } = acting();
  book.keepAhead({ issuer: "i", sha256: "a", sizeBytes: 1, peer: undefined }, Date.now() + deafMs);
  due(args);
  assert.equal(enqueued, ["cancel due", "crl.arrived", "crl.due"]);
});

test("what is remembered of peers is bounded", () => {
  const { neighbours } = made();
  for (let slot = 0; slot <= slotsPerPeerMax; slot++) neighbours.noteTold("p", list(`${slot}`, { scope: `s${slot}` }));
  assert.equal([...neighbours.toldOf("0").keys()], []);
  assert.equal([...neighbours.toldOf("1").keys()], ["p"]);
  for (let peer = 0; peer <= strikingPeersMax; peer++) {
    for (let strike = 0; strike < strikesMax; strike++) neighbours.strike(`peer-${peer}`);
  }
  assert.ok(neighbours.isHeard("peer-0"));
  assert.not(neighbours.isHeard("peer-1"));
});

test.run();
