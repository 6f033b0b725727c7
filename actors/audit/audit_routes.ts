/**
 * The routes of the admin socket that are about a program's audit log.
 *
 * @module
 */
import { Schema } from "effect";
import { jsonRoute } from "../admin/json_route.ts";
import type { AdminRoutes } from "../admin/serve_admin.ts";
import { searchLog } from "./search_log.ts";

const text = Schema.optionalKey(Schema.String.check(Schema.isMaxLength(256)));
const instant = Schema.optionalKey(
  Schema.String.check(Schema.isPattern(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/)),
);
const count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }));
const searchBody = Schema.Struct({
  text,
  type: text,
  since: instant,
  until: instant,
  after: Schema.optionalKey(Schema.Struct({ segment: count, offset: count })),
});

/** All of them. `dir`: the log's folder. */
export function auditRoutes(dir: string): AdminRoutes {
  let isSearching = false;
  return {
    "POST /audit/search": jsonRoute(
      { summary: "Find records of the audit log, the newest first.", body: searchBody },
      async (query) => {
        if (isSearching) return { status: 503, body: { code: "busy", error: "another search is running: try again" } };
        isSearching = true;
        try {
          return { status: 200, body: await searchLog(dir, query) };
        } catch (error) {
          const detail = error instanceof Error ? error.message : String(error);
          return {
            status: 500,
            body: { code: "log-unreadable", error: `Cannot read the audit log in ${dir}: ${detail}` },
          };
        } finally {
          isSearching = false;
        }
      },
    ),
  };
}
