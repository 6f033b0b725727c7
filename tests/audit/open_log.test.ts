/** What a log is opened with: its files. */
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readLine } from "../../actors/audit/audit_record.ts";
import { type AuditKey, formatAuditKey, originOf, parseAuditKey } from "../../actors/audit/checkpoint.ts";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { type LogOptions, openLog } from "../../actors/audit/open_log.ts";
import { removeOld } from "../../actors/audit/remove_old.ts";
import { edgePath, keyPath, lockPath, segmentFile, verifierKeyPath } from "../../actors/audit/segments.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../actors/audit/verify_log.ts";
import { fileSigner } from "../../pki/issue/signer.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import {
  logNode,
  logStart,
  openIn,
  openTestLog,
  recordRefusals,
  removeRecords,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";

const test = suite("openLog()");
const dayMs = 86_400_000;

const verified = (dir: string) => verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;

const messageOf = (dir: string) =>
  openTestLog(dir).then((log) => {
    log.close();
    return "opened";
  }, (error: LogUnusable) => error.message);

for (const path of [keyPath, verifierKeyPath]) {
  test(
    `bug: a full disk or a crash at the first start left an empty ${path("")} for good`,
    () =>
      withLogFolder(async (dir) => {
        writeFileSync(path(dir), "");
        const log = await openTestLog(dir);
        await writeCovered(log, new Date(logStart));
        log.close();
        assert.is(verified(dir).covered, 1);
        writeFileSync(path(dir), "");
        assert.match(await messageOf(dir), path(""), "with records the file is not replaced");
        assert.is(readFileSync(path(dir), "utf8"), "");
      }),
  );

  test(`bug: a part of ${path("")} could be written`, () =>
    withLogFolder(async (dir) => {
      mkdirSync(`${path(dir)}.tmp`);
      assert.is.not(await messageOf(dir), "opened");
      assert.is(existsSync(path(dir)), false);
      rmSync(`${path(dir)}.tmp`, { recursive: true });
      assert.is(await messageOf(dir), "opened");
    }));
}

test(
  "bug: a log whose newest checkpoint is in a removed segment was called damaged",
  () =>
    withLogFolder(async (dir) => {
      const log = await openTestLog(dir);
      recordRefusals(log, 3);
      await writeCovered(log, new Date(logStart));
      for (const day of [1, 40, 41]) recordRefusals(log, 3, logStart + day * dayMs);
      await log.write();
      log.close();
      assert.is(await removeOld(dir, { now: new Date(logStart + 41 * dayMs), keepMs: 30 * dayMs }), 1);
      assert.is(existsSync(join(dir, segmentFile(0))), false);
      assert.is(await messageOf(dir), "opened");
      assert.is(verified(dir).records, 16);
    }),
);

test(
  "a log without some of its records is not continued, and the line says what to do",
  () =>
    withLogFolder(async (dir) => {
      const log = await openTestLog(dir);
      for (const day of [0, 1, 2]) recordRefusals(log, 3, logStart + day * dayMs);
      await log.write();
      log.close();
      const text = readFileSync(join(dir, segmentFile(4)));
      await removeRecords(dir, 4);
      const message = await messageOf(dir);
      for (const part of ["restore audit-000000000004.jsonl from a copy", "audit verify", "move the folder away"]) {
        assert.match(message, part);
      }
      writeFileSync(join(dir, segmentFile(4)), text);
      assert.is(await messageOf(dir), "opened");
    }),
);

const at = new Date(logStart);
const file = "audit-000000000000.jsonl";
const failureOf = (options: Partial<LogOptions> & { readonly dir: string }) =>
  openLog({ node: logNode, ...options }, at).then((opened) => {
    opened.release();
    return ["opened", ""];
  }, (error: unknown) => {
    assert.instance(error, LogUnusable);
    return [(error as LogUnusable).problem, (error as LogUnusable).message];
  });
const problemOf = async (dir: string) => (await failureOf({ dir }))[0];
const recordsIn = (dir: string, name: string = file) =>
  readFileSync(join(dir, name), "utf8").trimEnd().split("\n").map((line) => readLine(line)!);

/** Makes a log of so many refusals, with a checkpoint after each `every` of them. */
async function makeLog(dir: string, count: number, every: number = count): Promise<void> {
  const log = await openTestLog(dir);
  for (let done = 0; done < count; done += every) {
    recordRefusals(log, Math.min(every, count - done));
    await writeCovered(log, at);
  }
  log.close();
}

