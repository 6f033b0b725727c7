import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HeldLog } from "../../actors/witness/held_head.ts";
import { headFileBytesMax, headFiles, headPath } from "../../actors/witness/head_files.ts";
import { knownForks, knownForksMax } from "../../actors/witness/known_forks.ts";
import { forkedLog, headOf } from "../support/held_heads.ts";

const test = suite("headFiles()");

test("states outlast the process; files that hold none are passed over", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const dir = join(folder, "witness");
  const store = headFiles(dir);
  try {
    assert.equal(await store.read(), []);
    const head = headOf("a/audit/ca/one", 3);
    const plain: HeldLog = { head, isShared: true, at: 1_767_225_600_000, fork: undefined };
    const forked = forkedLog("a/audit/worker/two", 5_000);
    await store.write(plain);
    await store.write({ ...forked, fork: undefined });
    await store.write(forked);
    const read = await store.read();
    assert.is(read.length, 2);
    for (const each of [plain, forked]) {
      const found = read.find(({ head: { origin } }) => origin === each.head.origin);
      assert.equal([found?.head.note, found?.isShared, found?.at], [each.head.note, each.isShared, each.at]);
      assert.equal(found?.fork?.other.note, each.fork?.other.note);
    }
    for (const name of await readdir(dir)) assert.is((await stat(join(dir, name))).mode & 0o077, 0, name);
    await writeFile(headPath(dir, "a/audit/ca/one"), JSON.stringify({ head: "nothing" }));
    await writeFile(headPath(dir, "a/audit/worker/large"), " ".repeat(headFileBytesMax + 1));
    assert.equal((await store.read()).map(({ head: { origin } }) => origin), ["a/audit/worker/two"]);
    await store.remove("a/audit/worker/two");
    assert.equal(await store.read(), []);
  } finally {
    await chmod(folder, 0o700);
    await rm(folder, { recursive: true });
  }
});

test("forks are shown with both checkpoints and their file, the newest first, a hundred at most", () => {
  const plain: HeldLog = { head: headOf("a/audit/ca/one", 3), isShared: true, at: 1_000, fork: undefined };
  const forked = forkedLog("a/audit/worker/two", 5_000);
  const { held, other } = forked.fork!;
  const shown = knownForks(
    [plain, forked, { ...forked, fork: { ...forked.fork!, at: 6_000 } }],
    (origin) => `/${origin}`,
  );
  assert.equal(shown.map(({ at }) => at), ["1970-01-01T00:00:06.000Z", "1970-01-01T00:00:05.000Z"]);
  assert.equal(shown[1], {
    origin: "a/audit/worker/two",
    problem: "split",
    at: "1970-01-01T00:00:05.000Z",
    from: "gateway-02 12D3KooW",
    held: held.note,
    other: other.note,
    file: "/a/audit/worker/two",
  });
  assert.is(knownForksMax, 100);
  assert.is(knownForks(Array.from({ length: 101 }, () => forked), () => "").length, 100);
});

test.run();
