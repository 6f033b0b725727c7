import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { closeSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openWorkDirectory, type WorkDirectory } from "../../actors/files/contained_files.ts";
import { attempt } from "../../actors/files/file_operation.ts";
import { parsePath, type PathError } from "../../actors/files/path_refused.ts";
import { failureOf, runOf, temporary } from "../support/job_world.ts";
import { needing } from "../support/prerequisites.ts";

const node = resolve(dirname(fileURLToPath(import.meta.url)), "../../node_modules/.bin/node");
const long = "n".repeat(255);

// ── What the text alone says ────────────────────────────────────────────────────────────────────────────────────────

const lexical = suite("parsePath()");
const hostile: [path: string, code: string][] = [
  ["", "empty"],
  ["/", "absolute"],
  ["/etc/passwd", "absolute"],
  ["//etc/passwd", "absolute"],
  ["/tmp/../etc/passwd", "absolute"],
  ["/proc/self/root/etc/passwd", "absolute"],
  ["..", "traversal"],
  ["../x", "traversal"],
  ["../../etc/passwd", "traversal"],
  ["a/..", "traversal"],
  ["a/../b", "traversal"],
  ["a/../../b", "traversal"],
  ["a/b/../../../c", "traversal"],
  ["./../x", "traversal"],
  ["a/./../x", "traversal"],
  ["..//x", "traversal"],
  ["../", "traversal"],
  [".", "empty"],
  ["./a", "empty"],
  ["a/.", "empty"],
  ["a/./b", "empty"],
  ["a//b", "empty"],
  ["a/", "empty"],
  ["a/b/", "empty"],
  ["\0", "nul"],
  ["a\0", "nul"],
  ["a\0/../b", "nul"],
  ["a/b\0.bin", "nul"],
  [`${long}n`, "too-long"],
  [`a/${long}n/b`, "too-long"],
  ["é".repeat(128), "too-long"],
  [`${`${long}/`.repeat(16)}a`, "too-long"],
  [`${"a/".repeat(32)}a`, "too-deep"],
];
for (const [path, code] of hostile) {
  lexical(`refuses ${JSON.stringify(path.slice(0, 40))} as ${code}`, () => {
    const parsed = parsePath(path);
    assert.is(Result.isFailure(parsed) && parsed.failure.code, code);
  });
}
const honest = [
  "a",
  "a/b.bin",
  "...",
  "..a",
  "a..",
  ".a",
  "a b",
  "a\\..\\b",
  long,
  "é".repeat(127),
  "a/".repeat(31) + "a",
];
for (const path of honest) {
  lexical(`takes ${JSON.stringify(path.slice(0, 40))}`, () => assert.ok(Result.isSuccess(parsePath(path))));
}
lexical.run();

// ── What the file system says ───────────────────────────────────────────────────────────────────────────────────────

const walk = suite("openWorkDirectory()");
const place = temporary();
const root = join(place.path, "job"), outside = join(place.path, "outside");
walk.before(() => {
  for (const path of [root, outside, join(root, "d"), join(outside, "e")]) mkdirSync(path);
  writeFileSync(join(outside, "secret"), "secret");
  writeFileSync(join(outside, "e", "secret"), "secret");
  writeFileSync(join(root, "d", "plain"), "plain");
  symlinkSync("/etc/passwd", join(root, "passwd"));
  symlinkSync("../outside", join(root, "out"));
  symlinkSync("d", join(root, "within"));
  symlinkSync("d/plain", join(root, "plain-link"));
  symlinkSync("/proc/self/root", join(root, "magic"));
  symlinkSync("nowhere", join(root, "dangling"));
  symlinkSync("loop", join(root, "loop"));
  linkSync(join(outside, "secret"), join(root, "hard"));
  spawnSync("mkfifo", [join(root, "fifo")]);
});
walk.after(() => place.remove());

const use = <A, E>(act: (directory: WorkDirectory) => Effect.Effect<A, E, import("effect").Scope.Scope>) =>
  Effect.scoped(Effect.flatMap(openWorkDirectory(root), act)) as Effect.Effect<A, E | PathError>;
const codeOf = async (effect: Effect.Effect<unknown, PathError>) => (await failureOf(effect)).code;

const unreadable: [path: string, code: string][] = [
  ["passwd", "symlink"],
  ["plain-link", "symlink"],
  ["dangling", "symlink"],
  ["loop", "symlink"],
  ["magic", "symlink"],
  ["out", "symlink"],
  ["out/secret", "not-a-directory"],
  ["out/e/secret", "not-a-directory"],
  ["within/plain", "not-a-directory"],
  ["magic/etc/passwd", "not-a-directory"],
  ["d/plain/x", "not-a-directory"],
  ["d", "not-a-file"],
  ["fifo", "not-a-file"],
  ["hard", "hard-link"],
  ["missing", "not-found"],
  ["d/missing", "not-found"],
  ["../outside/secret", "traversal"],
  [join(root, "d/plain"), "absolute"],
];
for (const [path, code] of unreadable) {
  const on = path === "fifo" ? needing(walk, "mkfifo") : walk;
  on(`does not read ${path.startsWith("/") ? "an absolute path inside" : path}: ${code}`, async () => {
    assert.is(await codeOf(use((directory) => directory.openForReading(path))), code);
  });
}