test("makes the folder and its key files for their owner alone, and holds nothing open but the lock", () =>
  withLogFolder(async (root) => {
    const dir = join(root, "some", "audit");
    const opened = await openLog({ dir, node: logNode }, at);
    const modes = (names: readonly string[]) => names.map((name) => statSync(join(dir, name)).mode & 0o777);
    assert.equal(modes([".", ...readdirSync(dir).toSorted()]), [0o700, 0o600, 0o600, 0o600]);
    assert.equal(openIn(dir) ?? ["audit.lock"], ["audit.lock"]);
    opened.release();
    assert.equal(openIn(dir) ?? [], []);
  }));

test("each log begins with 16 random bytes of its own", () =>
  withLogFolder(async (root) => {
    const begun = await Promise.all(["a", "b"].map(async (name) => {
      const opened = await openLog({ dir: join(root, name), node: logNode }, at);
      opened.release();
      const [chunk] = opened.chain.peek();
      return String(readLine(`${chunk?.lines[0]}`)?.detail["random"]);
    }));
    for (const random of begun) assert.match(random, /^[0-9a-f]{32}$/);
    assert.is.not(begun[0], begun[1]);
  }));

test("a signer that is given signs, whatever key is named", () =>
  withLogFolder(async (dir) => {
    const signer = fileSigner((await makeSigningKey()).keyPem);
    const opened = await openLog({ dir, node: logNode, signer, key: "pkcs11:token=missing" }, at);
    assert.is(opened.signer, signer);
    opened.release();
    assert.is(existsSync(keyPath(dir)), false);
  }));

test("a log keeps the name that it began with, whatever node opens it", () =>
  withLogFolder(async (dir) => {
    await makeLog(dir, 1);
    const opened = await openLog({ dir, node: "spiffe://acme.example/gateway/other" }, at);
    opened.release();
    assert.is(opened.key.name, originOf(logNode));
  }));

test("a lock that cannot be taken is not called another process's", () =>
  withLogFolder(async (dir) => {
    mkdirSync(lockPath(dir));
    const [problem, message] = await failureOf({ dir });
    assert.is(problem, "unreadable");
    assert.is(/another process/.test(message!), false);
  }));

test("a key file that cannot be read is left where it is", () =>
  withLogFolder(async (dir) => {
    for (const path of [keyPath(dir), verifierKeyPath(dir)]) {
      symlinkSync(path, path); // it leads to itself
      const [problem, message] = await failureOf({ dir });
      assert.equal([problem, /: ELOOP/.test(message!)], ["unreadable", true], message);
      assert.ok(lstatSync(path).isSymbolicLink());
      rmSync(path);
    }
  }));

test("what a crash left of a key file does not keep the log shut", () =>
  withLogFolder(async (dir) => {
    for (const path of [keyPath, verifierKeyPath]) writeFileSync(`${path(dir)}.tmp`, "a part");
    assert.is(await problemOf(dir), "opened");
    assert.equal(readdirSync(dir).toSorted(), ["audit.key", "audit.lock", "audit.vkey"]);
    assert.is(await problemOf(dir), "opened", "with the keys that it made");
  }));

test("a key of another kind, another key and one that is none are refused", () =>
  withLogFolder(async (dir) => {
    writeFileSync(keyPath(dir), (await makeSigningKey("ecdsa-p256")).keyPem);
    assert.match((await failureOf({ dir })).join(), /^key,.*is no Ed25519 key/);
    writeFileSync(keyPath(dir), "nothing");
    assert.match((await failureOf({ dir })).join(), /^unreadable,.*audit\.key: /);
    rmSync(keyPath(dir));
    await makeLog(dir, 1);
    const own = readFileSync(verifierKeyPath(dir), "utf8");
    const texts = [["\n", "audit.vkey is empty. Restore it"], ["nothing", "is not of the key"], [
      formatAuditKey({ name: parseAuditKey(own.trim())!.name, raw: new Uint8Array(32) }),
      "is not of the key",
    ]];
    for (const [text, reason] of texts) {
      writeFileSync(verifierKeyPath(dir), text!);
      const [problem, message] = await failureOf({ dir });
      assert.equal([problem, message!.includes(reason!)], ["key", true], message);
    }
    writeFileSync(verifierKeyPath(dir), own);
    assert.is(await problemOf(dir), "opened");
  }));

for (const kept of ["records", "checkpoints"] as const) {
  test(`an empty key is not replaced where the log has ${kept} alone`, () =>
    withLogFolder(async (dir) => {
      await makeLog(dir, 1);
      rmSync(join(dir, kept === "records" ? "audit.checkpoints" : file));
      for (const path of [keyPath(dir), verifierKeyPath(dir)]) {
        const text = readFileSync(path);
        writeFileSync(path, "");
        assert.is.not(await problemOf(dir), "opened");
        assert.is(readFileSync(path, "utf8"), "");
        writeFileSync(path, text);
      }
    }));
}

