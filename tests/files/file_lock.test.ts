/** A lock that cannot be taken: the error names its file, and the command that helps. */
import { once } from "node:events";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { Effect, type Scope } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { serveAdmin } from "../../actors/admin/serve_admin.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { isLocked, lockFile } from "../../actors/files/file_lock.ts";
import { lockWorkDir } from "../../actors/job/cell/lock.ts";
import { ordinaryUser } from "../support/ordinary_user.ts";
import { asRoot } from "../support/prerequisites.ts";
import { unprivileged } from "../support/unprivileged.ts";

const test = suite("file lock");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "hypha-lock-"));
});
test.after.each(() => rmSync(folder, { recursive: true }));

/** The message of a program of an ordinary user that cannot lock. */
const said = async (lock: () => Promise<unknown>): Promise<string> =>
  await unprivileged(() => lock().then(() => "locked", ({ message }: Error) => message));
const scoped = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.runPromise(Effect.mapError(Effect.scoped(effect), (error) => error as Error));

/** Locks of programs in their folders. */
const programs: Readonly<Record<string, (folder: string) => Promise<unknown>>> = {
  "admin.sock-lock": (dir) => scoped(serveAdmin(join(dir, "admin.sock"), {})),
  "audit.lock": (dir) => openLog({ dir, node: "a" }, new Date()).then(({ release }) => release()),
  "worker.lock": (dir) => scoped(lockWorkDir(dir)),
};

for (const [name, lock] of Object.entries(programs)) {
  asRoot(test)(`bug: the hint to ${name} that root's program left did not name what helps`, async () => {
    const path = join(folder, name);
    writeFileSync(path, "", { mode: 0o600 });
    chownSync(folder, ordinaryUser, ordinaryUser);
    const refusal = await said(() => lock(folder));
    assert.match(refusal, `${path}`);
    assert.match(refusal, `: another user made it: sudo chown -R ${ordinaryUser} ${folder}`);
    chownSync(path, ordinaryUser, ordinaryUser);
    assert.not.match(await said(() => lock(folder)), "sudo", "the command helps");
  });

  asRoot(test)(`bug: the hint to ${name} in root's folder was of no use`, async () => {
    const own = join(folder, "own");
    mkdirSync(own, { mode: 0o700 });
    chownSync(folder, ordinaryUser, ordinaryUser);
    const refusal = await said(() => lock(own));
    assert.match(refusal, `: give its folder to this program's user: sudo chown -R USER ${own}`);
    chownSync(own, ordinaryUser, ordinaryUser);
    assert.not.match(await said(() => lock(own)), "sudo", "the command helps");
  });
}

asRoot(test)("bug: a lock that root took kept out the folder's user from then on", async () => {
  const path = join(folder, "lock");
  chownSync(folder, ordinaryUser, ordinaryUser);
  lockFile(path).close();
  await unprivileged(() => Promise.resolve(lockFile(path).close()));
});

test("bug: of two that took a lock at the same moment, both could be refused", async () => {
  const path = join(folder, "lock");
  lockFile(path).close();
  // The other one has read the file, as SQLite does before it locks, and then gives way.
  const other = new Worker(
    `const { DatabaseSync } = require("node:sqlite");
    const { parentPort, workerData } = require("node:worker_threads");
    const reader = new DatabaseSync(workerData);
    reader.exec("BEGIN; SELECT * FROM sqlite_schema");
    parentPort.postMessage("read");
    setTimeout(() => reader.close(), 20);`,
    { eval: true, workerData: path },
  );
  await once(other, "message");
  lockFile(path).close();
  await other.terminate();
});

test("a lock that another one keeps is refused", () => {
  const path = join(folder, "lock");
  const kept = lockFile(path);
  assert.throws(() => lockFile(path), isLocked);
  kept.close();
  lockFile(path).close();
});

test("a lock that is no file is named", () => {
  const path = join(folder, "lock");
  mkdirSync(path);
  assert.throws(() => lockFile(path), (error: Error) => error.message.startsWith(`lock ${path} cannot be taken: `));
});

test.run();
