/** Lists fetched by HTTP and HTTPS: what is asked for, in which order, and servers that misbehave. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimulatedClock } from "xstate";
import { crlTakenBytesMax, wholeBytesMax } from "../../actors/crl_exchange/book.ts";
import { fetchEveryMs } from "../../actors/crl_exchange/exchange_setup.ts";
import { fetchLists } from "../../actors/crl_exchange/fetch_lists.ts";
import { clearIncoming } from "../../actors/files/arriving_crls.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { makeListWorld, type TestList } from "../support/crl_members.ts";
import { until } from "../support/transports.ts";

const test = suite("fetchLists()");
const world = await makeListWorld();
const servers: Server[] = [];

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A server with these files, or that answers as a test wants. */
async function serve(options: { files?: Map<string, Uint8Array>; answer?: Answer; tls?: boolean } = {}) {
  const { files = new Map(), tls = false } = options;
  const asked: { readonly path: string; readonly status: number }[] = [];
  const answer: Answer = options.answer ?? ((request, response) => {
    const body = files.get(request.url ?? "");
    const etag = body === undefined ? undefined : `"${hashOf(body)}"`;
    const has = request.headers["if-none-match"]?.split(", ").includes(etag ?? "") === true;
    const status = body === undefined ? 404 : has ? 304 : 200;
    asked.push({ path: request.url ?? "", status });
    response.writeHead(status, etag === undefined ? {} : { etag }).end(status === 200 ? body : undefined);
  });
  const { certPem: cert, keyPem: key } = await world.pki.selfSigned("anybody");
  const server = tls ? createTlsServer({ cert, key }, answer) : createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.push(server);
  const { port } = server.address() as AddressInfo;
  return { url: `${tls ? "https" : "http"}://127.0.0.1:${port}`, asked, files };
}

const { createHash } = await import("node:crypto");
const hashOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const pathOf = ({ notice: { issuer } }: TestList, kind = "") => `/crl/${issuer}${kind}.crl`;
const revokedMany = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    serial: (0x1000_0000 + index).toString(16),
    date: new Date(1_700_000_000_000),
  }));

for (const tls of [false, true]) {
  test(`lists come by ${tls ? "HTTPS, from a server that nobody vouches for" : "HTTP"}, before the first dial`, async () => {
    const [own, root] = [await world.list(2n), await world.list(1n, { byRoot: true })];
    const { url, asked } = await serve({ tls, files: new Map([[pathOf(own), own.der], [pathOf(root), root.der]]) });
    const member = await world.member(`http-${tls}`, "worker", { urls: [url] });
    await Promise.all([own, root].map((list) => member.has(list)));
    await until("the end of the first round", member.fetched, 2_000);
    assert.equal(asked.map(({ path }) => path).toSorted(), [pathOf(own), pathOf(root)].toSorted());
    await member.stop();
  });
}

test("what the node has is not sent again", async () => {
  const [own, root] = [await world.list(2n), await world.list(1n, { byRoot: true })];
  const { url, asked } = await serve({ files: new Map([[pathOf(own), own.der], [pathOf(root), root.der]]) });
  const member = await world.member("has-them", "worker", { urls: [url], lists: [own, root] });
  await until("the end of the first round", member.fetched, 2_000);
  assert.equal(asked.map(({ status }) => status), [304, 304]);
  assert.is(member.taken.size, 0);
  await member.stop();
});

test("bug: a list by HTTP whose number was too long for a notice kept all others from being announced", async () => {
  const [own, root] = [await world.list(2n), await world.list(10n ** 40n, { byRoot: true })];
  const { url, asked } = await serve({ files: new Map([[pathOf(own), own.der], [pathOf(root), root.der]]) });
  const member = await world.member("long-number", "gateway", { urls: [url] });
  await Promise.all([own, root].map((list) => member.has(list)));
  const other = await world.member("told-the-rest", "worker");
  await other.dial(member);
  await other.has(own);
  // The node has it, and says so to the server.
  await member.stop();
  const restarted = await world.member("long-number-again", "gateway", { urls: [url], lists: [own, root] });
  await until("the end of the first round", restarted.fetched, 2_000);
  assert.equal(asked.slice(2).map(({ status }) => status), [304, 304]);
  await Promise.all([restarted, other].map((each) => each.stop()));
});

