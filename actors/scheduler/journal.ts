/**
 * The journal of a submitted training: its log in `events.jsonl`, and what became of it in `state.json`. Survives the training's actor.
 *
 * ```
 *  resting ── journal.line, journal.standing ──▶ writing ──▶ resting
 *     ▲                                             │
 *     └──────────── after a while ── pausing ◀──────┘ the disk refuses
 *                or journal.standing
 * ```
 *
 * Lines that cannot be written are dropped and counted; what became of the training is written again. An operator's act is answered when
 * it is on disk, or could not be written.
 *
 * @module
 */
import { type ActorRefFrom, assign, enqueueActions, setup } from "xstate";
import { Effect } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import { writeWhole } from "../files/write_whole.ts";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { type ReportedLine, type TrainingWatch, watchLine } from "../training/watch.ts";
import { eventsPath, formatState, olderEventsPath, statePath, type TrainingStanding } from "./training_record.ts";

/** One of the two files of a log has at most so many bytes. */
export const eventsBytesMax = 1024 * 1024;
/** Lines that wait for the disk; one more is dropped. */
const linesMax = 1_000;
/** Longest line, in characters. */
const lineCharactersMax = 4_096;
/** What waits for the disk is written within this when the scheduler ends, in milliseconds. */
export const settleMs = 500;
/** Between two tries of a disk that refuses, in milliseconds. */
const againMs = 5_000;
/** An operator's act that is not on disk by then is answered as not kept, in milliseconds. */
const keptMs = 1_000;
/** The byte after each line. */
const newline = 0x0a;

/** Called once, with whether the standing, or a later one, is on disk. */
export type Kept = (isKept: boolean) => void;

/** The input of a journal. */
export interface JournalInput {
  readonly ports: Ports;
  readonly id: string;
  /** Nothing is written where undefined. */
  readonly folder: string | undefined;
  readonly standing: TrainingStanding;
  readonly watch: TrainingWatch;
  /** Whether the standing is on disk already. */
  readonly isKept: boolean;
}

export interface JournalContext extends JournalInput {
  /** Lines that are not on disk. */
  readonly lines: readonly string[];
  /** Lines that are being written. */
  readonly batch: readonly string[];
  /** Whether the standing is being written with them. */
  readonly keeps: boolean;
  /** Called when the standing that is being written is on disk, and when the next one is. */
  readonly keeping: readonly Kept[];
  readonly waiting: readonly Kept[];
  readonly dropped: number;
}

const written = fromEffect(
  "written",
  (
    { folder, batch, standing, watch, keeps }:
      & Omit<JournalInput, "id" | "isKept">
      & Pick<JournalContext, "batch" | "keeps">,
  ) =>
    Effect.gen(function* () {
      if (folder === undefined) return;
      if (batch.length > 0) yield* appendEvents(folder, batch);
      if (!keeps) return;
      const file = { path: statePath(folder), content: formatState(standing, watch), mode: 0o600 };
      yield* writeWhole([file], "replace");
    }),
);

/** Appends lines, not to a torn one; a file that is full becomes the older one. */
function appendEvents(folder: string, lines: readonly string[]) {
  return Effect.scoped(Effect.gen(function* () {
    const files = yield* FileSystem;
    const path = eventsPath(folder);
    const handle = yield* files.open(path, { flag: "a+", mode: 0o600 });
    const end = (yield* isTorn(handle)) ? "\n" : "";
    yield* handle.writeAll(new TextEncoder().encode(end + lines.join("")));
    const { size } = yield* handle.stat;
    if (Number(size) > eventsBytesMax) yield* files.rename(path, olderEventsPath(folder));
  }));
}

/** Whether a file ends within a line. */
function isTorn(file: File) {
  return Effect.gen(function* () {
    const { size } = yield* file.stat;
    if (Number(size) === 0) return false;
    const last = new Uint8Array(1);
    yield* file.read(last, { position: BigInt(size) - 1n });
    return last[0] !== newline;
  });
}

const actors = { written };

/** The events that a journal receives. */
export type JournalEvent =
  | ReportedLine & { readonly type: "journal.line" }
  | { readonly type: "journal.standing"; readonly standing: TrainingStanding; readonly kept?: Kept | undefined }
  | { readonly type: "journal.late"; readonly kept: Kept }
  | EventsOf<typeof actors>;

/** Whether a line is of interest later: all but the finest, and metrics. */
const isKeptLine = ({ level, event, fields }: ReportedLine["report"]): boolean =>
  level !== "debug" || (event === "round.metrics" && Object.keys(fields?.["metrics"] ?? {}).length > 0);

