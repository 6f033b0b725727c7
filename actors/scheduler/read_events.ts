/**
 * Reads the log that a training's journal keeps.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { LoadError } from "../files/load_error.ts";
import { readWhole } from "../files/read_whole.ts";
import { eventsBytesMax } from "./journal.ts";
import { eventsPath, olderEventsPath } from "./training_record.ts";

/** A file may be over its limit by the lines of one batch. */
const fileBytesMax = 8 * eventsBytesMax;

/** The lines that are kept, the oldest first. Torn lines are left out. Fails where a file that is there cannot be read. */
export function readEvents(
  folder: string,
  worker: string | undefined,
): Effect.Effect<readonly Readonly<Record<string, unknown>>[], LoadError, FileSystem> {
  return Effect.gen(function* () {
    const events: Readonly<Record<string, unknown>>[] = [];
    for (const path of [olderEventsPath(folder), eventsPath(folder)]) {
      const read = readWhole({ path, what: "log of a training", bytesMax: fileBytesMax, key: "state_dir" });
      const { text } = yield* Effect.catch(
        read,
        (error) => error.problem === "missing" ? Effect.succeed({ text: "" }) : Effect.fail(error),
      );
      for (const line of text.split("\n")) {
        const event = parseLine(line);
        if (event !== undefined && (worker === undefined || event["name"] === worker)) events.push(event);
      }
    }
    return events;
  });
}

function parseLine(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value as Readonly<Record<string, unknown>> : undefined;
  } catch {
    return undefined;
  }
}
