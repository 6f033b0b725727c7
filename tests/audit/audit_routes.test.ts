import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AdminRoute } from "../../actors/admin/serve_admin.ts";
import { auditRoutes } from "../../actors/audit/audit_routes.ts";
import { logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";

const test = suite("auditRoutes()");

/** Runs a test with the route of a log of three refusals. */
const withRoute = (work: (search: AdminRoute, dir: string) => Promise<void>) =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 3);
    await writeCovered(log, new Date(logStart));
    log.close();
    await work(auditRoutes(dir)["POST /audit/search"] as AdminRoute, dir);
  });

const refused = [
  { text: "x".repeat(257) },
  { type: "x".repeat(257) },
  { since: "yesterday" },
  { until: "2026-01-31T12:00:00" },
  { since: " 2026-01-31T12:00:00Z" },
  { until: "2026-01-31T12:00:00Z " },
  { after: { segment: -1, offset: 0 } },
  { after: { segment: 0, offset: 0.5 } },
  { after: { segment: 0 } },
  { dir: "/" },
];
const taken = [
  {},
  { text: "x".repeat(256), type: "x".repeat(256) },
  { since: "2026-01-31T12:00:00Z", until: "2026-01-31T12:00:00.123Z" },
  { after: { segment: 0, offset: 0 } },
  { after: { segment: Number.MAX_SAFE_INTEGER, offset: Number.MAX_SAFE_INTEGER } },
];

test("a search takes texts of 256 characters, times in UTC and places of the log, and no other fields", () =>
  withRoute(async (search) => {
    for (const body of refused) assert.is((await search(body)).status, 400, JSON.stringify(body));
    for (const body of taken) assert.is((await search(body)).status, 200, JSON.stringify(body));
  }));

test("an answer has the records that were found", () =>
  withRoute(async (search) => {
    const { status, body } = await search({ text: "worker-2" });
    assert.is(status, 200);
    assert.equal((body as { records: { peer: string }[] }).records.map(({ peer }) => peer), ["worker-2"]);
  }));

test("there is one search at a time, and another one after it", () =>
  withRoute(async (search) => {
    const [first, second] = await Promise.all([search({}), search({})]);
    assert.is(first?.status, 200);
    assert.equal([second?.status, (second?.body as { code: string }).code], [503, "busy"]);
    assert.is((await search({})).status, 200);
  }));

test("a log that cannot be read is an error with its cause, and does not end the searches", () =>
  withRoute(async (_, dir) => {
    const missing = join(dir, "missing");
    const search = auditRoutes(missing)["POST /audit/search"] as AdminRoute;
    for (let times = 0; times < 2; times++) {
      const { status, body } = await search({});
      const { code, error } = body as { code: string; error: string };
      assert.equal([status, code], [500, "log-unreadable"]);
      assert.match(error, new RegExp(`^Cannot read the audit log in ${missing}: ENOENT`));
    }
  }));

test.run();
