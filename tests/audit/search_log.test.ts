/** Finding records of a log that is being written: the newest first, in parts, within bounds. */
import { appendFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminRoute } from "../../actors/admin/serve_admin.ts";
import { auditRoutes } from "../../actors/audit/audit_routes.ts";
import { foundMax, type FoundRecords, searchLog } from "../../actors/audit/search_log.ts";
import { logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("searchLog()");
const seqs = ({ records }: FoundRecords) => records.map(({ seq }) => seq);

/** Runs a test with a log of some refusals. */
const withLog = (count: number, work: (dir: string) => Promise<void>) =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, count);
    await writeCovered(log, new Date(logStart + 3_600_000));
    await work(dir);
  });

test("finds by text in any case, type and time; the newest comes first", () =>
  withLog(50, async (dir) => {
    assert.equal((await searchLog(dir, { text: "WORKER-49" })).records.map(({ peer }) => peer), ["worker-49"]);
    const found = await searchLog(dir, {});
    assert.ok(found.records.length >= 50);
    assert.equal(seqs(found), seqs(found).toSorted((one, other) => other - one));
    assert.equal(await searchLog(dir, { type: "job" }), { records: [] });
    const some = await searchLog(dir, {
      ...{ type: "refusal", since: "2026-01-31T12:00:10Z", until: "2026-01-31T12:00:12Z" },
    });
    assert.equal(some.records.map(({ peer }) => peer), ["worker-11", "worker-10"]);
  }));

test("an answer has at most 100 records, and the next one goes on behind it, to the beginning", () =>
  withLog(250, async (dir) => {
    const all: number[] = [];
    let answers = 0;
    let found = await searchLog(dir, { type: "refusal" });
    for (;;) {
      answers += 1;
      assert.ok(found.records.length <= foundMax);
      all.push(...seqs(found));
      if (found.after === undefined) break;
      found = await searchLog(dir, { type: "refusal", after: found.after });
    }
    assert.is(answers, 3);
    assert.is(all.length, 250);
    assert.equal(all, all.toSorted((one, other) => other - one));
  }));

test("bug: a search went on behind `since`, to the log's beginning", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    const dayMs = 86_400_000;
    for (const day of [0, 1]) {
      for (let index = 0; index < 5_000; index++) {
        const detail = { index, filling: "x".repeat(3_900) };
        log.record({ type: "refusal", outcome: "unknown-issuer", detail }, new Date(logStart + day * dayMs + index));
      }
      await log.write();
    }
    const lastRecords = new Date(logStart + dayMs + 4_950).toISOString();
    for (const query of [{ text: "nothing" }, { type: "job" }]) {
      assert.equal(await searchLog(dir, { ...query, since: lastRecords }), { records: [] });
    }
    assert.is((await searchLog(dir, { since: lastRecords })).after, undefined);
    assert.is((await searchLog(dir, { since: lastRecords })).records.length, 50);
    const secondDay = { text: "nothing", since: new Date(logStart + dayMs).toISOString() };
    const { after } = await searchLog(dir, secondDay);
    assert.is(after?.segment, 5_001, "a search reads a part of the day");
    assert.equal(await searchLog(dir, { ...secondDay, after: after! }), { records: [] });
  }));

test("a line that is being written, or is no record, is left out", () =>
  withLog(3, async (dir) => {
    const [file = ""] = readdirSync(dir).filter((name) => name.endsWith(".jsonl"));
    appendFileSync(join(dir, file), `no record\n{"detail":{"half":`);
    assert.is((await searchLog(dir, { type: "refusal" })).records.length, 3);
  }));

test("a file without a line feed, and a mark that lies, end the search", () =>
  withLog(3, async (dir) => {
    appendFileSync(join(dir, "audit-000000000099.jsonl"), "x".repeat(600_000));
    assert.is((await searchLog(dir, { type: "refusal" })).records.length, 3);
    assert.equal(await searchLog(dir, { after: { segment: 0, offset: 0 } }), { records: [] });
    assert.is((await searchLog(dir, { type: "refusal", after: { segment: 0, offset: 2 ** 50 } })).records.length, 3);
  }));

test("the route refuses what is no query, says when the log cannot be read, and searches once at a time", () =>
  withLog(3, async (dir) => {
    const ask = (folder: string, body: unknown) => (auditRoutes(folder)["POST /audit/search"] as AdminRoute)(body);
    const bodies = [{ since: "yesterday" }, { text: "x".repeat(257) }, { after: { segment: -1, offset: 0 } }, {
      dir: "/",
    }];
    for (const body of bodies) assert.is((await ask(dir, body)).status, 400, JSON.stringify(body));
    const { status, body } = await ask(join(dir, "none"), {});
    assert.equal([status, (body as { code: string }).code], [500, "log-unreadable"]);
    const route = auditRoutes(dir)["POST /audit/search"] as AdminRoute;
    const both = await Promise.all([route({}), route({})]);
    assert.equal(both.map((answer) => answer.status), [200, 503]);
  }));

test.run();
