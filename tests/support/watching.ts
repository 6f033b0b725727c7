/**
 * `status --watch` of a program whose state changes with each look.
 *
 * @module
 */
import { Effect } from "effect";
import { showStatus } from "../../scripts/program/watch_status.ts";

let looks = 0;
const look = Effect.sync(() => ({ looks: ++looks }));
await Effect.runPromise(showStatus({ look, asText: () => `look ${looks}`, format: "text", watch: true }));