test("an empty key is replaced where the files of the log are empty", () =>
  withLogFolder(async (dir) => {
    for (const name of ["audit.key", "audit.vkey", "audit.checkpoints", file]) writeFileSync(join(dir, name), "");
    assert.is(await problemOf(dir), "opened");
    assert.ok(statSync(keyPath(dir)).size > 0);
  }));

/** Changes a letter of a record, in its place. */
function changeRecord(dir: string, what: string, name: string = file): void {
  const path = join(dir, name);
  const text = readFileSync(path, "utf8");
  assert.match(text, `"${what}"`);
  writeFileSync(path, text.replace(`"${what}"`, `"${what.replace(/^./, "W")}"`));
}

test("with the state of the newest checkpoint a start reads only what is behind it", () =>
  withLogFolder(async (dir) => {
    await makeLog(dir, 10);
    const log = await openTestLog(dir);
    recordRefusals(log, 12);
    await log.write();
    log.close();
    changeRecord(dir, "worker-3");
    assert.is(await problemOf(dir), "opened", "`audit verify` reads all");
    changeRecord(dir, "worker-10");
    assert.is(await problemOf(dir), "damaged", "behind the checkpoint");
  }));

test("with the leaf hashes of older segments too", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    for (const day of [0, 1]) recordRefusals(log, 3, logStart + day * dayMs);
    await writeCovered(log, at);
    log.close();
    await removeRecords(dir, 0);
    changeRecord(dir, "worker-1", segmentFile(4));
    assert.is(await problemOf(dir), "opened");
    rmSync(edgePath(dir));
    assert.is(await problemOf(dir), "damaged");
  }));

test("without checkpoints, or without the state of the newest, a start reads all", () =>
  withLogFolder(async (dir) => {
    await makeLog(dir, 30, 10);
    const sizeOfNewest = async () => {
      const opened = await openLog({ dir, node: logNode }, at);
      opened.release();
      assert.is(opened.noteBytes, statSync(join(dir, "audit.checkpoints"), { throwIfNoEntry: false })?.size ?? 0);
      return [opened.newest?.size, opened.chain.size];
    };
    assert.equal(await sizeOfNewest(), [31, 32]);
    const edge = readFileSync(edgePath(dir));
    rmSync(edgePath(dir));
    assert.equal(await sizeOfNewest(), [31, 32]);
    writeFileSync(edgePath(dir), edge);
    rmSync(join(dir, "audit.checkpoints"));
    assert.equal(await sizeOfNewest(), [undefined, 32]);
    changeRecord(dir, "worker-3");
    assert.is(await problemOf(dir), "damaged");
  }));

test("records that were cut off before the newest checkpoint are missed without its state too", () =>
  withLogFolder(async (dir) => {
    await makeLog(dir, 10);
    rmSync(edgePath(dir));
    const path = join(dir, file);
    writeFileSync(path, `${readFileSync(path, "utf8").split("\n").slice(0, 5).join("\n")}\n`);
    const [problem, message] = await failureOf({ dir });
    assert.equal([problem, message!.includes("fewer records than its checkpoint of 11")], ["damaged", true], message);
  }));

test("a log says that it goes on, and what it moved aside, each time", () =>
  withLogFolder(async (dir) => {
    await makeLog(dir, 1);
    const parts = ["a".repeat(5_000), "b"];
    for (const part of parts) {
      appendFileSync(join(dir, file), part);
      const log = await openTestLog(dir, logStart + 1_000);
      await log.write();
      log.close();
    }
    const torn = "audit-000000000000.torn";
    assert.is(readFileSync(join(dir, torn), "utf8"), parts.map((part) => `${part}\n`).join(""));
    assert.is(statSync(join(dir, torn)).mode & 0o777, 0o600);
    const added = recordsIn(dir).slice(2);
    assert.equal(added.map(({ type, outcome, detail }) => [type, outcome, detail["bytes"], detail["file"]]), [
      ["log.continued", "done", undefined, undefined],
      ["log.recovered", "done", 5_000, torn],
      ["log.continued", "done", undefined, undefined],
      ["log.recovered", "done", 1, torn],
    ]);
    assert.is(added[0]?.ts, new Date(logStart + 1_000).toISOString());
  }));

test("the file with the incomplete line is named, once", () =>
  withLogFolder(async (dir) => {
    await makeLog(dir, 1);
    appendFileSync(join(dir, file), "a part");
    for (const torn of ["audit-000000000000.torn", undefined]) {
      const opened = await openLog({ dir, node: logNode }, at);
      opened.release();
      assert.is(opened.torn, torn);
    }
  }));

test.run();