walk(
  "bug: a directory that was closed was used by its descriptor's number, which another directory had by then",
  async () => {
    const closed = await runOf(use(Effect.succeed));
    const next = join(place.path, "next");
    mkdirSync(next);
    await runOf(Effect.scoped(Effect.gen(function* () {
      const directory = yield* openWorkDirectory(next);
      writeFileSync(join(next, "kept"), "kept");
      assert.is(yield* Effect.promise(() => codeOf(closed.remove("kept"))), "not-found");
      assert.is(yield* Effect.promise(() => codeOf(Effect.scoped(closed.create("new")))), "not-found");
      assert.equal([...directory.walk()].map(({ name }) => name), ["kept"]);
    })));
  },
);

walk("reads behind 4 GiB", async () => {
  const sizeBytes = 4 * 1024 ** 3 + 10;
  writeFileSync(join(root, "large"), "");
  truncateSync(join(root, "large"), sizeBytes);
  const fd = openSync(join(root, "large"), "r+");
  // (Deno ignores the position of a text.)
  writeSync(fd, new TextEncoder().encode("end"), 0, 3, sizeBytes - 3);
  closeSync(fd);
  const into = new Uint8Array(8);
  const count = await runOf(use((directory) =>
    Effect.flatMap(directory.openForReading("large"), (file) => {
      assert.is(file.sizeBytes, sizeBytes);
      return file.read(into, sizeBytes - 4);
    })
  ));
  rmSync(join(root, "large"));
  assert.equal([count, [...into.subarray(0, 4)]], [4, [0, 101, 110, 100]]);
});

walk("does not read a socket", async () => {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(join(root, "socket"), listening));
  try {
    assert.is(await codeOf(use((directory) => directory.openForReading("socket"))), "not-a-file");
  } finally {
    await new Promise((closed) => server.close(closed));
  }
});

walk("does not read a device", async () => {
  const made = spawnSync("mknod", [join(root, "zero"), "c", "1", "5"]);
  // Only root makes devices: elsewhere an executor cannot either.
  if (made.status !== 0) return assert.not.ok(existsSync(join(root, "zero")));
  const code = await codeOf(use((directory) => directory.openForReading("zero")));
  // A `nodev` mount refuses the open itself.
  assert.ok(["not-a-file", "EACCES"].includes(code), code);
});

walk("reads a plain file, also while it is being replaced", async () => {
  const text = await runOf(use((directory) =>
    Effect.gen(function* () {
      const file = yield* directory.openForReading("d/plain");
      yield* Effect.scoped(Effect.gen(function* () {
        const next = yield* directory.create("d/plain");
        yield* next.write(new TextEncoder().encode("other"));
        yield* next.commit;
      }));
      const into = new Uint8Array(16);
      const count = yield* file.read(into, 0);
      assert.is(yield* file.read(into.subarray(count), count), 0);
      return new TextDecoder().decode(into.subarray(0, count));
    })
  ));
  assert.is(text, "plain");
  assert.is(readFileSync(join(root, "d/plain"), "utf8"), "other");
});

const write = (path: string, text: string) =>
  use((directory) =>
    Effect.gen(function* () {
      const file = yield* directory.create(path);
      yield* file.write(new TextEncoder().encode(text));
      yield* file.commit;
    })
  );

walk("writes a file of mode 0600 in directories of mode 0700", async () => {
  await runOf(write("new/deep/file", "text"));
  assert.is(readFileSync(join(root, "new/deep/file"), "utf8"), "text");
  assert.is(statSync(join(root, "new/deep/file")).mode & 0o777, 0o600);
  assert.is(statSync(join(root, "new/deep")).mode & 0o777, 0o700);
});

walk("writes nothing through a link, hard or symbolic", async () => {
  await runOf(write("hard", "replaced"));
  assert.is(readFileSync(join(outside, "secret"), "utf8"), "secret");
  symlinkSync("../outside/secret", join(root, "soft"));
  await runOf(write("soft", "replaced"));
  assert.is(readFileSync(join(outside, "secret"), "utf8"), "secret");
  assert.ok(lstatSync(join(root, "soft")).isFile());
  assert.is(await codeOf(write("out/new", "x")), "not-a-directory");
  assert.is(await codeOf(use((directory) => directory.makeDirectory("out/new"))), "not-a-directory");
  assert.is(await codeOf(use((directory) => directory.remove("out/secret"))), "not-a-directory");
  assert.equal(readdirSync(outside).sort(), ["e", "secret"]);
});

walk("leaves nothing of a file that was not committed", async () => {
  await runOf(
    use((directory) =>
      Effect.scoped(Effect.flatMap(directory.create("half/file"), (file) => file.write(new Uint8Array(10))))
    ),
  );
  assert.equal(readdirSync(join(root, "half")), []);
});

walk("removes a link, not what it leads to", async () => {
  await runOf(use((directory) => directory.remove("within")));
  assert.not.ok(existsSync(join(root, "within")));
  assert.ok(existsSync(join(root, "d/plain")));
});

