import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyOf } from "../../actors/simulation/authority.ts";
import { KeptLog } from "../../actors/simulation/kept_log.ts";
import type { HeldLog, OpenedHead } from "../../actors/witness/held_head.ts";
import { headFileBytesMax, headFiles, headPath } from "../../actors/witness/head_files.ts";

const test = suite("headFiles()");

function headOf(origin: string, records: number): OpenedHead {
  const log = new KeptLog(origin, keyOf("files", "audit"));
  for (let index = 0; index < records; index++) log.append(`record ${index}`);
  log.cover();
  const { key, ...head } = log.newest()!;
  return { ...head, binding: { key, signature: Uint8Array.of(1), chain: [Uint8Array.of(2)] } };
}

test("states outlast the process; files that hold none are passed over", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  const dir = join(folder, "witness");
  const store = headFiles(dir);
  try {
    assert.equal(await store.read(), []);
    const head = headOf("a/audit/ca/one", 3);
    const plain: HeldLog = { head, isShared: true, at: 1_767_225_600_000, fork: undefined };
    const held = headOf("a/audit/worker/two", 4);
    const fork = {
      problem: "split",
      held,
      other: headOf("a/audit/worker/two", 5),
      at: 5_000,
      from: "gateway",
    } as const;
    const forked: HeldLog = { head: held, isShared: false, at: 1_000, fork };
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

test.run();
