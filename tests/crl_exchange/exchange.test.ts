/** Revocation lists that travel over real connections: stars, lines, and members that misbehave. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimulatedClock } from "xstate";
import { aheadLookMs, pauseMs } from "../../actors/crl_exchange/exchange_setup.ts";
import { aheadMax, CrlBook, crlTakenBytesMax } from "../../actors/crl_exchange/book.ts";
import { incomingPath } from "../../actors/files/arriving_crls.ts";
import { keptPath } from "../../actors/files/state_directory.ts";
import { ownDomain } from "../../pki/crl_marks.ts";
import { crlPieceBytesMax } from "../../transport/protocols/mod.ts";
import { awake } from "../support/awake.ts";
import { honestAnswers, makeListWorld, type TestList } from "../support/crl_members.ts";
import { until } from "../support/transports.ts";

const test = suite("crlExchange");
const world = await makeListWorld();

const revokedMany = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    serial: (0x1000_0000 + index).toString(16),
    date: new Date(1_700_000_000_000),
  }));

/** How long something takes, in milliseconds of the time that this process gets. */
async function timed(what: () => Promise<unknown>): Promise<number> {
  const clock = awake();
  await what().finally(clock.stop);
  return clock.ms();
}

test("a list that one member is given reaches all others: in a star, by its middle", async () => {
  const middle = await world.member("star-middle", "gateway");
  const leaves = await Promise.all(Array.from({ length: 4 }, (_, index) => world.member(`star-${index}`, "worker")));
  for (const leaf of leaves) await leaf.dial(middle);
  const list = await world.list(2n);
  const tookMs = await timed(async () => {
    leaves[0]!.give(list);
    await Promise.all([middle, ...leaves.slice(1)].map((member) => member.has(list)));
  });
  assert.ok(tookMs < 2_000, `${tookMs} ms`);
  // Nobody dialled anybody for it.
  assert.equal(leaves.map((leaf) => leaf.peers()), [1, 1, 1, 1]);
  await Promise.all([middle, ...leaves].map((member) => member.stop()));
});

test("along a line each passes it on when it has verified it; a newcomer gets it with its first connection", async () => {
  const line = await Promise.all(Array.from({ length: 4 }, (_, index) => world.member(`line-${index}`, "worker")));
  for (const [index, member] of line.slice(1).entries()) await member.dial(line[index]!);
  const lists = [await world.list(3n, { revoked: revokedMany(500) }), await world.list(1n, { byRoot: true })];
  const tookMs = await timed(async () => {
    line[0]!.give(...lists);
    await Promise.all(lists.map((list) => line[3]!.has(list)));
  });
  assert.ok(tookMs < 2_000, `${tookMs} ms`);
  const newcomer = await world.member("line-newcomer", "worker");
  await newcomer.dial(line[3]!);
  await Promise.all(lists.map((list) => newcomer.has(list)));
  await Promise.all([...line, newcomer].map((member) => member.stop()));
});

test("bug: a member that is back before its former connection has ended gets the lists at once", async () => {
  const list = await world.list(5n, { revoked: revokedMany(40) });
  const member = await world.member("stays", "gateway", { lists: [list] });
  const node = await world.pki.node("killed", { role: "worker" });
  const announced = async () => {
    const process = await world.played("killed", "worker", node);
    process.answer = () => ({ Announced: ["want"] });
    await process.ask({ type: "dial", id: "dial", target: { address: member.address } });
    await until("the list told", () => process.requests.find((request) => "Announce" in request), 5_000);
    return process;
  };
  const killed = await announced();
  const restarted = await announced();
  assert.is(member.peers(), 1);
  assert.is(member.facts.filter(({ type }) => type === "peer.reconnected").length, 1);
  await Promise.all([killed, restarted, member].map((each) => each.stop()));
});

