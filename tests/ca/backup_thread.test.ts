/** A backup has its name when it is whole: a CA that is killed leaves none that looks like one. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Register } from "../../actors/ca/register.ts";

const test = suite("a backup of a CA's register");
let folder = "";
let register: Register;
const file = (name: string) => join(folder, name);
const bytes = 8_000_000;
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-backup-"));
  register = Result.getOrThrow(Register.create(file("ca.db")));
  const sql = "INSERT INTO facts VALUES ('a', hex(zeroblob(?)))";
  Result.getOrThrow(register.transaction((rows) => Result.succeed(rows.change(sql, bytes / 2))));
});
test.after.each(() => {
  register.close();
  rmSync(folder, { recursive: true });
});

/** What a reader finds under a backup's name. */
function found(name: string): unknown {
  const copy = new DatabaseSync(file(name), { readOnly: true });
  try {
    return copy.prepare("SELECT length(value) AS bytes FROM facts").get()?.["bytes"];
  } finally {
    copy.close();
  }
}

const parts = () => readdirSync(folder).filter((name) => name.includes(".part"));

test("bug: the file of a backup was there before its content, and stayed torn when the CA was killed", async () => {
  const done = register.backup(file("backup.db"));
  assert.not(existsSync(file("backup.db")));
  while (!existsSync(file("backup.db"))) await setImmediate();
  assert.is(found("backup.db"), bytes);
  Result.getOrThrow(await done);
  assert.equal(parts(), []);
});

test("what a CA that was killed has left is replaced", async () => {
  for (const name of ["backup.db.part", "backup.db.part-journal"]) writeFileSync(file(name), "torn");
  Result.getOrThrow(await register.backup(file("backup.db")));
  assert.is(found("backup.db"), bytes);
  assert.equal(parts(), []);
});

test("a file that is there stays as it is", async () => {
  writeFileSync(file("backup.db"), "another");
  const failed = await register.backup(file("backup.db"));
  assert.match(Result.isFailure(failed) ? failed.failure.message : "", /EEXIST|exists/);
  assert.equal(parts(), []);
});

test.run();
