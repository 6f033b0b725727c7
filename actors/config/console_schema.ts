/**
 * The schema of `[console]`: where a node serves its console, a page for its operator.
 *
 * @module
 */
import { Schema } from "effect";
import { optional, readable } from "./notes.ts";
import { isLoopback, type ListenPlace, readListenPlace } from "./telemetry_values.ts";

/** `[console]`. */
export const consoleTable = Schema.Struct({
  listen: optional(
    readable(readConsolePlace, {
      expected: "a loopback address and a port, or a port alone",
      example: '"127.0.0.1:9465"',
      description: "Where the console is served (docs/console.md), on this machine only; nowhere without it.",
    }),
  ),
});

/** Reads where a console listens: as {@linkcode readListenPlace}, and reachable from this machine only. */
export function readConsolePlace(text: string): ListenPlace | string {
  const place = readListenPlace(text);
  if (typeof place === "string" || isLoopback(place)) return place;
  return "is not a loopback address; other machines reach the console through ssh -L";
}

/** Gives the decoded table its type. */
export function typeConsole({ listen }: (typeof consoleTable)["Type"]): ListenPlace | undefined {
  const place = listen === undefined ? undefined : readConsolePlace(listen);
  return typeof place === "string" ? undefined : place;
}