test("a list of many pieces goes on with another source where the first one leaves", async () => {
  const list = await world.list(4n, { revoked: revokedMany(40_000) });
  assert.ok(list.der.length > 3 * crlPieceBytesMax, `${list.der.length} bytes`);
  const [first, second] = [await world.played("first"), await world.played("second")];
  const member = await world.member("puller", "worker");
  for (const each of [first, second]) await member.dial({ address: each.bound[0]! });
  let served = 0;
  first.answer = (request) => {
    if (!("Pull" in request)) return { Announced: ["have"] };
    // It leaves in the middle.
    if (++served > 2) return void first.send({ type: "close", peer: member.peer, reason: "in a test" });
    return honestAnswers([list])(request, member.peer);
  };
  second.answer = honestAnswers([list]);
  assert.equal(await first.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  assert.equal(await second.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  await member.has(list);
  const offsets = (requests: typeof first.requests) =>
    requests.flatMap((request) => "Pull" in request ? [request.Pull.offset / crlPieceBytesMax] : []);
  assert.equal(offsets(first.requests), [0, 1, 2]);
  assert.is(offsets(second.requests)[0], 2, "what was there was not pulled again");
  await Promise.all([first, second, member].map((each) => each.stop()));
});

test("a revocation in a large list costs each node its delta, also where all are connected with all", async () => {
  const base = await world.list(7n, { revoked: revokedMany(40_000) });
  const [before, after] = [1, 1_380].map((count) =>
    world.list(BigInt(7 + count), { base: 7n, revoked: revokedMany(count) })
  );
  const lists = [base, await before!];
  const mesh = await Promise.all(
    Array.from(
      { length: 6 },
      (_, index) => world.member(`mesh-${index}`, index === 0 ? "gateway" : "worker", { lists }),
    ),
  );
  for (const [index, member] of mesh.entries()) {
    for (const other of mesh.slice(0, index)) await member.dial(other);
  }
  await new Promise((wake) => setTimeout(wake, 300));
  const delta = await after!;
  assert.ok(delta.der.length > 30_000, `${delta.der.length} bytes`);
  const received = async () =>
    (await Promise.all(mesh.map((each) => each.counters()))).map((each) => each.bytesReceived);
  const at = await received();
  mesh[1]!.give(base, delta);
  await Promise.all(mesh.filter((_, index) => index !== 1).map((member) => member.has(delta)));
  await new Promise((wake) => setTimeout(wake, 300));
  const cost = (await received()).map((bytes, index) => bytes - at[index]!);
  if (process.env["SHOW_BYTES"] !== undefined) console.log(delta.der.length, cost);
  assert.ok(cost.every((bytes) => bytes <= 40_000), cost.join());
  assert.ok(mesh.every((member) => !member.taken.has(base.notice.sha256)));
  await Promise.all(mesh.map((member) => member.stop()));
});

test("a peer that does not speak the protocol is asked once, and stays connected", async () => {
  const deaf = await world.played("existing-node");
  deaf.send({ type: "unserve", protocol: "/hypha-crl/1" });
  const member = await world.member("beside-it", "worker", { lists: [await world.list(2n)] });
  await member.dial({ address: deaf.bound[0]! });
  await new Promise((wake) => setTimeout(wake, 300));
  const opened = member.facts.length;
  for (const number of [3n, 4n]) member.give(await world.list(number));
  await new Promise((wake) => setTimeout(wake, 1_200));
  assert.is(member.facts.length, opened);
  assert.is(member.peers(), 1);
  assert.equal(deaf.requests, []);
  await Promise.all([deaf, member].map((each) => each.stop()));
});

// ── Members that misbehave ──

/** A member, one that is bad, and one that is honest. */
async function between(name: string) {
  const bad = await world.played(`${name}-bad`);
  const honest = await world.played(`${name}-honest`, "gateway");
  const member = await world.member(`${name}-member`, "worker");
  for (const each of [bad, honest]) await member.dial({ address: each.bound[0]! });
  const useless = () => member.reports.filter(({ event }) => event === "crl.useless").length;
  const end = async (honestList: TestList) => {
    honest.answer = honestAnswers([honestList]);
    const tookMs = await timed(async () => {
      assert.equal(await honest.request(member.peer, { Announce: [honestList.notice] }), { Announced: ["want"] });
      await member.has(honestList);
    });
    assert.is(member.peers(), 2, "nobody was cut off");
    await Promise.all([bad, honest, member].map((each) => each.stop()));
    return tookMs;
  };
  return { bad, honest, member, useless, end };
}

const sizes: [string, (list: TestList) => { notice: TestList["notice"]; serves: (offset: number) => Uint8Array }][] = [
  ["announced small and served large", ({ notice }) => ({
    notice: { ...notice, size: 100 },
    serves: () => new Uint8Array(crlPieceBytesMax),
  })],
  ["with a wrong hash", ({ notice, der }) => ({
    notice: { ...notice, sha256: "00".repeat(32) },
    serves: (offset) => der.subarray(offset),
  })],
  ["endless", ({ notice }) => ({
    notice: { ...notice, size: 3 * crlPieceBytesMax },
    serves: () => new Uint8Array(crlPieceBytesMax),
  })],
  ["of random bytes", ({ notice }) => {
    const bytes = randomBytes(1_000);
    return { notice: { ...notice, size: bytes.length }, serves: () => bytes };
  }],
  ["that nobody has", ({ notice }) => ({ notice, serves: () => new Uint8Array(0) })],
];
for (const [name, make] of sizes) {
  test(`a list ${name} counts against its sender, who is not heard after three; an honest one arrives`, async () => {
    const { bad, member, useless, end } = await between(name.replaceAll(" ", "-"));
    const list = await world.list(9n, { revoked: revokedMany(10) });
    for (const time of [1, 2, 3]) {
      const { notice, serves } = make(list);
      bad.answer = (request) => "Pull" in request ? { Piece: serves(request.Pull.offset) } : { Announced: ["have"] };
      const announced = { ...notice, number: String(9 + time), sha256: `${time}${notice.sha256.slice(1)}` };
      assert.equal(await bad.request(member.peer, { Announce: [announced] }), { Announced: ["want"] });
      await until(`${time} strikes`, () => useless() === time, 5_000);
    }
    const pulls = () => bad.requests.filter((request) => "Pull" in request).length;
    const before = pulls();
    assert.equal(await bad.request(member.peer, { Announce: [{ ...list.notice, number: "99" }] }), {
      Announced: ["want"],
    });
    assert.ok(await end(list) < 2_000);
    assert.is(pulls(), before, "it is not requested there");
  });
}

test("bug: a peer that could not answer for some seconds was ignored for an hour", async () => {
  const { bad, member, useless, end } = await between("declines");
  const list = await world.list(9n, { revoked: revokedMany(40) });
  let declined = 0;
  bad.answer = (request, peer) => {
    if (!("Pull" in request) || declined === 3) return honestAnswers([list])(request, peer);
    declined += 1;
    queueMicrotask(() => {
      const open = bad.facts.findLast((fact) => fact.type === "request.received");
      assert.ok(open?.type === "request.received");
      bad.send({ type: "decline", exchange: open.exchange });
    });
    return undefined;
  };
  assert.equal(await bad.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  await member.has(list, 10_000);
  assert.is(useless(), 0);
  await end(await world.list(10n));
});

test("a list over the limit is not wanted, nor one of a key that the node does not know, nor an older one", async () => {
  const { bad, member, end } = await between("unwanted");
  const list = await world.list(9n);
  const { notice } = list;
  const wanted = async (fields: Partial<TestList["notice"]>) =>
    await bad.request(member.peer, { Announce: [{ ...notice, ...fields }] });
  assert.equal(await wanted({ size: crlTakenBytesMax + 1 }), { Announced: ["have"] });
  assert.equal(await wanted({ size: 0 }), { Announced: ["have"] });
  assert.equal(await wanted({ issuer: "ab".repeat(32) }), { Announced: ["have"] });
  member.give(await world.list(8n));
  assert.equal(await wanted({ number: "7" }), { Announced: ["have"] });
  assert.ok(await end(list) < 2_000);
});

test("members that announce the same high number and drip hold up no honest list", async () => {
  const { bad, member, honest } = await between("drip");
  const more = await Promise.all(["a", "b", "c"].map((name) => world.played(`drip-${name}`)));
  for (const each of more) await member.dial({ address: each.bound[0]! });
  const list = await world.list(9n, { revoked: revokedMany(10) });
  for (const [index, each] of [bad, ...more].entries()) {
    each.answer = () => undefined;
    for (const time of [1, 2]) {
      const sha256 = `${index}${time}`.padEnd(64, "0");
      await each.request(member.peer, {
        Announce: [{ ...list.notice, number: "10", scope: time === 1 ? "all" : "users", sha256, size: 60_000_000 }],
      });
    }
  }
  await new Promise((wake) => setTimeout(wake, 100));
  honest.answer = honestAnswers([list]);
  const tookMs = await timed(async () => {
    await honest.request(member.peer, { Announce: [list.notice] });
    await member.has(list);
  });
  assert.ok(tookMs < 1_000, "a gateway's list comes first");
  const next = await world.list(10n, { revoked: revokedMany(20) });
  const equal = await world.played("drip-equal");
  await member.dial({ address: equal.bound[0]! });
  equal.answer = honestAnswers([next]);
  const nextTookMs = await timed(async () => {
    await equal.request(member.peer, { Announce: [next.notice] });
    await member.has(next);
  });
  assert.ok(nextTookMs < 2_500, "another worker's waits a second");
  assert.is(member.peers(), 6, "nobody was cut off");
  await Promise.all([...more, equal, bad, honest, member].map((each) => each.stop()));
});

test("bug: false words about an honest list, or false bytes of it, put off those that have it", async () => {
  for (const size of ["large", "small"] as const) {
    const { bad, member, end } = await between(`false-${size}`);
    const list = await world.list(11n, { revoked: revokedMany(size === "large" ? 100 : 1) });
    assert.is(list.der.length > 1_024, size === "large");
    bad.answer = (request) => "Pull" in request ? { Piece: randomBytes(64) } : { Announced: ["have"] };
    const { bytes: _bytes, ...told } = list.notice;
    for (const notice of [{ ...told, size: told.size + 1 }, { ...told, scope: "ca" }]) {
      await bad.request(member.peer, { Announce: [notice] });
    }
    await bad.request(member.peer, { Announce: [{ ...list.notice, size: 64, bytes: randomBytes(64) }] });
    const tookMs = await end(list);
    assert.ok(tookMs < 2_000, `${tookMs} ms`);
    const blamed = member.reports.filter(({ event }) => event === "crl.useless").map(({ fields }) => fields?.["peer"]);
    assert.equal(blamed.filter((peer) => peer !== bad.peer), []);
  }
});

test("bug: false bytes of an honest hash, sent in the middle of its pull, do not take the place of those that arrived", async () => {
  const { bad, honest, member } = await between("amid");
  const list = await world.list(12n, { revoked: revokedMany(40_000) });
  assert.ok(list.der.length > 2 * crlPieceBytesMax);
  const answers = honestAnswers([list]);
  let amid: Promise<void> | undefined;
  const pulled: number[] = [];
  honest.answer = (request, peer) => {
    if (!("Pull" in request)) return { Announced: ["have"] };
    const { offset } = request.Pull;
    pulled.push(offset);
    if (offset === 0 || amid !== undefined) return answers(request, peer);
    // The second piece waits until the false bytes were looked at.
    amid = (async () => {
      const { sha256 } = list.notice;
      assert.equal(
        await bad.request(member.peer, { Announce: [{ ...list.notice, size: 64, bytes: randomBytes(64) }] }),
        { Announced: ["want"] },
      );
      await until("the false bytes", () => member.reports.find(({ event }) => event === "crl.useless"), 2_000);
      assert.is(statSync(incomingPath(member.stateDir, sha256)).size, crlPieceBytesMax, "what had arrived is there");
      const asked = honest.facts.findLast((fact) => fact.type === "request.received");
      assert.ok(asked?.type === "request.received");
      honest.send({ type: "respond", exchange: asked.exchange, message: answers(request, peer)! });
    })();
    return undefined;
  };
  assert.equal(await honest.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  await member.has(list, 10_000);
  await amid;
  assert.equal(
    pulled,
    pulled.map((_, index) => index * crlPieceBytesMax),
    "no piece was pulled twice",
  );
  const blamed = member.reports.filter(({ event }) => event === "crl.useless").map(({ fields }) => fields?.["peer"]);
  assert.equal(blamed, [bad.peer]);
  await Promise.all([bad, honest, member].map((each) => each.stop()));
});

test("a list whose file is lost is asked of a peer that has it, and of the server; one that nobody is told about is not", async () => {
  const list = await world.list(13n, { revoked: revokedMany(30) });
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const isOwn = request.url?.includes(list.notice.issuer) === true && !/-/.test(request.url);
    asked.push(`${request.headers["if-none-match"] ?? "anew"} ${isOwn}`);
    response.writeHead(isOwn ? 200 : 404, { etag: '"one"' }).end(isOwn ? list.der : undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const urls = [`http://127.0.0.1:${(server.address() as { port: number }).port}`];
  const member = await world.member("loses", "worker", { urls });
  const first = await member.has(list);
  const { issuer: key, scope, sha256 } = list.notice;
  const path = keptPath(member.stateDir, { domain: ownDomain, key, scope, kind: "complete" });
  const taken = () => member.reports.filter(({ event }) => event === "crl.taken").length;
  await until("the end of the first round", member.fetched, 2_000);
  const before = asked.length;
  rmSync(path);
  member.lose("00".repeat(32));
  await new Promise((wake) => setTimeout(wake, 200));
  assert.equal([asked.length, taken()], [before, 1], "no list of ours");
  member.lose(sha256);
  await until("the list again", () => taken() === 2 || undefined, 5_000);
  assert.ok(Date.now() - first < 20_000 && asked.slice(before).includes("anew true"), asked.join());
  assert.equal([...readFileSync(path)], [...list.der]);
  // The server is not hurried twice in ten seconds; a peer that was told the list is asked at once.
  server.close();
  server.closeAllConnections();
  const peer = await world.played("has-it", "gateway");
  peer.answer = honestAnswers([list]);
  await member.dial({ address: peer.bound[0]! });
  await until("the list told", () => peer.requests.find((request) => "Announce" in request), 5_000);
  rmSync(path);
  member.lose(sha256);
  await until("the list from the peer", () => taken() === 3 || undefined, 5_000);
  assert.equal([...readFileSync(path)], [...list.der]);
  await Promise.all([peer, member].map((each) => each.stop()));
});

test("bug: a list whose file was gone when a peer requested it stayed lost, and the peer was sent no bytes of it", async () => {
  const list = await world.list(13n, { revoked: revokedMany(30) });
  const member = await world.member("gone", "gateway", { lists: [list] });
  const peer = await world.played("gone-peer", "gateway");
  peer.answer = honestAnswers([list]);
  await member.dial({ address: peer.bound[0]! });
  await until("the list told", () => peer.requests.find((request) => "Announce" in request), 5_000);
  const { issuer: key, scope, sha256 } = list.notice;
  const path = keptPath(member.stateDir, { domain: ownDomain, key, scope, kind: "complete" });
  rmSync(path);
  mkdirSync(path);
  const pulled = () => peer.request(member.peer, { Pull: { sha256, offset: 0 } });
  assert.type(await pulled(), "string", "a file that cannot be read is no missing list");
  assert.not(peer.requests.some((request) => "Pull" in request));
  rmdirSync(path);
  assert.type(await pulled(), "string");
  await member.has(list);
  assert.equal([...readFileSync(path)], [...list.der]);
  const answer = await pulled();
  assert.equal(typeof answer === "object" && "Piece" in answer && [...answer.Piece], [...list.der]);
  await Promise.all([peer, member].map((each) => each.stop()));
});

test("bug: a list that was pulled and fetched at once was destroyed, and its ETag kept the server from sending it again", async () => {
  const list = await world.list(13n, { revoked: revokedMany(40_000) });
  assert.ok(list.der.length > 3 * crlPieceBytesMax);
  const later = () => new Promise((wake) => setTimeout(wake, 300));
  const [secondPiece, wholeList] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const server = createServer(async (request, response) => {
    const isOwn = request.url?.includes(list.notice.issuer) === true;
    const isBase = request.url?.endsWith("-base.crl") === true;
    // The whole list comes when a piece of it is there, and the next piece before the round is over.
    if (isOwn && isBase) await secondPiece.promise;
    if (isOwn && (isBase || !/-/.test(request.url ?? ""))) {
      return void response.writeHead(200, { etag: '"one"' }).end(list.der);
    }
    if (!isOwn) {
      wholeList.resolve();
      await later();
    }
    response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const urls = [`http://127.0.0.1:${(server.address() as { port: number }).port}`];
  const gateway = await world.played("holds-back", "gateway");
  const answers = honestAnswers([list]);
  gateway.answer = (request, peer) => {
    if (!("Pull" in request) || request.Pull.offset === 0) return answers(request, peer);
    const isSecond = request.Pull.offset === crlPieceBytesMax;
    void (async () => {
      if (isSecond) secondPiece.resolve();
      await wholeList.promise;
      // The third one comes when the round is over.
      if (!isSecond) await later().then(later);
      const asked = gateway.facts.findLast((fact) => fact.type === "request.received");
      assert.ok(asked?.type === "request.received");
      gateway.send({ type: "respond", exchange: asked.exchange, message: answers(request, peer)! });
    })();
    return undefined;
  };
  const member = await world.member("pulls-and-fetches", "worker", { urls });
  await member.dial({ address: gateway.bound[0]! });
  assert.equal(await gateway.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  await member.has(list);
  await until("the end of the first round", member.fetched, 5_000);
  await later().then(later);
  const events = member.reports.map(({ event }) => event);
  assert.equal(events.filter((event) => event === "crl.unstored" || event === "crl.useless"), []);
  assert.is(events.filter((event) => event === "crl.taken").length, 1);
  await Promise.all([gateway, member].map((each) => each.stop()));
  server.close();
  server.closeAllConnections();
});

const unmade = [["could not be made at the start, none arrived until a restart", 0, pauseMs], [
  "could not be made while the clock was ahead, none arrived until that time",
  24 * 3_600_000,
  0,
]] as const;
for (const [name, before, after] of unmade) {
  test(`bug: where the folder for lists ${name}`, async () => {
    const list = await world.list(13n);
    const stateDir = mkdtempSync(join(tmpdir(), "hypha-unstored-"));
    writeFileSync(join(stateDir, "crls"), "no folder");
    const clock = new SimulatedClock();
    let aheadMs: number = before;
    const member = await world.member(`unstored-${before}`, "worker", { stateDir, clock, aheadMs: () => aheadMs });
    const source = await world.played(`unstored-source-${before}`, "gateway");
    source.answer = honestAnswers([list]);
    await member.dial({ address: source.bound[0]! });
    await until("the report", () => member.reports.some(({ event }) => event === "crl.unstored"), 5_000);
    const { bytes: _bytes, ...told } = list.notice;
    assert.equal(await source.request(member.peer, { Announce: [told] }), { Announced: ["want"] });
    rmSync(join(stateDir, "crls"));
    aheadMs = after;
    clock.increment(pauseMs);
    await member.has(list);
    await Promise.all([source, member].map((each) => each.stop()));
    rmSync(stateDir, { recursive: true });
  });
}

test("a peer whose list was replaced before it sent any bytes of it gets no strike", async () => {
  const { bad: source, member, useless, end } = await between("replaced");
  const [first, second] = [await world.list(9n), await world.list(10n)];
  source.answer = (request) => "Pull" in request ? undefined : { Announced: ["have"] };
  await source.request(member.peer, { Announce: [first.notice] });
  await until("the request for the first list", () => source.requests.some((each) => "Pull" in each), 5_000);
  const open = source.facts.findLast((fact) => fact.type === "request.received");
  assert.ok(open?.type === "request.received");
  source.answer = honestAnswers([second]);
  await source.request(member.peer, { Announce: [second.notice] });
  source.send({ type: "respond", exchange: open.exchange, message: { Piece: new Uint8Array(0) } });
  await member.has(second);
  assert.is(useless(), 0);
  await end(await world.list(11n));
});

test("a list of 64 MiB that is none is dropped behind its last byte: its sender is noted, memory stays small", async () => {
  const { bad, member, useless, end } = await between("huge");
  const notice = { ...(await world.list(14n)).notice, sha256: "ab".repeat(32), size: crlTakenBytesMax };
  const piece = new Uint8Array(crlPieceBytesMax).fill(0x30);
  const memory = () => {
    (globalThis as { readonly gc?: () => void }).gc?.();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  // The least of several: what was gathered would be in each of them.
  let [served, least] = [0, Infinity];
  const before = memory();
  bad.answer = (request) => {
    if (!("Pull" in request)) return { Announced: ["have"] };
    served += piece.length;
    const isLate = served > (crlTakenBytesMax * 3) / 4;
    if (isLate && served % (8 * piece.length) === 0) least = Math.min(least, memory() - before);
    return { Piece: piece };
  };
  assert.equal(await bad.request(member.peer, { Announce: [{ ...notice, size: crlTakenBytesMax + 1 }] }), {
    Announced: ["have"],
  });
  assert.equal(await bad.request(member.peer, { Announce: [notice] }), { Announced: ["want"] });
  await until("the strike", () => useless() === 1 || undefined, 60_000);
  assert.is(served, crlTakenBytesMax, "each piece once");
  assert.not(existsSync(incomingPath(member.stateDir, notice.sha256)));
  assert.ok(least < crlTakenBytesMax / 2, `${least} bytes`);
  assert.ok(await end(await world.list(15n)) < 5_000);
});

test("bug: what was pulled of a list that is wanted no longer stayed on the disk, and its sender got no strike", async () => {
  const { bad, member, useless, end } = await between("withdrawn");
  const list = await world.list(9n);
  const large = (sha256: string) => ({ ...list.notice, number: "20", sha256, size: 3 * crlPieceBytesMax });
  const [first, second, third] = ["a1", "a2", "a3"].map((each) => each.repeat(32)) as [string, string, string];
  const isThere = (sha256: string) => existsSync(incomingPath(member.stateDir, sha256));
  bad.answer = (request) => {
    if (!("Pull" in request)) return { Announced: ["have"] };
    return request.Pull.offset === 0 ? { Piece: new Uint8Array(crlPieceBytesMax) } : undefined;
  };
  const announce = async (sha256: string) =>
    assert.equal(await bad.request(member.peer, { Announce: [large(sha256)] }), { Announced: ["want"] });
  await announce(first);
  const isSecondRequested = () => bad.requests.some((each) => "Pull" in each && each.Pull.offset > 0);
  await until("the request for a second piece", isSecondRequested, 5_000);
  assert.ok(isThere(first));
  // Another list of the same slot: the first is announced no longer.
  await announce(second);
  const open = bad.facts.findLast((fact) => fact.type === "request.received");
  assert.ok(open?.type === "request.received");
  bad.send({ type: "respond", exchange: open.exchange, message: { Piece: new Uint8Array(0) } });
  await until("the end of the first pull", () => !isThere(first), 5_000);
  assert.is(useless(), 1);
  // The second one waits for its second piece, too, and its source leaves.
  await until("the second list", () => isThere(second), 5_000);
  bad.send({ type: "close", peer: member.peer, reason: "in a test" });
  await until("the end of the second pull", () => !isThere(second), 5_000);
  await member.dial({ address: bad.bound[0]! });
  await announce(third);
  await until("the third list", () => isThere(third), 5_000);
  // A newer list than the third one is put in place: that is wanted no longer.
  member.give(await world.list(21n));
  await until("the end of the third pull", () => !isThere(third), 5_000);
  await end(await world.list(22n));
});

test("a list from the future is kept aside until its time", async () => {
  const clock = new SimulatedClock();
  let aheadMs = 0;
  const member = await world.member("future", "worker", { clock, aheadMs: () => aheadMs });
  const source = await world.played("future-source");
  const from = Date.now() + 3_600_000;
  const list = await world.list(9n, { thisUpdate: new Date(from), nextUpdate: new Date(from + 3_600_000) });
  source.answer = honestAnswers([list]);
  await member.dial({ address: source.bound[0]! });
  const announce = async (answer: "want" | "have") =>
    assert.equal(await source.request(member.peer, { Announce: [list.notice] }), { Announced: [answer] });
  await announce("want");
  await until("the list aside", () => member.reports.some(({ event }) => event === "crl.ahead"), 20_000);
  // Two seconds before its time, less than the period of looks.
  aheadMs = from - Date.now() - 2_000;
  clock.increment(aheadLookMs);
  await announce("have");
  assert.not(member.taken.has(list.notice.sha256));
  aheadMs += 2_000;
  clock.increment(2_000);
  await member.has(list);
  await Promise.all([source, member].map((each) => each.stop()));
});

test("bug: a list from the future was kept aside for up to an hour after the node's clock was set right", async () => {
  const clock = new SimulatedClock();
  let aheadMs = -3 * 24 * 3_600_000;
  const member = await world.member("late-clock", "worker", { clock, aheadMs: () => aheadMs });
  const source = await world.played("late-clock-source");
  const list = await world.list(9n);
  source.answer = honestAnswers([list]);
  await member.dial({ address: source.bound[0]! });
  assert.equal(await source.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  await until("the list aside", () => member.reports.some(({ event }) => event === "crl.ahead"), 4_000);
  aheadMs = 0;
  clock.increment(aheadLookMs);
  await member.has(list);
  await Promise.all([source, member].map((each) => each.stop()));
});

test("bug: lists from the future stayed on the disk when newer ones took their places", async () => {
  const { bad, member, end } = await between("far");
  const thisUpdate = new Date(Date.now() + 3_600_000);
  const lists = await Promise.all(
    Array.from(
      { length: aheadMax + 1 },
      (_, index) => world.list(BigInt(20 + index), { thisUpdate, nextUpdate: new Date(Date.now() + 7_200_000) }),
    ),
  );
  const isThere = ({ notice }: TestList) => existsSync(incomingPath(member.stateDir, notice.sha256));
  bad.answer = honestAnswers(lists);
  for (const [index, list] of lists.entries()) {
    assert.equal(await bad.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
    const ahead = () => member.reports.filter(({ event }) => event === "crl.ahead").length;
    await until("the list aside", () => ahead() === index + 1, 4_000);
  }
  await until("the oldest list's end", () => !isThere(lists[0]!), 4_000);
  assert.ok(lists.slice(1).every(isThere));
  await end(await world.list(10n));
});

test("bug: a list that was kept aside and whose bytes were gone was not requested again", async () => {
  const clock = new SimulatedClock();
  let aheadMs = -3 * 24 * 3_600_000;
  const member = await world.member("gone-aside", "worker", { clock, aheadMs: () => aheadMs });
  const source = await world.played("gone-aside-source");
  const list = await world.list(9n);
  source.answer = honestAnswers([list]);
  await member.dial({ address: source.bound[0]! });
  assert.equal(await source.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
  await until("the list aside", () => member.reports.some(({ event }) => event === "crl.ahead"), 4_000);
  rmSync(incomingPath(member.stateDir, list.notice.sha256));
  aheadMs = 0;
  clock.increment(aheadLookMs);
  await member.has(list);
  await Promise.all([source, member].map((each) => each.stop()));
});

test("bug: a list that could not be put in its place kept all others from theirs", async () => {
  const clock = new SimulatedClock();
  const member = await world.member("one-place", "worker", { clock });
  const source = await world.played("one-place-source");
  await member.dial({ address: source.bound[0]! });
  const [root, own] = [await world.list(9n, { byRoot: true }), await world.list(9n)];
  const { issuer: key, scope } = root.notice;
  const path = keptPath(member.stateDir, { domain: ownDomain, key, scope, kind: "complete" });
  mkdirSync(path, { recursive: true });
  const unstored = () => member.reports.filter(({ event }) => event === "crl.unstored").length;
  for (const list of [root, own]) {
    const notice = { ...list.notice, bytes: list.der };
    assert.equal(await source.request(member.peer, { Announce: [notice] }), { Announced: ["want"] });
    await until("the report", () => unstored() > 0, 5_000);
  }
  // The first one is tried again, and then the other: a pause begins when an attempt is over.
  const pausing = setInterval(() => clock.increment(pauseMs), 100);
  try {
    await member.has(own);
    rmdirSync(path);
    await member.has(root);
  } finally {
    clearInterval(pausing);
  }
  await Promise.all([source, member].map((each) => each.stop()));
});

test("bug: a list that waited was put behind itself with each round of fetching", () => {
  const book = new CrlBook({ now: Date.now, stateDir: "" });
  const arrival = { issuer: "i", sha256: "a", sizeBytes: 1, peer: undefined, urls: ["http://a"] };
  book.arrived(arrival);
  book.arrived({ ...arrival });
  book.arrivalDone();
  assert.is(book.nextArrival, undefined);
});

test("bug: a list with number 0 whose file was lost fitted no more", async () => {
  const book = new CrlBook({ now: Date.now, stateDir: "" });
  book.trustChanged(world.snapshot([], 1));
  const { notice: { issuer: key, scope, sha256, size: sizeBytes } } = await world.list(1n);
  const crl = { domain: ownDomain, key, scope, number: "0", baseNumber: undefined, sha256, sizeBytes, path: "" };
  book.learned({ ...crl, kind: "complete", thisUpdate: new Date() }, undefined);
  const slot = { issuer: key, scope, base: null };
  assert.is(book.placedNumberOf(slot), "0");
  book.lost({ sha256: [sha256], torn: [] });
  assert.is(book.placedNumberOf(slot), undefined);
});

test("bug: a complete list with the number of the delta in force was wanted, although it contradicts the delta and its base", async () => {
  const book = new CrlBook({ now: Date.now, stateDir: "" });
  book.trustChanged(world.snapshot([], 1));
  const { notice: own } = await world.list(9n);
  const { issuer: key, scope, size: sizeBytes } = own;
  const learn = (kind: "complete" | "delta", number: string, baseNumber: string | undefined) => {
    const crl = { domain: ownDomain, key, scope, number, baseNumber, sha256: `${kind}${number}`, sizeBytes, path: "" };
    book.learned({ ...crl, kind, thisUpdate: new Date() }, undefined);
  };
  learn("complete", "6", undefined);
  learn("delta", "9", "7");
  assert.ok(book.isWanted(own), "the delta's base is missing");
  learn("complete", "7", undefined);
  assert.not(book.isWanted(own));
  assert.ok(book.isWanted((await world.list(10n)).notice));
  book.lost({ sha256: ["complete7"], torn: [] });
  assert.ok(book.isWanted(own), "the base is lost, and may be nowhere any more");
});

test("two contents of one number travel both, and none is pulled twice", async () => {
  const { bad, member, end } = await between("equivocation");
  const [one, two] = [await world.list(9n), await world.list(9n, { revoked: revokedMany(1) })];
  bad.answer = honestAnswers([one, two]);
  for (const list of [one, two]) {
    assert.equal(await bad.request(member.peer, { Announce: [list.notice] }), { Announced: ["want"] });
    await member.has(list);
    assert.equal(await bad.request(member.peer, { Announce: [list.notice] }), { Announced: ["have"] });
  }
  await end(await world.list(10n));
});

test.after(() => world.stop());
test.run();
