/**
 * Writes the records of an open log in batches.
 *
 * ```
 * gathering ── 2 to 9 ms ──▶ writing ── log.written ──▶ resting | gathering
 *   ▲                           └── log.unwritten ──▶ failing ── 1 s ──▶ writing
 * resting ── audit.waiting ──▶ gathering
 * ```
 *
 * A record is on disk about ten milliseconds after it came: the faster the disk, the longer a batch is gathered.
 *
 * It is compiled: a busy gateway writes a hundred batches a second, and interpreting the machine cost more than the disk.
 *
 * @module
 */
import { assign, setup } from "xstate";
import { compileMachine } from "../runtime/compiled_machine.ts";
import type { HasParent } from "../runtime/parent.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import type { AuditLog } from "./audit_log.ts";

/** A record is on disk so long after it came, in milliseconds, where the disk is no slower than the last time. */
export const withinMs = 10;
/** Records are gathered for at least so long, in milliseconds. */
export const gatherMinMs = 2;
/** Time until a log that could not be written is written again, in milliseconds. */
export const retryMs = 1_000;
/** A clock that is set back by less, in milliseconds, is not reported. */
export const clockBackMs = 60_000;

/** What its parent receives. */
export type RecordWriterSent =
  /** A checkpoint is due for what is on disk. */
  | { readonly type: "log.due" }
  /** A write failed; what was not written waits on. */
  | { readonly type: "log.unwritten"; readonly error: Error };

/** What records are written with. */
export interface RecordWriterInput extends HasParent<RecordWriterSent> {
  readonly ports: Pick<Ports, "now" | "monotonic" | "report">;
  readonly log: AuditLog;
}

/** Context of the machine. */
export interface RecordWriterContext extends RecordWriterInput {
  /** Whether the clock is behind the newest record. */
  readonly isBehind: boolean;
  /** When the present write began, by the clock that makes no steps. */
  readonly writeBegan: number;
  /** How long the last one took, in milliseconds. */
  readonly writeMs: number;
}

type RecordWriterEvent =
  /** A record waits for the disk, or records of an act wait for a checkpoint. */
  | { readonly type: "audit.waiting" }
  | { readonly type: "log.written" }
  | { readonly type: "log.unwritten"; readonly error: Error };

const isClockBehind = ({ log, ports }: RecordWriterInput): boolean => log.newestAt - ports.now() >= clockBackMs;

const afterWrite = ["askForCheckpoint", "reportClock", "end"] as const;

/** The machine. It begins by writing what waited for the log. */
export const recordWriterMachine = setup({
  types: {
    input: {} as RecordWriterInput,
    context: {} as RecordWriterContext,
    events: {} as RecordWriterEvent,
  },
  guards: { isWaiting: ({ context }) => context.log.isWaiting },
  actions: {
    write: ({ context, self }) => {
      const send = (event: RecordWriterEvent) => {
        if (self.getSnapshot().status === "active") self.send(event);
      };
      const unwritten = (error: unknown) =>
        send({ type: "log.unwritten", error: error instanceof Error ? error : new Error(String(error)) });
      void context.log.write().then(() => send({ type: "log.written" }), unwritten);
    },
    askForCheckpoint: ({ context: { log, ports, parent } }) => {
      if (log.isDue(new Date(ports.now()))) parent.send({ type: "log.due" });
    },
    reportUnwritten: ({ context: { parent } }, event: Extract<RecordWriterSent, { type: "log.unwritten" }>) =>
      parent.send(event),
    reportClock: ({ context }) => {
      if (context.isBehind || !isClockBehind(context)) return;
      const { dir, newestAt } = context.log;
      const until = new Date(newestAt).toISOString();
      const message = `The clock is behind audit log ${dir}: its records have the time ${until} until then`;
      context.ports.report({ level: "error", event: "audit.clock-behind", message, fields: { dir, until } });
    },
    begin: assign(({ context }) => ({ writeBegan: monotonicNow(context.ports) })),
    end: assign(({ context }) => ({
      isBehind: isClockBehind(context),
      writeMs: monotonicNow(context.ports) - context.writeBegan,
    })),
  },
  delays: {
    gather: ({ context }) => Math.max(gatherMinMs, withinMs - Math.max(1, context.writeMs)),
    retry: retryMs,
  },
}).createMachine({
  id: "auditRecords",
  context: ({ input }) => ({ ...input, isBehind: false, writeBegan: 0, writeMs: 0 }),
  initial: "gathering",
  states: {
    resting: { on: { "audit.waiting": "gathering" } },
    gathering: { after: { gather: "writing" } },
    writing: {
      entry: ["begin", "write"],
      on: {
        "log.written": [
          { guard: "isWaiting", target: "gathering", actions: afterWrite },
          { target: "resting", actions: afterWrite },
        ],
        "log.unwritten": {
          target: "failing",
          actions: { type: "reportUnwritten", params: ({ event }) => event },
        },
      },
    },
    failing: { after: { retry: "writing" } },
  },
});

/** Writes records. */
export const recordWriter = compileMachine(recordWriterMachine);
