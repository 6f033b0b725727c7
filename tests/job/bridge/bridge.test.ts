import { spawn, spawnSync } from "node:child_process";
import { linkSync, lstatSync, mkdirSync, openSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { closeSync, constants } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openBridge } from "../../../actors/job/bridge/bridge.ts";
import { makeBridgeToken } from "../../../actors/job/bridge/token.ts";
import { jobLimits } from "../../../actors/job/limits.ts";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { ask, askJson } from "../../support/bridge_client.ts";
import { peer, stranger, withBridge, withWeb } from "../../support/job_bridge.ts";
import {
  anything,
  eventually,
  fakeNetwork,
  holdOpen,
  openWeb,
  readAll,
  realPorts,
  runOf,
  streamPair,
  temporary,
  writeAll,
} from "../../support/job_world.ts";
import { needing } from "../../support/prerequisites.ts";

const node = resolve(dirname(fileURLToPath(import.meta.url)), "../../../node_modules/.bin/node");
const toPeer = (strategy: string) => ({ type: "peers", peers: [peer], strategy: { type: strategy }, resource: null });

const test = suite("openBridge()");

for (const umask of [0, 0o777]) {
  needing(test, "node")(`the socket's mode is never wider than 0600, under umask ${umask.toString(8)}`, async () => {
    const place = temporary();
    const path = join(place.path, "job");
    mkdirSync(path, { mode: 0o700 });
    // Looks as fast as it can, and tells every mode that it saw.
    const watcher = spawn(node, [
      "-e",
      `const { lstatSync } = require("node:fs"); const seen = new Set(); let on = true;
       process.on("SIGTERM", () => { on = false; });
       console.log("on");
       const look = () => { for (let i = 0; i < 2000; i++) try { seen.add(lstatSync(process.argv[1]).mode & 0o777); } catch {}
         if (on) setImmediate(look); else console.log(JSON.stringify([...seen])); };
       look();`,
      join(path, "bridge.sock"),
    ], { stdio: ["ignore", "pipe", "inherit"] });
    let told = "";
    watcher.stdout.on("data", (text) => told += text);
    await eventually("the watcher", () => told.includes("on"));
    const before = process.umask(umask);
    try {
      for (let round = 0; round < 30; round++) {
        const bridge = await holdOpen(Effect.flatMap(openWorkDirectory(path), (directory) =>
          openBridge({
            directory,
            jobId: "",
            scheduler: peer,
            scope: anything,
            network: fakeNetwork({}),
            limits: jobLimits,
            report: () => {},
            now: Date.now,
            random: Math.random,
            web: openWeb,
            count: { round: 1, samples: 0 },
          }, makeBridgeToken())));
        assert.is(lstatSync(join(path, "bridge.sock")).mode & 0o777, 0o600);
        assert.is(process.umask(), umask, "the process's own umask is as it was");
        await new Promise((done) => setTimeout(done, 5));
        await bridge.close();
      }
    } finally {
      process.umask(before);
      watcher.kill("SIGTERM");
    }
    await eventually("what the watcher saw", () => told.includes("]"));
    const seen: number[] = JSON.parse(told.slice(told.indexOf("[")));
    assert.ok(seen.includes(0o600), told);
    assert.equal(seen.filter((mode) => (mode & ~0o600) !== 0), []);
    place.remove();
  });
}

test("a token that is required is asked for on every route; one that is optional must still be right", async () => {
  const required = makeBridgeToken();
  await withBridge({}, async ({ socket }) => {
    for (const path of ["/openapi.json", "/resources/fetch", "/nowhere"]) {
      const refused = await ask(socket, { method: "GET", path });
      assert.is(refused.status, 401);
      assert.is(JSON.parse(refused.body).error, "unauthorized");
    }
    const wrong = [
      `Bearer ${required.value}x`,
      `Bearer  ${required.value}`,
      `Basic ${required.value}`,
      required.value,
      "",
    ];
    for (const authorization of wrong) {
      assert.is((await ask(socket, { method: "GET", path: "/openapi.json", headers: { authorization } })).status, 401);
    }
    const authorization = `Bearer ${required.value}`;
    const answer = await ask(socket, { method: "GET", path: "/openapi.json", headers: { authorization } });
    assert.is(answer.status, 200);
    assert.is(JSON.parse(answer.body).openapi, "3.1.0");
  }, required);
  await withBridge({}, async ({ socket }) => {
    assert.is((await ask(socket, { method: "GET", path: "/openapi.json" })).status, 200);
    const headers = { authorization: "Bearer wrong" };
    assert.is((await ask(socket, { method: "GET", path: "/openapi.json", headers })).status, 401);
  });
});