test("of a large list its base and its delta are fetched, and then the delta alone", async () => {
  const [complete, base] = [
    await world.list(9n, { revoked: revokedMany(3_000) }),
    await world.list(7n, { revoked: revokedMany(2_999) }),
  ];
  const delta = await world.list(9n, { base: 7n, revoked: revokedMany(3_000).slice(-1) });
  assert.ok(complete.der.length > wholeBytesMax);
  const files = new Map([[pathOf(complete), complete.der], [pathOf(base, "-base"), base.der]]);
  files.set(pathOf(delta, "-delta"), delta.der);
  const { url, asked } = await serve({ files });
  const member = await world.member("large", "worker", { urls: [url] });
  await Promise.all([base, delta].map((list) => member.has(list)));
  assert.not(member.taken.has(complete.notice.sha256));
  await member.stop();
  const next = await world.list(10n, { base: 7n, revoked: revokedMany(3_001).slice(-2) });
  files.set(pathOf(next, "-delta"), next.der);
  asked.splice(0);
  const later = await world.member("large-later", "worker", { urls: [url], lists: [base, delta] });
  await later.has(next);
  const fetched = asked.filter(({ path }) => path.includes(next.notice.issuer));
  assert.equal(fetched.map(({ path, status }) => [path, status]), [
    [pathOf(next, "-delta"), 200],
    [pathOf(base, "-base"), 304],
  ]);
  await later.stop();
});

async function stateFolder(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-fetch-"));
  await Effect.runPromise(Effect.provide(clearIncoming(folder), realServices));
  return folder;
}

test("bug: a delta that came before its base failed was lost, and never sent again because its ETag was remembered", async () => {
  const base = await world.list(7n, { revoked: revokedMany(2_999) });
  const delta = await world.list(9n, { base: 7n, revoked: revokedMany(3_000).slice(-1) });
  const { issuer } = delta.notice;
  let failing = true;
  const answer: Answer = (request, response) => {
    const isDelta = request.url === pathOf(delta, "-delta");
    if (!isDelta && failing) return void response.writeHead(500).end();
    const { der } = isDelta ? delta : base;
    const etag = `"${hashOf(der)}"`;
    const has = request.headers["if-none-match"]?.split(", ").includes(etag) === true;
    response.writeHead(has ? 304 : 200, { etag }).end(has ? undefined : der);
  };
  const { url } = await serve({ answer });
  const folder = await stateFolder();
  const etags = new Map<string, string>();
  const held = (_: string, kind: "complete" | "delta") => kind === "delta" ? "ab".repeat(32) : undefined;
  const round = async () => {
    const fetching = fetchLists({ stateDir: folder, urls: [url], issuers: [issuer], held, etags });
    const { arrivals, failures } = await Effect.runPromise(Effect.provide(fetching, realServices));
    return { arrived: arrivals.map(({ sha256 }) => sha256), failures: failures.length };
  };
  assert.equal(await round(), { arrived: [delta.notice.sha256], failures: 1 });
  assert.equal(await round(), { arrived: [], failures: 1 }, "it is not sent twice");
  const two = {
    stateDir: folder,
    urls: [url, (await serve({ answer })).url],
    issuers: [issuer],
    held,
    etags: new Map(),
  };
  const { arrivals } = await Effect.runPromise(Effect.provide(fetchLists(two), realServices));
  assert.equal(arrivals.map(({ sha256 }) => sha256), [delta.notice.sha256], "once, from two origins");
  failing = false;
  assert.equal(await round(), { arrived: [base.notice.sha256], failures: 0 });
  rmSync(folder, { recursive: true });
});

