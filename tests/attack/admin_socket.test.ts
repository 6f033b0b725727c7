/**
 * Hostile HTTP on a scheduler's admin socket: from another user, and from a program of its own user.
 *
 * Goal: nothing but a well-formed request of the scheduler's user has an effect, and what hostile ones cost is bounded. Method: the real
 * server with the scheduler's routes; after each attack an operator's command is answered.
 */
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Effect, Exit, Scope } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import { adminBodyBytesMax, adminConnectionsMax, serveAdmin } from "../../actors/admin/serve_admin.ts";
import { type AdminAsk, adminRoutes } from "../../actors/scheduler/admin_routes.ts";
import { makePorts } from "../../scripts/program/ports.ts";

const test = suite("attacks on the admin socket");
const folder = mkdtempSync(join(tmpdir(), "hypha-admin-"));
const path = join(folder, "admin.sock");
const ports = makePorts(() => {});
const scope = Effect.runSync(Scope.make());
/** What reached the scheduler. */
let asked: AdminAsk[] = [];

test.before(async () => {
  const routes = adminRoutes({
    ports,
    stateDir: folder,
    ask: (ask) => {
      asked.push(ask);
      return Promise.resolve({ status: 200, body: { trainings: [] } });
    },
    receiving: new Set(),
  });
  await Effect.runPromise(Scope.provide(serveAdmin(path, routes), scope));
});
test.after(async () => {
  await Effect.runPromise(Scope.close(scope, Exit.void));
  await ports.dispose();
  rmSync(folder, { recursive: true, force: true });
});
test.before.each(() => {
  asked = [];
});
/** The operator's command works. */
test.after.each(async () => {
  asked = [];
  assert.equal((await Effect.runPromise(askAdmin(path, "GET /trainings"))).status, 200);
  assert.equal(asked, [{ type: "list" }]);
});

/** Sends bytes; what came back until the end of the connection. */
function sent(bytes: string | Uint8Array, withinMs = 10_000): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path);
    let answer = "";
    const timer = setTimeout(() => socket.destroy(), withinMs);
    socket.on("data", (piece) => answer += piece);
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      resolve(answer);
    });
    socket.on("connect", () => socket.write(bytes));
  });
}

const post = (route: string, body: string) =>
  `POST ${route} HTTP/1.1\r\nhost: x\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

/** Status of each answer, after `HTTP/1.1`; none where the connection was ended without one. */
const statusOf = (answer: string) => answer === "" ? "none" : answer.slice(9, 12);

const bodies: readonly (readonly [name: string, body: string, status: string])[] = [
  ["no JSON", "{", "400"],
  ["a hundred thousand brackets", "[".repeat(65_000), "400"],
  ["a path as an id", '{"id":"../../etc/passwd"}', "400"],
  ["an id with an end of line", '{"id":"t-1\\n"}', "400"],
  ["a further key", '{"id":"t-1","force":true}', "400"],
  ["a key of the prototype", '{"__proto__":{"id":"t-1"}}', "400"],
  ["a list of ids", '{"id":["t-1"]}', "400"],
  ["an id of ten thousand letters", `{"id":"${"t".repeat(10_000)}"}`, "400"],
  ["one byte too many", `{"id":"t-1"${" ".repeat(adminBodyBytesMax)}}`, "413"],
];
for (const [name, body, status] of bodies) {
  test(`${name}: refused, and nothing reaches the scheduler`, async () => {
    for (const route of ["/trainings/cancel", "/trainings/status", "/trainings/resume", "/trainings/logs"]) {
      assert.is(statusOf(await sent(post(route, body))), status, route);
    }
    assert.equal(asked, []);
  });
}

const requests: readonly (readonly [name: string, bytes: string])[] = [
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["random bytes", "\x16\x03\x01\x00\xff".repeat(50)],
  ["a head of a megabyte", `GET /trainings HTTP/1.1\r\nx: ${"y".repeat(1_048_576)}\r\n\r\n`],
  [
    "two lengths",
    `POST /trainings/cancel HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 12\r\n\r\n{}{"id":"t-1"}`,
  ],
  [
    "a length beside pieces",
    `POST /trainings/cancel HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{"id":"t-1"}`,
  ],
  ["a negative length", "POST /trainings/cancel HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}"],
];
for (const [name, bytes] of requests) {
  test(`${name}: no effect`, async () => {
    const answer = statusOf(await sent(bytes, 3_000));
    assert.ok(["none", "400", "404", "431"].includes(answer), answer);
    assert.equal(asked, []);
  });
}

test("a body of 200 MB for a route of JSON is refused, and not held", async () => {
  const before = process.memoryUsage().rss;
  const piece = new Uint8Array(1_048_576);
  let peak = 0;
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const asking = request({ socketPath: path, method: "POST", path: "/trainings/status" }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode));
    });
    asking.on("error", reject);
    let left = 200;
    const write = () => {
      peak = Math.max(peak, process.memoryUsage().rss);
      while (left-- > 0) if (!asking.write(piece)) return void asking.once("drain", write);
      asking.end();
    };
    write();
  });
  assert.is(status, 413);
  assert.ok(peak - before < 150e6, `${Math.round((peak - before) / 1e6)} MB`);
  assert.equal(asked, []);
});

test("a submission whose head never ends, or which breaks off, leaves nothing", async () => {
  await sent(`POST /trainings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"job\r\n`, 500);
  await sent(post("/trainings", "{}"), 3_000);
  await sent(post("/trainings", "\0".repeat(60_000)), 3_000);
  assert.ok(asked.every(({ type }) => type === "room"), JSON.stringify(asked));
  const left = () => readdirSync(folder, { recursive: true }).filter((name) => String(name).includes("incoming"));
  for (let tries = 0; tries < 300 && left().length > 0; tries++) await new Promise((done) => setTimeout(done, 100));
  assert.equal(left(), []);
});

test("of 1,000 silent connections at once a bounded number stays, and the operator is served when they are gone", async () => {
  let closed = 0;
  const sockets: Socket[] = [];
  const opened = Array.from({ length: 1_000 }, () =>
    new Promise<void>((resolve) => {
      const socket = connect(path);
      sockets.push(socket);
      socket.on("connect", () => resolve());
      socket.on("error", () => resolve());
      socket.on("close", () => closed += 1);
      socket.resume();
    }));
  await Promise.all(opened);
  for (let tries = 0; tries < 600 && closed < 1_000 - adminConnectionsMax; tries++) {
    await new Promise((done) => setTimeout(done, 50));
  }
  assert.ok(closed >= 1_000 - adminConnectionsMax, `${1_000 - closed} stay`);
  for (const socket of sockets) socket.destroy();
  await new Promise((done) => setTimeout(done, 200));
  assert.equal(asked, []);
});

(process.getuid?.() === 0 ? test : () => {})("another user cannot connect", () => {
  const script = `require("node:net").connect(${JSON.stringify(path)})
    .on("error", ({ code }) => { console.log(code); }).on("connect", () => { console.log("connected"); process.exit(); })`;
  const program = process.execPath;
  const args = "Deno" in globalThis ? ["eval", "--ext=cjs", script] : ["-e", script];
  const { stdout, stderr } = spawnSync("setpriv", [
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    program,
    ...args,
  ], {
    encoding: "utf8",
    env: { ...process.env, HOME: "/", DENO_DIR: "/tmp/hypha-admin-deno" },
    timeout: 60_000,
  });
  assert.match(stdout, /^EACCES/, stderr);
});

test.run();
