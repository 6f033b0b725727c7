// Files that jobs share: by digest, whole or not at all, bounded, and never a wrong content.
import { createHash, randomUUID } from "node:crypto";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type DigestCache, openDigestCache, sweepDigestCache } from "../../actors/files/digest_cache.ts";
import { FreeSpace } from "../../actors/files/free_space.ts";
import { runOf, temporary } from "../support/job_world.ts";
import { ordinaryUser } from "../support/ordinary_user.ts";
import { asRoot } from "../support/prerequisites.ts";

const digestOf = (text: string) => createHash("sha256").update(text).digest("hex");
const bytesOf = (text: string) => new TextEncoder().encode(text);

const test = suite("openDigestCache()");

function makeCache(bytesMax = 100) {
  const place = temporary();
  const path = join(place.path, "cache");
  let now = 1_000_000, names = 0;
  const cache = openDigestCache({ path, bytesMax, uuid: () => `name-${++names}`, now: () => now += 1_000 });
  return { cache, path, remove: place.remove, entries: () => readdirSync(path).toSorted() };
}

/** Writes an entry in two pieces. */
function store(cache: DigestCache, text: string, as = digestOf(text), commits = true): Promise<void> {
  return runOf(Effect.scoped(Effect.gen(function* () {
    const writer = yield* cache.begin(as, text.length);
    if (writer === undefined) return;
    yield* writer.write(bytesOf(text.slice(0, 3)));
    yield* writer.write(bytesOf(text.slice(3)));
    if (commits) yield* writer.commit;
  })));
}

function load(cache: DigestCache, sha256: string): Promise<string | undefined> {
  return runOf(Effect.scoped(Effect.flatMap(cache.find(sha256), (file) =>
    Effect.promise(async () => {
      if (file === undefined) return undefined;
      let text = "";
      for (;;) {
        const piece = await file.pieces.next();
        if (piece.done === true) return text;
        text += new TextDecoder().decode(piece.value);
      }
    }))));
}

test("gives what was stored, by its digest", async () => {
  const { cache, path, remove } = makeCache();
  assert.is(await load(cache, digestOf("weights")), undefined);
  await store(cache, "weights");
  assert.is(await load(cache, digestOf("weights")), "weights");
  assert.is(statSync(join(path, digestOf("weights"))).mode & 0o777, 0o600);
  assert.is(statSync(path).mode & 0o777, 0o700);
  await runOf(cache.drop(digestOf("weights")));
  assert.is(await load(cache, digestOf("weights")), undefined);
  remove();
});

test("stores nothing under a digest that the content has not", async () => {
  const { cache, entries, remove } = makeCache();
  await store(cache, "poison", digestOf("weights"));
  assert.equal(entries(), []);
  remove();
});

test("stores nothing that broke off, and leaves no piece of it", async () => {
  const { cache, entries, remove } = makeCache();
  await store(cache, "weights", digestOf("weights"), false);
  assert.equal(entries(), []);
  remove();
});

test("the entries that were not used for longest make room", async () => {
  const { cache, entries, remove } = makeCache(25);
  const [first, second, third] = ["1234567890", "abcdefghij", "ABCDEFGHIJ"];
  await store(cache, first);
  await store(cache, second);
  await load(cache, digestOf(first));
  await store(cache, third);
  assert.equal(entries(), [digestOf(first), digestOf(third)].toSorted());
  await store(cache, "x".repeat(26));
  assert.equal(entries(), [digestOf(first), digestOf(third)].toSorted(), "one that is too large removes none");
  await store(cache, "y".repeat(25));
  assert.equal(entries(), [digestOf("y".repeat(25))]);
  remove();
});

test("follows no link, opens no directory, and takes no name but a digest", async () => {
  const { cache, path, remove } = makeCache();
  await store(cache, "weights");
  const [link, directory] = [digestOf("a"), digestOf("b")];
  symlinkSync("/etc/passwd", join(path, link));
  mkdirSync(join(path, directory));
  assert.is(await load(cache, link), undefined);
  assert.is(await load(cache, directory), undefined);
  assert.throws(() => Effect.runSync(Effect.scoped(cache.begin("../escape", 1))), /it is no SHA-256/);
  remove();
});

test("a cache that cannot be written has nothing, and fails no one", async () => {
  const place = temporary();
  const path = join(place.path, "file");
  writeFileSync(path, "");
  const cache = openDigestCache({ path, bytesMax: 10, uuid: () => "n", now: () => 0 });
  await store(cache, "weights");
  assert.is(await load(cache, digestOf("weights")), undefined);
  sweepDigestCache(path, 10);
  place.remove();
});

