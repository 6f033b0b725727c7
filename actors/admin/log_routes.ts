/**
 * The routes of the admin socket that are about a program's log.
 *
 * @module
 */
import { Schema } from "effect";
import { type LogLevel, logLevels } from "../runtime/ports.ts";
import type { AdminEvents } from "./event_stream.ts";
import { jsonRoute } from "./json_route.ts";
import type { AdminRoutes } from "./serve_admin.ts";

/** The log of a program. */
export interface OperatedLog extends Pick<AdminEvents, "follow"> {
  readonly setLevel: (level: LogLevel) => void;
}

const levelBody = Schema.Struct({ level: Schema.Literals(logLevels) });

/** All of them. */
export function logRoutes({ follow, setLevel }: OperatedLog): AdminRoutes {
  return {
    "GET /events": { summary: "Follow the log from level info on, or from its own level where that is lower.", follow },
    "POST /log-level": jsonRoute({ summary: "Change the level of the log.", body: levelBody }, ({ level }) => {
      setLevel(level);
      return { status: 200, body: { level } };
    }),
  };
}
