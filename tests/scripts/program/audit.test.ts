/** The audit log of a program: what ends before it is open. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditKey } from "../../../actors/audit/checkpoint.ts";
import { readVerifierKey, type VerifiedLog, verifyLog } from "../../../actors/audit/verify_log.ts";
import type { Report } from "../../../actors/runtime/ports.ts";
import { makePorts } from "../../../actors/runtime/real_ports.ts";
import { keepAudit, type KeptAudit } from "../../../scripts/program/audit.ts";
import { logNode, withLogFolder } from "../../support/audit_logs.ts";

const test = suite("keepAudit()");
const event = { type: "identity.refused", outcome: "failed" };

/** A log, and the lines about it after its end. */
function keepIn(dir: string) {
  const reports: Report[] = [];
  const ports = makePorts((report) => void reports.push(report));
  const audit: KeptAudit = keepAudit({ dir, keepMs: 86_400_000, now: Date.now });
  return {
    audit,
    begin: () => audit.begin(() => logNode, ports),
    end: async () => {
      await audit.end(ports);
      await ports.dispose();
      return reports.filter((report) => report.event === "audit.unwritten");
    },
  };
}

test("bug: a program that ended while its log was being opened lost its records", () =>
  withLogFolder(async (dir) => {
    const { audit, begin, end } = keepIn(dir);
    audit.inbox.record(event);
    void begin();
    assert.equal(await end(), []);
    const { records, covered } = verifyLog(dir, readVerifierKey(dir) as AuditKey) as VerifiedLog;
    assert.equal([records, covered], [2, 2]);
  }));

test("bug: records of a program that ended before it began its log were dropped without a line", () =>
  withLogFolder(async (dir) => {
    const { audit, end } = keepIn(dir);
    audit.inbox.record(event);
    const lines = await end();
    assert.equal(lines.map(({ level, message, fields }) => [level, message, fields]), [[
      "error",
      `Audit log ${dir} was not open when the program ended; records lost: 1`,
      { dir, failures: 0, lost: 1 },
    ]]);
    assert.equal(await keepIn(dir).end(), [], "nothing was recorded");
  }));

test("a log that cannot be opened does not hold up the end; one line reports the loss", () =>
  withLogFolder(async (dir) => {
    await writeFile(join(dir, "audit.key"), "no key");
    const { audit, begin, end } = keepIn(dir);
    audit.inbox.record(event);
    void begin();
    const lines = await end();
    assert.equal(lines.map(({ fields }) => [fields?.["failures"], fields?.["lost"]]), [[1, 0], [1, 1]]);
  }));

test.run();
