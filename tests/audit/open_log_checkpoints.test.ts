/** The start of a log with many checkpoints. */
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AuditKey, signCheckpoint } from "../../actors/audit/checkpoint.ts";
import type { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { readCheckpoints } from "../../actors/audit/read_checkpoints.ts";
import { readVerifierKey } from "../../actors/audit/verify_log.ts";
import { fileSigner } from "../../pki/issue/signer.ts";
import { logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("openLog() with many checkpoints");
const now = new Date(logStart);

/** Notes of a log that has made many, signed by its key; their roots are others than the log's. */
async function manyNotes(dir: string, count: number): Promise<string> {
  const signer = fileSigner(await readFile(join(dir, "audit.key"), "utf8"));
  const key = readVerifierKey(dir) as AuditKey;
  // All at once: Deno takes some milliseconds for each signature that is waited for.
  const notes = await Promise.all(
    Array.from(
      { length: count },
      (_, nth) => signCheckpoint({ origin: key.name, size: nth + 1, root: new Uint8Array(32) }, key, signer),
    ),
  );
  return notes.map((note) => `${note}\n`).join("");
}

for (
  const torn of ["", "acme", "acme.example/audit\n5001\nAAAA\n\n", "acme.example/audit\n5001\nAAAA\n\n\u2014 acme"]
) {
  test(`bug: each start verified every checkpoint that the log ever had (behind them ${JSON.stringify(torn)})`, () =>
    withLogFolder(async (dir) => {
      const count = 5_000;
      const log = await openTestLog(dir);
      recordRefusals(log, count);
      await writeCovered(log, now);
      log.close();
      const path = join(dir, "audit.checkpoints");
      const before = await manyNotes(dir, count) + await readFile(path, "utf8");
      await writeFile(path, before + torn);
      const begun = performance.now();
      readCheckpoints(path, readVerifierKey(dir) as AuditKey);
      const read = performance.now();
      const again = await openTestLog(dir);
      const [allMs, tookMs] = [read - begun, performance.now() - read];
      assert.is(again.newest?.size, count + 1);
      assert.is(await readFile(path, "utf8"), before);
      await writeCovered(again, now);
      again.close();
      const after = await readFile(path, "utf8");
      assert.ok(after.startsWith(`${before}acme.example/audit/gateway/gateway-01\n${count + 2}\n`));
      assert.ok(tookMs < allMs / 4, `${tookMs} ms; all take ${allMs} ms`);
      if (torn !== "") return;
      await rm(join(dir, "audit.edge"));
      const error = await openTestLog(dir).catch((error: unknown) => error);
      assert.is((error as LogUnusable).problem, "damaged", "without the state of the newest all are verified");
    }));
}

test.run();