function textOf({ report: { level, event, message, fields }, name, at }: ReportedLine): string {
  const line = { at: new Date(at).toISOString(), level, event, message, ...(name === undefined ? {} : { name }) };
  const whole = JSON.stringify({ ...line, fields });
  return `${
    whole.length > lineCharactersMax ? JSON.stringify({ ...line, message: message.slice(0, 1_000) }) : whole
  }\n`;
}

/** The journal of one training. */
export const journalMachine = setup({
  types: { input: {} as JournalInput, context: {} as JournalContext, events: {} as JournalEvent },
  actors,
  guards: {
    hasWork: ({ context }) => context.folder !== undefined && (context.lines.length > 0 || !context.isKept),
  },
  actions: {
    takeLine: assign(({ context: { watch, lines, dropped, isKept, folder } }, line: ReportedLine) => {
      const isFull = lines.length >= linesMax;
      const isNew = folder !== undefined && isKeptLine(line.report);
      return {
        watch: watchLine(watch, line),
        lines: isNew && !isFull ? [...lines, textOf(line)] : lines,
        dropped: isNew && isFull ? dropped + 1 : dropped,
        isKept: isKept && line.report.event !== "round.finished",
      };
    }),
    takeStanding: enqueueActions(
      ({ context: { waiting }, enqueue }, { standing, kept }: Extract<JournalEvent, { type: "journal.standing" }>) => {
        enqueue.assign({ standing, isKept: false });
        if (kept === undefined) return;
        enqueue.assign({ waiting: [...waiting, kept] });
        enqueue.raise({ type: "journal.late", kept }, { delay: keptMs });
      },
    ),
    takeBatch: assign(({ context: { lines, isKept, waiting } }) => ({
      ...{ batch: lines, lines: [], keeps: !isKept, isKept: true },
      ...{ keeping: waiting, waiting: [] },
    })),
    noteWritten: enqueueActions(({ context: { keeping }, enqueue }) => {
      enqueue.assign({ keeping: [] });
      enqueue(() => keeping.forEach((kept) => kept(true)));
    }),
    noteLate: enqueueActions(({ context, enqueue }, { kept }: { readonly kept: Kept }) => {
      const without = (all: readonly Kept[]) => all.filter((each) => each !== kept);
      const [keeping, waiting] = [without(context.keeping), without(context.waiting)];
      if (keeping.length + waiting.length === context.keeping.length + context.waiting.length) return;
      enqueue.assign({ keeping, waiting });
      enqueue(() => kept(false));
    }),
    noteUnwritten: enqueueActions(({ context, enqueue }, { reason }: { readonly reason: string }) => {
      const unkept = [...context.keeping, ...context.waiting];
      const dropped = context.dropped + context.batch.length;
      enqueue.assign({ batch: [], isKept: false, dropped, keeping: [], waiting: [] });
      enqueue(() => unkept.forEach((kept) => kept(false)));
      enqueue(() =>
        context.ports.report({
          level: "warn",
          event: "journal.unwritten",
          message: `Cannot keep the log of training ${context.id}, tries again: ${reason}`,
          fields: { training: context.id, dropped },
        })
      );
    }),
  },
}).createMachine({
  id: "journal",
  context: ({ input }) => ({
    ...{ ...input, lines: [], batch: [], keeps: false, keeping: [], waiting: [], dropped: 0 },
  }),
  initial: "resting",
  on: {
    "journal.line": { actions: { type: "takeLine", params: ({ event }) => event } },
    "journal.standing": { actions: { type: "takeStanding", params: ({ event }) => event } },
    "journal.late": { actions: { type: "noteLate", params: ({ event }) => event } },
  },
  states: {
    resting: { always: { guard: "hasWork", target: "writing" } },
    writing: {
      entry: "takeBatch",
      invoke: {
        src: "written",
        input: ({ context: { ports, folder, batch, standing, watch, keeps } }) => ({
          ...{ ports, folder, batch, standing, watch, keeps },
        }),
      },
      on: {
        "effect.done.written": { target: "resting", actions: "noteWritten" },
        "effect.failed.written": {
          target: "pausing",
          actions: { type: "noteUnwritten", params: ({ event }) => ({ reason: event.error.message }) },
        },
      },
    },
    pausing: {
      on: {
        "journal.standing": { target: "resting", actions: { type: "takeStanding", params: ({ event }) => event } },
      },
      after: { [againMs]: "resting" },
    },
  },
});

/** A journal's actor. */
export type JournalRef = ActorRefFrom<typeof journalMachine>;