test("bug: lists of a round whose last one could not be stored were never sent again", async () => {
  const lists = [await world.list(2n), await world.list(1n, { byRoot: true })];
  const { url } = await serve({ files: new Map(lists.map((list) => [pathOf(list), list.der])) });
  const folder = await stateFolder();
  const etags = new Map<string, string>();
  const issuers = lists.map(({ notice: { issuer } }) => issuer);
  const fetching = fetchLists({ stateDir: folder, urls: [url], issuers, held: () => undefined, etags });
  let opens = 0;
  const full = Effect.gen(function* () {
    const files = yield* FileSystem;
    const fault = systemError({ _tag: "Unknown", module: "FileSystem", method: "open", cause: { code: "ENOSPC" } });
    const open: FileSystem["open"] = (path, options) => ++opens > 1 ? Effect.fail(fault) : files.open(path, options);
    return yield* Effect.result(Effect.provideService(fetching, FileSystem, { ...files, open }));
  });
  assert.ok(Result.isFailure(await Effect.runPromise(Effect.provide(full, realServices))));
  const { arrivals } = await Effect.runPromise(Effect.provide(fetching, realServices));
  assert.equal(arrivals.map(({ sha256 }) => sha256), lists.map(({ notice: { sha256 } }) => sha256));
  rmSync(folder, { recursive: true });
});

test("bug: one answer that was no list kept the lists of later issuers of that server away", async () => {
  const [root, own] = [await world.list(1n, { byRoot: true }), await world.list(2n)];
  const { url } = await serve({
    answer: (request, response) => {
      const isOwn = request.url === pathOf(own);
      response.writeHead(isOwn ? 200 : 403).end(isOwn ? own.der : undefined);
    },
  });
  const folder = await stateFolder();
  const issuers = [root, own].map(({ notice: { issuer } }) => issuer);
  const round = async (urls: readonly string[]) => {
    const fetching = fetchLists({ stateDir: folder, urls, issuers, held: () => undefined, etags: new Map() });
    return await Effect.runPromise(Effect.provide(fetching, realServices));
  };
  const { arrivals, failures } = await round([url]);
  assert.equal(arrivals.map(({ sha256 }) => sha256), [own.notice.sha256]);
  assert.equal(failures.map((failure) => failure.url), [`${url}${pathOf(root)}`]);
  assert.is((await round(["http://127.0.0.1:9"])).failures.length, 1, "a server that does not answer is asked once");
  rmSync(folder, { recursive: true });
});

/** A server that answers its first requests otherwise, with the ETag of the list. */
async function servedLater(list: TestList, first: Uint8Array | string, times: number, etag?: string) {
  let rounds = 0;
  const { url } = await serve({
    answer: (request, response) => {
      if (request.url !== pathOf(list)) return void response.writeHead(404).end();
      const isFirst = rounds++ < times;
      const isKnown = etag !== undefined && request.headers["if-none-match"]?.includes(etag) === true;
      response.writeHead(isKnown ? 304 : 200, etag === undefined ? {} : { etag });
      response.end(isKnown ? undefined : isFirst ? first : list.der);
    },
  });
  return { url, rounds: () => rounds };
}

/** The next rounds of a member, one after the other. */
async function moreRounds(clock: SimulatedClock, rounds: () => number, last: number) {
  while (rounds() < last) {
    const before = rounds();
    clock.increment(2 * fetchEveryMs);
    await until("the next round", () => rounds() > before, 5_000);
    await new Promise((wake) => setTimeout(wake, 100));
  }
}

test("bug: a server in the middle that answered once with another list and the ETag of the list kept it away for good", async () => {
  const list = await world.list(3n);
  for (const [name, first] of [["none", "<html>"], ["older", (await world.list(1n)).der]] as const) {
    const clock = new SimulatedClock();
    const { url, rounds } = await servedLater(list, first, 1, '"real"');
    const lists = name === "older" ? [await world.list(2n)] : [];
    const member = await world.member(`etag-${name}`, "worker", { urls: [url], clock, lists });
    await until("the end of the first round", member.fetched, 5_000);
    await moreRounds(clock, rounds, 2);
    await member.has(list);
    await member.stop();
  }
});

test("bug: a list by HTTP that is none was reported nowhere", async () => {
  const list = await world.list(3n);
  const clock = new SimulatedClock();
  const { url, rounds } = await servedLater(list, "<html>", 3);
  const member = await world.member("none-at-all", "worker", { urls: [url], clock });
  await until("the end of the first round", member.fetched, 5_000);
  await moreRounds(clock, rounds, 3);
  const reports = member.reports.filter(({ event }) => event === "crl.unfetched");
  assert.equal(reports.map(({ fields }) => fields?.["url"]), [`${url}${pathOf(list)}`], "once");
  await moreRounds(clock, rounds, 4);
  await member.has(list);
  await member.stop();
});