walk("gives a short socket address", async () => {
  const address = await runOf(use((directory) => Effect.sync(() => directory.socketAddress("b.sock"))));
  assert.is(address, join(root, "b.sock"));
  const deep = join(place.path, "x".repeat(120));
  mkdirSync(deep);
  const far = await runOf(
    Effect.scoped(Effect.map(openWorkDirectory(deep), (directory) => directory.socketAddress("b.sock"))),
  );
  assert.match(far, /^\/proc\/self\/fd\/\d+\/b\.sock$/);
});

walk("does not open a link as a work directory, and closes every descriptor", async () => {
  symlinkSync(root, join(place.path, "job-link"));
  assert.is(
    await codeOf(Effect.scoped(openWorkDirectory(join(place.path, "job-link")))),
    process.platform === "linux" ? "not-a-directory" : "symlink",
  );
  const open = () => readdirSync("/proc/self/fd").length;
  const attemptAll = async () => {
    for (const [path] of unreadable.filter(([path]) => path !== "hard")) {
      await failureOf(use((directory) => directory.openForReading(path)));
    }
    for (const path of ["out/new", "d/plain/x"]) await failureOf(write(path, "x"));
    await runOf(write("again", "x"));
  };
  await attemptAll();
  const before = open();
  for (let round = 0; round < 20; round++) await attemptAll();
  // One lost a round would be twenty more. The runtime's own threads come and go: some of theirs may be opened or closed by now.
  assert.ok(open() < before + 10, `${open()} descriptors, ${before} before`);
});

// A process swaps `swap/d` between a directory and a link to outside, as fast as it can. What opens by name is fooled
// (that is the control: without it the test would prove nothing), the walk is not.
needing(walk, "node")("is not fooled by a directory that is swapped for a link, where opening by name is", async () => {
  const arena = join(root, "swap");
  mkdirSync(join(arena, "d/e"), { recursive: true });
  mkdirSync(join(outside, "d/e"), { recursive: true });
  writeFileSync(join(arena, "d/e/f"), "inside");
  writeFileSync(join(outside, "d/e/f"), "outside");
  symlinkSync(join(outside, "d"), join(arena, "link"));
  const swapper = spawn(node, [
    "-e",
    // The walk that writes may make a directory `d` where there is none for an instant: it is in the way, then.
    `const { renameSync, rmSync } = require("node:fs");
     process.chdir(${JSON.stringify(arena)});
     console.log("on");
     const clear = () => { try { rmSync("d", { recursive: true, force: true }); } catch {} };
     const move = (from, to) => {
       for (;;) try { return renameSync(from, to); } catch { clear(); }
     };
     for (;;) { move("d", "x"); move("link", "d"); move("d", "link"); move("x", "d"); }`,
  ], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await new Promise((on) => swapper.stdout.once("data", on));
    const seen = await runOf(use((directory) =>
      Effect.gen(function* () {
        const seen = { byName: 0, byWalk: 0, inside: 0, writtenOutside: 0 };
        const until = Date.now() + 20_000;
        for (let tries = 0; tries < 4_000 || seen.byName === 0 || seen.inside === 0; tries++) {
          if (Date.now() > until) break;
          if (readByName(join(arena, "d/e/f")) === "outside") seen.byName += 1;
          const read = yield* Effect.result(Effect.scoped(Effect.gen(function* () {
            const file = yield* directory.openForReading("swap/d/e/f");
            const into = new Uint8Array(16);
            return new TextDecoder().decode(into.subarray(0, yield* file.read(into, 0)));
          })));
          if (Result.isSuccess(read)) seen[read.success === "inside" ? "inside" : "byWalk"] += 1;
          if (tries % 8 === 0) {
            yield* Effect.ignore(
              Effect.scoped(Effect.flatMap(directory.create("swap/d/e/new"), (file) => file.commit)),
            );
          }
        }
        if (existsSync(join(outside, "d/e/new"))) seen.writtenOutside += 1;
        return seen;
      })
    ));
    assert.ok(seen.byName > 0, `the control was never fooled: ${JSON.stringify(seen)}`);
    assert.ok(seen.inside > 0, `the walk never got there: ${JSON.stringify(seen)}`);
    assert.is(seen.byWalk, 0);
    assert.is(seen.writtenOutside, 0);
    assert.equal(readdirSync(join(outside, "d/e")), ["f"]);
  } finally {
    swapper.kill("SIGKILL");
  }
});

walk("bug: the reason of a failure had the file's name, which may have a secret", async () => {
  const place = temporary();
  mkdirSync(join(place.path, "it's?token=SECRET"));
  const error = await failureOf(attempt("a", () => mkdirSync(join(place.path, "it's?token=SECRET"))));
  assert.is(error.detail, "EEXIST: file already exists");
  place.remove();
});

function readByName(path: string): string | undefined {
  try {
    const fd = openSync(path, "r");
    const into = new Uint8Array(16);
    const count = readSync(fd, into, 0, 16, 0);
    closeSync(fd);
    return new TextDecoder().decode(into.subarray(0, count));
  } catch {
    return undefined;
  }
}

walk.run();
