/** The admin socket is its operator's alone, bounded, and one for each program. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askAdmin, uploadAdmin } from "../../actors/admin/ask_admin.ts";
import {
  type AdminAnswer,
  adminBodyBytesMax,
  adminConnectionsMax,
  adminHeadMs,
  type AdminRoutes,
  serveAdmin,
} from "../../actors/admin/serve_admin.ts";
import { until } from "../support/transports.ts";

const test = suite("admin socket");
let folder = "";
const path = () => join(folder, "admin.sock");
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-admin-"));
});
test.after.each(() => rmSync(folder, { recursive: true }));

const routes: AdminRoutes = {
  "GET /status": () => Promise.resolve({ status: 200, body: { ready: true } }),
  "POST /echo": (body) => Promise.resolve({ status: 201, body }),
  "POST /broken": () => Promise.reject(new Error("a mistake")),
  "POST /upload": {
    upload: async (body) => {
      let bytes = 0;
      for (let piece = await body.next(); piece.done !== true; piece = await body.next()) bytes += piece.value.length;
      return { status: 200, body: { bytes } };
    },
  },
  "POST /refuse": { upload: () => Promise.resolve({ status: 507, body: { error: "no room" } }) },
};

/** Uses the socket while it is served. */
function served<A, E>(use: Effect.Effect<A, E>): Promise<A> {
  return Effect.runPromise(Effect.scoped(Effect.andThen(serveAdmin(path(), routes), use)));
}

const failure = (effect: Effect.Effect<unknown, { readonly message: string }>) =>
  Effect.match(effect, { onSuccess: () => "done", onFailure: ({ message }) => message.replace(folder, "DIR") });

test("it answers, 0600, and is gone when its scope closes", async () => {
  const answers = await served(Effect.gen(function* () {
    assert.is(statSync(path()).mode & 0o777, 0o600);
    return [yield* askAdmin(path(), "GET /status"), yield* askAdmin(path(), "POST /echo", { a: ["ü"] })];
  }));
  assert.equal(answers, [{ status: 200, body: { ready: true } }, { status: 201, body: { a: ["ü"] } }]);
  assert.not(existsSync(path()));
  const away = await Effect.runPromise(Effect.flip(askAdmin(path(), "GET /status")));
  assert.is(away.problem, "not-running");
});

test("a path that no socket may have is refused with what helps", async () => {
  const long = join(folder, "x".repeat(100), "admin.sock");
  const refusal = await Effect.runPromise(failure(Effect.scoped(serveAdmin(long, routes))));
  assert.match(refusal, /its path has \d+ bytes, and one of a socket 107: choose a shorter state_dir/);
});

test("a body of any length is taken piece by piece; one that is refused early gets its answer too", async () => {
  const piecesOf = async function* (count: number) {
    for (let each = 0; each < count; each++) yield await Promise.resolve(new Uint8Array(65_536));
  };
  const broken = async function* () {
    yield* piecesOf(2);
    throw new Error("the file is gone");
  };
  const answers = await served(Effect.gen(function* () {
    return [
      yield* uploadAdmin(path(), "POST /upload", piecesOf(1_000)),
      yield* uploadAdmin(path(), "POST /refuse", piecesOf(1_000)),
      yield* Effect.match(uploadAdmin(path(), "POST /upload", broken()), {
        onSuccess: ({ status }) => status,
        onFailure: ({ problem }) => problem,
      }),
      yield* uploadAdmin(path(), "POST /echo", piecesOf(2)),
      yield* askAdmin(path(), "GET /status"),
    ];
  }));
  assert.equal(answers, [
    { status: 200, body: { bytes: 65_536_000 } },
    { status: 507, body: { error: "no room" } },
    "not-sent",
    { status: 413, body: { error: "the body is too long" } },
    { status: 200, body: { ready: true } },
  ]);
});