test("bug: a list that the node has was taken again each minute from a server without ETags", async () => {
  const list = await world.list(3n);
  const clock = new SimulatedClock();
  const { url, rounds } = await servedLater(list, list.der, 3);
  const member = await world.member("again-and-again", "worker", { urls: [url], clock });
  await member.has(list);
  await until("the end of the first round", member.fetched, 5_000);
  await moreRounds(clock, rounds, 3);
  assert.is(member.reports.filter(({ event }) => event === "crl.taken").length, 1);
  await member.stop();
});

test("bug: a base and its delta were not fetched from a CA that has no complete list", async () => {
  const [base, root] = [await world.list(7n, { revoked: revokedMany(2) }), await world.list(1n, { byRoot: true })];
  const delta = await world.list(9n, { base: 7n, revoked: revokedMany(3).slice(-1) });
  const files = new Map([[pathOf(base, "-base"), base.der], [pathOf(delta, "-delta"), delta.der]]);
  const { url, asked } = await serve({ files });
  const member = await world.member("no-complete", "worker", { urls: [url] });
  await Promise.all([base, delta].map((list) => member.has(list)));
  await until("the end of the first round", member.fetched, 2_000);
  const none = asked.filter(({ path }) => path.includes(root.notice.issuer)).map(({ path }) => path);
  assert.equal(none, ["", "-delta", "-base"].map((kind) => pathOf(root, kind)), "each once, where there is none");
  assert.not(member.reports.some(({ event }) => event === "crl.unfetched"));
  await member.stop();
});

test("where there is no base the large list itself is fetched", async () => {
  const complete = await world.list(9n, { revoked: revokedMany(3_000) });
  const { url } = await serve({ files: new Map([[pathOf(complete), complete.der]]) });
  const member = await world.member("whole", "worker", { urls: [url] });
  await member.has(complete);
  await member.stop();
});

test("the next origin is asked where one does not answer, and the node goes on where none does", async () => {
  const own = await world.list(2n);
  const { url } = await serve({ files: new Map([[pathOf(own), own.der]]) });
  const away = "http://127.0.0.1:9";
  const member = await world.member("two-origins", "worker", { urls: [away, url] });
  await member.has(own);
  await member.stop();
  const alone = await world.member("no-origin", "worker", { urls: [away] });
  await until("the end of the first round", alone.fetched, 2_000);
  assert.ok(alone.reports.some(({ event }) => event === "crl.unfetched"));
  await alone.stop();
});

const servings: [string, Answer][] = [
  ["a redirect", (_, response) => void response.writeHead(302, { location: "/elsewhere" }).end()],
  ["an error", (_, response) => void response.writeHead(500).end()],
  [
    "a length over the limit",
    (_, response) => void response.writeHead(200, { "content-length": crlTakenBytesMax + 1 }).flushHeaders(),
  ],
  ["a body that is no list", (_, response) => void response.writeHead(200).end("<html>")],
  ["a head without end", (_, response) => void response.writeHead(200, { "x-much": "x".repeat(40_000) }).end()],
  ["no TLS and no HTTP", (request) => void request.socket.end("hello")],
  ["half a body", (request, response) => {
    response.writeHead(200, { "content-length": 100 });
    response.write("half");
    setTimeout(() => request.socket.destroy(), 50);
  }],
];
for (const [name, answer] of servings) {
  test(`${name} is no list, and the node goes on`, async () => {
    const { url } = await serve({ answer });
    const member = await world.member(name.replaceAll(" ", "-"), "worker", { urls: [url] });
    await until("the end of the first round", member.fetched, 5_000);
    assert.is(member.taken.size, 0);
    await member.stop();
  });
}

test.after(async () => {
  await world.stop();
  for (const server of servers) {
    server.close();
    if ("closeAllConnections" in server) (server as { closeAllConnections(): void }).closeAllConnections();
  }
});
test.run();