test("an executor uses its bridge from the begin to the end of a call, and of a result's stream the begin alone", async () => {
  let at = 0, answer = () => {};
  const web = (_: unknown, response: ServerResponse) => void (answer = () => response.end("x"));
  await withWeb(web, (url) =>
    withBridge({ now: () => at }, async ({ socket, idleMs }) => {
      at = 5_000;
      assert.is(idleMs(), 5_000, "since it opened");
      const fetched = askJson(socket, "/resources/fetch", { type: "uri", value: `${url}/model` });
      await eventually("the fetch", () => idleMs() === 0);
      at = 900_000;
      assert.is(idleMs(), 0);
      answer();
      await fetched;
      at = 901_000;
      await eventually("the end of the fetch", () => idleMs() === 1_000);
      const receives = { resource: { ...toPeer("All"), type: "peers" }, path: "incoming" };
      const events = connect(socket);
      const body = JSON.stringify(receives);
      const head = `POST /resources/receive HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;
      events.write(`${head}content-length: ${body.length}\r\n\r\n${body}`);
      await eventually("the stream", () => idleMs() === 0);
      at = 905_000;
      assert.is(idleMs(), 4_000);
      events.destroy();
    }));
});

test("a work directory too deep for a socket's address has its bridge all the same", async () => {
  await withBridge(
    {},
    async ({ path }) => {
      assert.ok(path.length > 108);
      const fd = openSync(path, constants.O_RDONLY);
      try {
        assert.is((await ask(`/proc/self/fd/${fd}/bridge.sock`, { method: "GET", path: "/openapi.json" })).status, 200);
      } finally {
        closeSync(fd);
      }
    },
    makeBridgeToken("optional"),
    "d".repeat(200),
  );
});

test("a body of the limit is read, one byte more is 413, told or not", async () => {
  await withBridge({ limits: { bodyBytesMax: 1_000 } }, async ({ socket }) => {
    const headers = { "content-type": "application/json" };
    const pad = (size: number) => `"${"x".repeat(size - 2)}"`;
    assert.is((await ask(socket, { path: "/status/send", headers, body: pad(1_000) })).status, 422);
    assert.is((await ask(socket, { path: "/status/send", headers, body: pad(1_001) })).status, 413);
    const head =
      "POST /status/send HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    const answer = await raw(socket, `${head}3e9\r\n${pad(1_001)}\r\n`);
    assert.match(answer, /^HTTP\/1\.1 413 /);
    assert.match(answer, /connection: close/i);
  });
});

test("a body that stays away is 408, and random bytes end their connection only", async () => {
  await withBridge({ limits: { bodyMs: 150 } }, async ({ socket }) => {
    const head =
      "POST /status/send HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n";
    assert.match(await raw(socket, `${head}{`), /^HTTP\/1\.1 408 /);
    assert.is((await raw(socket, "\x16\x03\x01\x02\x00 no http \r\n\r\n")).includes("200"), false);
    assert.is((await ask(socket, { method: "GET", path: "/openapi.json" })).status, 200);
  });
});

test("requests and sends over their limits are 503, connections over theirs are closed", async () => {
  let release = () => {};
  const gate = new Promise<void>((open) => release = open);
  const network = fakeNetwork({
    request: () => Effect.as(Effect.promise(() => gate), { type: "Ok" }),
    openStream: () => Effect.never,
  });
  await withBridge({ network, limits: { requestsMax: 2, sendsMax: 1 } }, async ({ socket, path }) => {
    const waiting = [1, 2].map(() => askJson(socket, "/status/send", "update"));
    let third = await ask(socket, { method: "GET", path: "/openapi.json" });
    await eventually("both requests under way", () => {
      if (third.status !== 503) void ask(socket, { method: "GET", path: "/openapi.json" }).then((got) => third = got);
      return third.status === 503;
    });
    assert.is(JSON.parse(third.body).error, "busy");
    release();
    for (const { status, body } of await Promise.all(waiting)) assert.equal([status, body], [200, '{"type":"Ok"}']);
    writeFileSync(join(path, "file"), "x");
    const send = () => askJson(socket, "/resources/send", { resource: toPeer("All"), path: "file" });
    assert.is((await send()).status, 200);
    assert.is((await send()).status, 503);
  });
  await withBridge({ limits: { connectionsMax: 2 } }, async ({ socket }) => {
    const held = [connect(socket), connect(socket)];
    await Promise.all(held.map((one) => new Promise((connected) => one.once("connect", connected))));
    await eventually("both counted", () => held.every((one) => !one.destroyed));
    assert.is(await raw(socket, "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"), "");
    for (const one of held) one.destroy();
  });
});

needing(test, "mkfifo")("nothing outside the work directory is sent, and nothing is written there", async () => {
  const network = fakeNetwork({ openStream: () => Effect.die("nothing may be sent") });
  await withBridge({ network }, async ({ socket, path, outside }) => {
    writeFileSync(join(outside, "secret"), "secret");
    symlinkSync("../outside/secret", join(path, "soft"));
    symlinkSync("../outside", join(path, "incoming"));
    linkSync(join(outside, "secret"), join(path, "hard"));
    spawnSync("mkfifo", [join(path, "fifo")]);
    mkdirSync(join(path, "directory"));
    const paths = [
      "../outside/secret",
      "/etc/passwd",
      "soft",
      "incoming/secret",
      "hard",
      "fifo",
      "directory",
      "",
      "a\0b",
      "./x",
    ];
    for (const strategy of ["All", "One"]) {
      for (const name of [...paths, "bridge.sock"]) {
        const { status, body } = await askJson(socket, "/resources/send", { resource: toPeer(strategy), path: name });
        assert.equal([name, status, JSON.parse(body).error], [name, 400, "invalid_request"]);
      }
    }
    for (const name of [undefined, "../x", "/tmp", "soft", "incoming/new", "hard/x", ""]) {
      const { status, body } = await askJson(socket, "/resources/receive", { resource: toPeer("All"), path: name });
      assert.equal([name, status, JSON.parse(body).error], [name, 400, "invalid_request"]);
    }
    assert.equal(readdirSync(outside), ["secret"]);
  });
});

test("artifacts do not follow a link that the job put in their way", async () => {
  await withWeb((_, response) => void response.end("body"), async (url) => {
    await withBridge({}, async ({ socket, path, outside }) => {
      symlinkSync("../outside", join(path, "artifacts"));
      const { status } = await askJson(socket, "/resources/fetch", { type: "uri", value: `${url}/file` });
      assert.is(status, 400);
      assert.equal(readdirSync(outside), []);
    });
  });
});

test("a pushed file that breaks off, or is over the limit, is not told and leaves nothing; the next one is", async () => {
  const network = fakeNetwork({});
  await withBridge({ network, limits: { fileBytesMax: 10 } }, async ({ socket, path }) => {
    let got = "", finish = () => {};
    const receiving = ask(socket, {
      path: "/resources/receive",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ resource: toPeer("All") }),
      onBody: (text, close) => {
        got += text;
        finish = close;
      },
    });
    await eventually("a receive", () => network.receives.length === 1);
    const push = () => {
      const { near, far } = streamPair({ near: "me", far: peer });
      network.receives[0]?.push(near);
      return far;
    };
    const broken = push();
    await runOf(Effect.andThen(broken.write(new Uint8Array(5)), broken.abort("cut")));
    await runOf(Effect.ignore(writeAll(push(), "01234567890")));
    await runOf(writeAll(push(), "0123456789"));
    await eventually("an event", () => got.includes("data:"));
    assert.is(got, `data: {"path":"incoming/${peer}","size":10,"from_peer":"${peer}"}\n\n`);
    assert.equal(readdirSync(join(path, "incoming")), [peer]);
    finish();
    await receiving;
  });
});

test("a receive that names nobody takes the job's own peers; with none known, nobody", async () => {
  for (const receivesFrom of [[stranger], []]) {
    const network = fakeNetwork({});
    await withBridge({ network, scope: { ...anything, receivesFrom } }, async ({ socket }) => {
      const resource = { ...toPeer("All"), peers: [] };
      let finish = () => {};
      const receiving = ask(socket, {
        path: "/resources/receive",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ resource }),
        onBody: (_, close) => finish = close,
      });
      await eventually("a receive", () => network.receives.length === 1);
      assert.equal(network.receives[0]?.peers, receivesFrom);
      const { near, far } = streamPair({ near: "me", far: stranger });
      network.receives[0]?.push(near);
      await runOf(writeAll(far, "x"));
      await receivingEnds(receiving, () => finish());
    });
  }
});

test("a reader that reads nothing is given up: its pushers wait, memory does not grow", async () => {
  const network = fakeNetwork({});
  await withBridge({ network, limits: { readerMs: 200 } }, async ({ socket }) => {
    const slow = connect(socket);
    slow.pause();
    slow.on("error", () => {});
    const path = Array.from({ length: 15 }, () => "p".repeat(250)).join("/");
    const body = JSON.stringify({ resource: toPeer("All"), path });
    slow.write(
      `POST /resources/receive HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await eventually("a receive", () => network.receives.length === 1);
    let taken = 0;
    const until = Date.now() + 20_000;
    while (network.receives.length === 1 && Date.now() < until) {
      const { near, far } = streamPair({ near: "me", far: peer });
      network.receives[0]?.push(near);
      const outcome = await runOf(Effect.timeoutOption(Effect.andThen(writeAll(far, "x"), readAll(far)), 1_000));
      if (outcome._tag === "Some") taken += 1;
    }
    assert.is(network.receives.length, 0, `still receiving after ${taken} files`);
    assert.ok(taken > 1 && taken < 1_000, `${taken} files were taken`);
    slow.destroy();
  });
});

test("copies to peers go on after the answer, and can be waited for", async () => {
  const ends: ReturnType<typeof streamPair>[] = [];
  const network = fakeNetwork({
    openStream: (to) =>
      Effect.sync(() => {
        const pair = streamPair({ near: "me", far: to });
        ends.push(pair);
        return pair.near;
      }),
  });
  await withBridge({ network }, async ({ socket, path, sendsDone }) => {
    const text = "piece ".repeat(60_000);
    writeFileSync(join(path, "update"), text);
    const resource = { ...toPeer("All"), peers: [peer, stranger] };
    assert.is((await askJson(socket, "/resources/send", { resource, path: "update" })).status, 200);
    // What is sent is what was there when it was asked for.
    writeFileSync(join(path, "next"), "next");
    spawnSync("mv", [join(path, "next"), join(path, "update")]);
    await eventually("two streams", () => ends.length === 2);
    const got = await Promise.all(ends.map(({ far }) => runOf(Effect.tap(readAll(far), () => far.end))));
    assert.equal(got.map(({ outcome }) => outcome), ["whole", "whole"]);
    assert.ok(got.every((one) => one.text === text));
    await runOf(Effect.timeout(sendsDone, 15_000));
  });
});

test("bug: a job filled the log with files that it fetched", async () => {
  const { report, reports } = realPorts();
  let at = 0;
  await withWeb(
    (_, response) => response.end("x"),
    (url) =>
      withBridge({ report, now: () => at }, async ({ socket }) => {
        const fetch = async (path: string) =>
          assert.is((await askJson(socket, "/resources/fetch", { type: "uri", value: `${url}/${path}` })).status, 200);
        const lines = () => reports.filter((one) => one.level === "info" && one.event === "job.fetch.done");
        for (let times = 0; times < 20; times++) await fetch(`model?${times}`);
        assert.is(lines().length, 1);
        for (let file = 0; file < 300; file++) await fetch(`file${file}`);
        assert.is(lines().length, 256, "of other files, too");
        at = 60_000;
        await fetch("model");
        assert.is(lines().length, 257);
        await fetch("model?20");
        assert.is(lines().at(-1)?.fields?.["untold"], 19);
        assert.is(reports.filter(({ event }) => event === "job.fetch.done").length, 322, "the others are for `debug`");
      }),
  );
});

test("bug: a job filled the log with warnings: one send, 1,024 times the same peer, was 1,024 of them", async () => {
  const { report, reports } = realPorts();
  let at = 0;
  await withBridge({ report, now: () => at }, async ({ socket, sendsDone }) => {
    const warnings = (event: string) => reports.filter((one) => one.level === "warn" && one.event === event);
    const send = async (path: string, ...peers: string[]) => {
      const resource = { ...toPeer("All"), peers };
      assert.is((await askJson(socket, "/resources/send", { resource, path })).status, 200);
      await runOf(sendsDone);
    };
    await send("missing", ...Array.from({ length: 1_024 }, () => peer));
    assert.is(reports.length, 1, "a peer that is named again gets no second copy");
    for (let times = 0; times < 5; times++) await send(`missing${times}`, peer, stranger);
    assert.equal(warnings("job.send.failed").map(({ fields }) => fields?.["peer"]), [peer, stranger]);
    for (let times = 0; times < 5; times++) {
      assert.is(
        (await askJson(socket, "/resources/fetch", { type: "uri", value: "http://127.0.0.1:1/x" })).status,
        500,
      );
    }
    assert.is((await askJson(socket, "/status/send", "update")).status, 500);
    const codes = () => warnings("job.bridge.problem").map(({ fields }) => [fields?.["error"], fields?.["untold"]]);
    assert.equal(codes(), [["connector_error", 0], ["network_error", 0]]);
    at = 60_000;
    await askJson(socket, "/resources/fetch", { type: "uri", value: "http://127.0.0.1:1/x" });
    assert.equal(codes().at(-1), ["connector_error", 4]);
    await send("missing", peer);
    assert.is(warnings("job.send.failed").at(-1)?.fields?.["untold"], 5);
  });
});

test("seed 24,300,007: an update that its aggregator reset before it had read the head was lost, and its round waited for it", async () => {
  const ends: ReturnType<typeof streamPair>[] = [];
  const network = fakeNetwork({
    openStream: (to) =>
      Effect.sync(() => {
        const pair = streamPair({ near: "me", far: to }, "/hypha-tensor-stream/push/2");
        ends.push(pair);
        if (ends.length === 1) Effect.runSync(pair.far.abort("its head is late"));
        return pair.near;
      }),
  });
  await withBridge({ network }, async ({ socket, path, sendsDone }) => {
    writeFileSync(join(path, "update"), "piece ".repeat(1_000));
    assert.is((await askJson(socket, "/resources/send", { resource: toPeer("All"), path: "update" })).status, 200);
    await eventually("the second stream", () => ends.length === 2);
    const { outcome, text } = await runOf(Effect.tap(readAll(ends[1]!.far), () => ends[1]!.far.end));
    assert.is(outcome, "whole");
    assert.ok(text.includes("piece ".repeat(1_000)), `${text.length} characters`);
    await runOf(Effect.timeout(sendsDone, 15_000));
    assert.is(ends.length, 2);
  });
});

test("a request whose asker goes away is interrupted, and so is everything when the bridge closes", async () => {
  let [requested, interrupted] = [0, 0];
  const network = fakeNetwork({
    request: () => {
      requested += 1;
      return Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted += 1)));
    },
  });
  await withBridge({ network }, async ({ socket }) => {
    const body = '"update"';
    const asking = connect(socket);
    asking.write(
      `POST /status/send HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await eventually("the request", () => requested === 1);
    asking.destroy();
    await eventually("the interruption", () => interrupted === 1);
    askJson(socket, "/status/send", "update").catch(() => {});
    await eventually("the second request", () => requested === 2);
  });
  assert.is(interrupted, 2);
});

test("bug: on Deno requests behind another on their connection went on when it closed", async () => {
  let [requested, interrupted] = [0, 0];
  const network = fakeNetwork({
    request: () => {
      requested += 1;
      return Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (interrupted += 1)));
    },
  });
  await withBridge({ network }, async ({ socket }) => {
    const asking = connect(socket);
    asking.write(
      'POST /status/send HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n"update"'
        .repeat(3),
    );
    await eventually("the requests", () => requested === 3);
    asking.destroy();
    await eventually("the interruptions", () => interrupted === 3);
  });
});

test.run();

async function receivingEnds(receiving: Promise<unknown>, finish: () => void): Promise<void> {
  const timer = setInterval(finish, 20);
  await receiving;
  clearInterval(timer);
}

/** Writes bytes as they are, and gives what comes back until the connection ends. */
function raw(socketPath: string, bytes: string): Promise<string> {
  return new Promise((done) => {
    let text = "";
    const socket = connect(socketPath, () => socket.write(bytes));
    socket.setEncoding("utf8");
    socket.setTimeout(30_000, () => socket.destroy());
    socket.on("data", (piece: string) => text += piece).on("error", () => {}).once("close", () => done(text));
  });
}
