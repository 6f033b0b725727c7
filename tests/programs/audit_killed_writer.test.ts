/**
 * A process that records 50,000 times a second is killed: all records up to the last one that was written are in the log, and an
 * incomplete line is moved aside and recorded. `HYPHA_AUDIT_KILLS=100` kills more often, and prints how old the last record was.
 */
import { spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditRecord } from "../../actors/audit/audit_record.ts";
import type { AuditKey } from "../../actors/audit/checkpoint.ts";
import { AuditFinding } from "../../actors/audit/finding.ts";
import { readVerifierKey, verifyLog } from "../../actors/audit/verify_log.ts";
import { segmentFile } from "../../actors/audit/segments.ts";
import { walkLog } from "../../actors/audit/walk_log.ts";
import { ownRuntime, scriptCommand } from "../../scripts/check/runtimes.ts";
import { openTestLog, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("a killed writer");
const script = fileURLToPath(new URL("../support/audit_writer.ts", import.meta.url));
const kills = Number(process.env["HYPHA_AUDIT_KILLS"] ?? 2);
const perMs = 55;

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 60_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error("nothing was written within a minute");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Starts a writer, kills it after a while, and reads what is there. */
async function killOne(dir: string, afterMs: number) {
  const [program, ...args] = scriptCommand(ownRuntime);
  const child = spawn(program, [...args, script, String(perMs), dir], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise<void>((resolve) => {
    child.stdout.on("data", (text: Uint8Array) => String(text).includes("writing") && resolve());
  });
  const begun = performance.now();
  const segment = join(dir, segmentFile(0));
  await until(() => (statSync(segment, { throwIfNoEntry: false })?.size ?? 0) > 100_000);
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  child.kill("SIGKILL");
  await new Promise((resolve) => child.on("exit", resolve));
  const seconds = (performance.now() - begun) / 1_000;
  const count = readFileSync(`${dir}.taken`);
  const [taken, at] = [count.readDoubleLE(0), count.readDoubleLE(8)];
  let last: AuditRecord | undefined;
  let written = 0;
  const walked = walkLog(dir, {
    onRecord: ({ record }) => {
      if (record.type === "refusal") [last, written] = [record, written + 1];
    },
  });
  if (walked instanceof AuditFinding) throw new Error(walked.message);
  assert.is(last?.detail["n"], written - 1, "no record is missing in between");
  return {
    taken,
    written,
    torn: walked.torn !== undefined,
    rate: taken / seconds,
    lostMs: at - Number(last?.detail["t"]),
  };
}

test("what it took is in the log but for the last moment, and the log is continued", async () => {
  const lost: number[] = [];
  let [torn, rate] = [0, Infinity];
  for (let kill = 0; kill < kills; kill++) {
    await withLogFolder(async (folder) => {
      const dir = join(folder, "audit");
      const killed = await killOne(dir, 150 + 37 * (kill % 20));
      lost.push(killed.lostMs);
      rate = Math.min(rate, killed.rate);
      if (killed.torn) torn += 1;
      const log = await openTestLog(dir, Date.now());
      await writeCovered(log, new Date());
      const verified = verifyLog(dir, readVerifierKey(dir) as AuditKey);
      assert.not.instance(verified, AuditFinding);
      const types: string[] = [];
      walkLog(dir, { onRecord: ({ record: { type } }) => types.push(type) });
      assert.is(types.includes("log.recovered"), killed.torn);
    });
  }
  const sorted = lost.toSorted((one, other) => one - other);
  if (kills > 2) {
    const figures = { kills, torn, rate: Math.round(rate), medianMs: sorted[kills >> 1], mostMs: sorted.at(-1) };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
  }
  assert.is(lost.length, kills);
});

test.run();