test("bug: where the pieces of a body broke off, the reason was that the socket hung up", async () => {
  const broken = async function* () {
    yield await Promise.resolve(new Uint8Array(65_536));
    throw new Error("the file is gone");
  };
  const error = await served(Effect.flip(uploadAdmin(path(), "POST /upload", broken())));
  assert.equal([error.problem, error.detail], ["not-sent", "the file is gone"]);
});

test("what it does not know, too long a body and a route that breaks end in answers, and it goes on", async () => {
  const long = "x".repeat(adminBodyBytesMax);
  const statuses = await served(Effect.gen(function* () {
    const status = (route: string, body?: unknown) =>
      Effect.match(askAdmin(path(), route, body), {
        onSuccess: (each) => each.status,
        onFailure: (each) => each.problem,
      });
    return [
      yield* status("GET /none"),
      yield* status("POST /status"),
      yield* status("GET /constructor"),
      yield* status("POST /echo", long),
      yield* status("POST /broken"),
      yield* status("GET /status"),
    ];
  }));
  assert.equal(statuses, [404, 404, 404, 413, "no-answer", 200]);
});

test("bug: a backup that took longer than a minute was written, and its command said that it failed", async () => {
  const late = (timeoutMs: number) =>
    Object.assign(
      () => new Promise<AdminAnswer>((answer) => setTimeout(() => answer({ status: 200, body: {} }), 300)),
      { timeoutMs },
    );
  const own: AdminRoutes = { "POST /short": late(20), "POST /long": late(10_000) };
  const answers = await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
    yield* serveAdmin(path(), own);
    const asked = (route: string, timeoutMs: number) => failure(askAdmin(path(), route, {}, timeoutMs));
    return [yield* asked("POST /short", 10_000), yield* asked("POST /long", 20), yield* asked("POST /long", 10_000)];
  })));
  assert.match(answers[0] ?? "", /Cannot ask/, "the socket's limit");
  assert.match(answers[1] ?? "", /takes too long/, "the command's limit");
  assert.is(answers[2], "done");
});

test("connections that ask nothing are gone in time, and leave the operator room", async () => {
  let closed = 0;
  const waited = await served(Effect.promise(async () => {
    const silent = Array.from({ length: 50 }, () => connect(path()));
    for (const socket of silent) {
      socket.on("error", () => {});
      socket.on("close", () => closed += 1);
    }
    const from = performance.now();
    while (closed < silent.length && performance.now() - from < 6 * adminHeadMs) {
      await new Promise((wake) => setTimeout(wake, 50));
    }
    const { status } = await Effect.runPromise(askAdmin(path(), "GET /status"));
    assert.is(status, 200);
    return performance.now() - from;
  }));
  assert.is(closed, 50);
  assert.ok(waited >= adminHeadMs - 100, `${waited} ms: as many as there may be could wait`);
});

test("a folder that others can enter, or none, is refused", async () => {
  chmodSync(folder, 0o750);
  const open = Effect.scoped(serveAdmin(path(), routes));
  assert.match(await Effect.runPromise(failure(open)), /chmod 700/);
  const none = Effect.scoped(serveAdmin(join(folder, "none", "admin.sock"), routes));
  assert.match(await Effect.runPromise(failure(none)), /does not exist/);
});

test("a second program does not take it over; a dead one's is replaced", async () => {
  const second = await served(failure(Effect.scoped(serveAdmin(path(), routes))));
  assert.match(second, /another process serves it/);
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(path(), resolve));
  dead.unref();
  const left = await served(Effect.succeed("never")).catch(() => "refused while it lives");
  assert.is(left, "refused while it lives");
  await new Promise((resolve) => dead.close(resolve));
  const { writeFileSync } = await import("node:fs");
  writeFileSync(path(), "");
  assert.is((await served(askAdmin(path(), "GET /status"))).status, 200);
});

