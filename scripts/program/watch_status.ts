/**
 * `status`, and `status --watch`, of every program.
 *
 * @module
 */
import process from "node:process";
import { Effect } from "effect";
import { wantsColour } from "./log.ts";
import { escapeUnsafe } from "./log_line.ts";
import { endWithReader, outputTaken } from "./shown_output.ts";

/** How lines for people are written. */
export interface StatusTextOptions {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Longest line, in characters. */
  readonly columns: number;
  readonly colour: boolean;
}

/** How a status is asked for and shown. */
export interface StatusShown<A, E, R> {
  readonly look: Effect.Effect<A, E, R>;
  readonly asText: (shown: A, options: StatusTextOptions) => string;
  readonly format: "text" | "json";
  /** Shows it again whenever it changed, without an end. */
  readonly watch: boolean;
}

/** Between two looks, in milliseconds. */
const watchMs = 1_000;
/** Columns of a terminal that does not report its size, as on a serial line. */
const columnsDefault = 120;

/** The most characters of a line. A terminal can change its size; what a file or another program reads is not cut. */
export function columnsOf({ isTTY = false, columns }: { readonly isTTY?: boolean; readonly columns?: number }): number {
  return isTTY ? columns || columnsDefault : Infinity;
}

/** Prints the status; with `watch`, whenever it changed. */
export function showStatus<A, E, R>({ look, asText, format, watch }: StatusShown<A, E, R>): Effect.Effect<void, E, R> {
  const { isTTY = false } = process.stdout;
  endWithReader();
  const colour = isTTY && wantsColour(process.env);
  return Effect.gen(function* () {
    let before = "";
    for (;;) {
      const shown = yield* look;
      const seen = JSON.stringify(shown, (key, value) => key === "ageSeconds" ? undefined : value);
      const clear = watch && isTTY && format === "text" ? "\x1b[H\x1b[2J" : "";
      // On a terminal the ages go on.
      if (seen !== before || clear !== "") {
        const text = format === "json"
          ? escapeUnsafe(JSON.stringify(shown))
          : `${clear}${asText(shown, { now: Date.now(), columns: columnsOf(process.stdout), colour })}`;
        process.stdout.write(`${text}\n`);
        yield* Effect.promise(outputTaken);
      }
      before = seen;
      if (!watch) return;
      yield* Effect.sleep(watchMs);
    }
  });
}