test("bug: entries in the making had no bound: each is announced, and one that finds no room is not begun", async () => {
  const { cache, path, entries, remove } = makeCache(100);
  const begun = (name: string, sizeBytes: number, freeBytes = 1_000) =>
    Effect.map(
      Effect.provideService(cache.begin(digestOf(name), sizeBytes), FreeSpace, () => Effect.succeed(freeBytes)),
      (writer) => writer !== undefined,
    );
  assert.is(await runOf(Effect.scoped(begun("little is free", 50, 99))), false);
  const seen = await runOf(Effect.scoped(Effect.gen(function* () {
    return [
      yield* begun("over the bound", 101),
      yield* begun("no size", Number.NaN),
      yield* begun("weights", 60, 120),
      yield* begun("weights", 60),
      yield* begun("over it with what is being made", 41),
      yield* begun("other", 40),
      readdirSync(path).length,
    ];
  })));
  assert.equal(seen, [false, false, true, false, false, true, 2]);
  assert.equal(entries(), []);
  assert.is(await runOf(Effect.scoped(begun("weights", 60))), true, "its place is free again");
  remove();
});

test("bug: an entry that turned out to be unwanted kept its bytes until the fetch ended", async () => {
  const { cache, entries, remove } = makeCache(100);
  await runOf(Effect.scoped(Effect.gen(function* () {
    const writer = yield* cache.begin(digestOf("weights"), 7);
    yield* writer!.write(bytesOf("weights"));
    assert.is(entries().length, 1);
    yield* writer!.write(bytesOf("+"));
    assert.equal(entries(), [], "more than was announced");
    yield* writer!.write(bytesOf("+"));
    yield* writer!.commit;
  })));
  assert.equal(entries(), []);
  remove();
});

test("a sweep removes what killed writers left, and keeps entries", async () => {
  const { cache, path, entries, remove } = makeCache();
  await store(cache, "weights");
  writeFileSync(join(path, `.${randomUUID()}`), "half");
  sweepDigestCache(path, 100);
  assert.equal(entries(), [digestOf("weights")]);
  remove();
});

test("bug: a bound that is lower than before, or 0, freed nothing at the next start", async () => {
  const { cache, path, entries, remove } = makeCache();
  const [first, second, third] = ["1234567890", "abcdefghij", "ABCDEFGHIJ"];
  for (const text of [first, second, third]) await store(cache, text);
  await load(cache, digestOf(first));
  sweepDigestCache(path, 25);
  assert.equal(entries(), [digestOf(first), digestOf(third)].toSorted());
  sweepDigestCache(path, 0);
  assert.equal(entries(), []);
  remove();
});

test("bug: a sweep removed every file in work_dir/cache that is no entry, and ended at the first folder", async () => {
  const { cache, path, entries, remove } = makeCache();
  await store(cache, "weights");
  await store(cache, "older");
  mkdirSync(join(path, ".a-folder"));
  mkdirSync(join(path, `.${randomUUID()}`));
  mkdirSync(join(path, digestOf("a folder")));
  symlinkSync("/no/such", join(path, digestOf("a link")));
  for (const name of ["notes.txt", ".notes", `.${randomUUID()}`]) writeFileSync(join(path, name), "x");
  sweepDigestCache(path, 0);
  const left = entries();
  assert.ok(["notes.txt", ".notes", ".a-folder"].every((name) => left.includes(name)), left.join());
  assert.is(left.includes(digestOf("weights")) || left.includes(digestOf("older")), false);
  assert.is(left.filter((name) => name.startsWith(".")).length, 3, "what a killed writer left is removed");
  remove();
});

test("bug: a sweep emptied the folder that work_dir/cache led to; a cache that others can write is not used", async () => {
  const { cache, path, entries, remove } = makeCache();
  await store(cache, "weights");
  const kept = [digestOf("weights"), `.${randomUUID()}`].toSorted();
  writeFileSync(join(path, kept.find((name) => name.startsWith("."))!), "x");
  const isUnused = async (expected: RegExp) => {
    assert.match(sweepDigestCache(path, 0) ?? "", expected);
    await store(cache, "other");
    assert.equal(entries(), kept);
    assert.is(await load(cache, digestOf("weights")), undefined);
  };
  chmodSync(path, 0o720);
  await isUnused(/no directory that only this user can write/);
  chmodSync(path, 0o700);
  renameSync(path, `${path}-elsewhere`);
  symlinkSync(`${path}-elsewhere`, path);
  await isUnused(/no directory that only this user can write/);
  remove();
});

asRoot(test)("bug: a worker of root used and emptied another user's work_dir/cache", async () => {
  const { cache, path, entries, remove } = makeCache();
  await store(cache, "weights");
  chownSync(path, ordinaryUser, ordinaryUser);
  assert.ok(sweepDigestCache(path, 0) !== undefined);
  await store(cache, "other");
  assert.equal(entries(), [digestOf("weights")]);
  chownSync(path, 0, 0);
  assert.is(sweepDigestCache(path, 0), undefined);
  assert.equal(entries(), []);
  remove();
});

test.run();