test("bug: of two programs that started at once in one state directory both served, and each removed the other's socket", async () => {
  const one = Effect.match(serveAdmin(path(), routes), {
    onSuccess: () => "serves",
    onFailure: ({ isTaken, message }) => `${isTaken} ${message.replace(folder, "DIR")}`,
  });
  /** The first one ends when the second one has its answer. */
  const both = Effect.suspend(() => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = Effect.scoped(Effect.andThen(one, (said) => Effect.as(Effect.promise(() => promise), said)));
    return Effect.all([first, Effect.tap(one, () => Effect.sync(resolve))], { concurrency: "unbounded" });
  });
  for (let start = 0; start < 3; start++) {
    const [said, answers] = await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
      const said = yield* both;
      // The first one has ended; the second one serves on where it was the one.
      return [said, yield* failure(askAdmin(path(), "GET /status"))] as const;
    })));
    assert.equal(said.toSorted(), [
      "serves",
      "true Cannot open admin socket DIR/admin.sock: another process serves it",
    ]);
    assert.is(answers === "done", said[1] === "serves");
  }
});

test("bug: a fault of the socket or its folder was thrown, and ended the node", async () => {
  const loop = join(folder, "loop");
  symlinkSync("loop", loop);
  const opened = (path: string) => Effect.runPromise(failure(Effect.scoped(serveAdmin(path, routes))));
  assert.match(await opened(join(loop, "admin.sock")), "Cannot open admin socket DIR/loop/admin.sock: ELOOP");
  mkdirSync(path());
  assert.match(await opened(path()), /^Cannot open admin socket DIR\/admin\.sock: /);
  rmSync(path(), { recursive: true });
  await served(Effect.sync(() => {
    rmSync(path());
    mkdirSync(path());
  }));
  assert.ok(statSync(path()).isDirectory(), "the end of the program goes on all the same");
});

test("bug: a socket that a busy process listens on was taken for a dead one's, and replaced", async () => {
  const busy = createServer();
  await new Promise<void>((resolve) => busy.listen({ path: path(), backlog: 1 }, resolve));
  const before = statSync(path()).ino;
  const waiting = Array.from({ length: 8 }, () => connect(path()).on("error", () => {})); // EAGAIN from then on
  const refusal = await Effect.runPromise(failure(Effect.scoped(serveAdmin(path(), routes))));
  assert.match(refusal, /another process serves it|EAGAIN/);
  assert.is(statSync(path()).ino, before);
  for (const socket of waiting) socket.destroy();
  await new Promise((resolve) => busy.close(resolve));
  symlinkSync("admin.sock", path());
  assert.match(await Effect.runPromise(failure(Effect.scoped(serveAdmin(path(), routes)))), "ELOOP");
});

test("bug: a lock file that cannot be opened, such as one of another user, was not named", async () => {
  const lock = `${path()}-lock`;
  mkdirSync(lock);
  const refusal = await Effect.runPromise(failure(Effect.scoped(serveAdmin(path(), routes))));
  assert.match(refusal, `Cannot open admin socket DIR/admin.sock: lock ${lock} cannot be taken: `);
});

test("bug: an upload whose client left before its route read held a place of the socket for good", async () => {
  let began = 0;
  const slow: AdminRoutes = {
    ...routes,
    "POST /slow": {
      upload: async (body) => {
        began += 1;
        await new Promise((resolve) => setTimeout(resolve, 300));
        await body.next();
        return { status: 200, body: {} };
      },
    },
  };
  const use = Effect.gen(function* () {
    yield* Effect.promise(async () => {
      for (let nth = 0; nth < adminConnectionsMax; nth++) {
        const client = connect(path());
        client.write("POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        await until("its route", () => began > nth);
        client.destroy();
      }
      await new Promise((resolve) => setTimeout(resolve, 600));
    });
    return yield* askAdmin(path(), "GET /status");
  });
  const answer = await Effect.runPromise(Effect.scoped(Effect.andThen(serveAdmin(path(), slow), use)));
  assert.is(answer.status, 200);
});

test.run();
