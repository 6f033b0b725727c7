/**
 * Keeps an audit log: opens it, has what waits written in batches (`record_writer.ts`), makes checkpoints, and removes old segments.
 *
 * ```
 * opening ─▶ keeping                                audit.close, from everywhere ──▶ closing ──▶ closed
 *   │  ▲        checkpoints: resting ── 1,000 records, or 60 s ──▶ signing ──▶ resting
 * failed └ 1 min                                                  └── failed ──▶ failing ── 1 s ──▶ signing
 *   └──▶ unusable
 *               removals:    removing ──▶ resting ── 1 h ──▶ removing
 *                               └── failed ──▶ failing ── 1 min ──▶ removing
 * ```
 *
 * A key in a token may take long, or hang: records are written meanwhile.
 *
 * Records come by {@linkcode AuditInbox.record}, not as events: 50,000 a second pass no machine.
 *
 * @module
 */
import { Effect } from "effect";
import { enqueueActions, setup } from "xstate";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { AuditInbox } from "./audit_inbox.ts";
import { AuditLog, checkpointMs } from "./audit_log.ts";
import { LogUnusable } from "./log_unusable.ts";
import { type LogOptions, type OpenedLog, openLog } from "./open_log.ts";
import { recordWriter, retryMs } from "./record_writer.ts";
import { removeOld } from "./remove_old.ts";

/** Time until a log that could not be opened is opened again, and between two alarms, in milliseconds. */
export const alarmEveryMs = 60_000;
/** Time between two looks for old segments, in milliseconds. */
export const removeEveryMs = 3_600_000;

/** What an audit log is kept with. */
export interface AuditInput extends LogOptions {
  readonly ports: Ports;
  readonly inbox: AuditInbox;
  /** How long records are kept, in milliseconds; rounded up to whole segments. */
  readonly keepMs: number;
}

/** Context of the machine. */
export interface AuditContext extends AuditInput {
  readonly log: AuditLog | undefined;
  /** Writes and openings that failed. */
  readonly failures: number;
  readonly alarmedAt: number;
}

/** Reports how many records are lost of a log that was not open when its program ended. */
export function reportUnkept(
  { report }: Pick<Ports, "report">,
  { dir, failures, inbox: { unkept } }: Pick<AuditContext, "dir" | "failures" | "inbox">,
): void {
  if (unkept === 0) return;
  const message = `Audit log ${dir} was not open when the program ended; records lost: ${unkept}`;
  report({ level: "error", event: "audit.unwritten", message, fields: { dir, failures, lost: unkept } });
}

const attempt = <A>(dir: string, work: (signal: AbortSignal) => Promise<A>): Effect.Effect<A, LogUnusable> =>
  Effect.tryPromise({
    try: work,
    catch: (error) => {
      if (error instanceof LogUnusable) return error;
      const detail = error instanceof Error ? error.message : String(error);
      return new LogUnusable({ dir, problem: "unwritable", detail });
    },
  });

const open = fromEffect(
  "open",
  (input: AuditInput) =>
    attempt(input.dir, async (signal) => {
      const opened = await openLog(input, new Date(input.ports.now()));
      if (signal.aborted) opened.release(); // it ended meanwhile
      signal.throwIfAborted();
      return opened;
    }),
);

const writeLog = ({ log }: AuditContext): Promise<void> => present(log, "the log").write();
const coverLog = ({ ports, log }: AuditContext): Promise<void> => present(log, "the log").cover(new Date(ports.now()));

async function finishLog(input: AuditContext): Promise<void> {
  await writeLog(input);
  await coverLog(input);
}

const cover = fromEffect("cover", (input: AuditContext) => attempt(input.dir, () => coverLog(input)));
const finish = fromEffect("finish", (input: AuditContext) => attempt(input.dir, () => finishLog(input)));

const remove = fromEffect("remove", ({ ports, dir, keepMs }: AuditContext) =>
  Effect.tryPromise({
    try: (signal) => removeOld(dir, { now: new Date(ports.now()), keepMs, signal }),
    catch: (error) => error instanceof Error ? error : new Error(String(error)),
  }));

const actors = { open, records: recordWriter, cover, finish, remove };
type AuditEvents = EventsOf<typeof actors> | { readonly type: "audit.close" };
interface Failure {
  readonly error: { readonly message: string };
}

const auditing = setup({
  types: { input: {} as AuditInput, context: {} as AuditContext, events: {} as AuditEvents },
  actors,
  guards: {
    isOpen: ({ context }) => context.log !== undefined,
    isDue: ({ context: { log, ports } }) => log?.isDue(new Date(ports.now())) === true,
    isUncovered: ({ context }) => context.log?.isUncovered === true,
  },
  actions: {
    connect: enqueueActions(({ context, self, enqueue }, { opened }: { opened: OpenedLog }) => {
      const { dir, inbox, ports } = context;
      const onWaiting = () => self.getSnapshot().children["records"]?.send({ type: "audit.waiting" });
      const log = new AuditLog(dir, opened, { at: new Date(ports.now()), onWaiting });
      enqueue.assign({ log });
      enqueue(() => inbox.connect(log));
    }),
    unlock: ({ context }) => context.log?.close(),
    reportUnkept: ({ context }) => reportUnkept(context.ports, context),
    reportOpened: ({ context }, { opened }: { opened: OpenedLog }) => {
      const { ports, dir } = context;
      const fields = { dir, records: opened.chain.size };
      ports.report({ level: "info", event: "audit.opened", message: `Recording to audit log ${dir}`, fields });
      if (opened.torn === undefined) return;
      const message = `Audit log ${dir} ended in an incomplete line; it is kept in ${opened.torn}`;
      ports.report({ level: "warn", event: "audit.recovered", message, fields: { dir, file: opened.torn } });
    },
    reportUnremoved: ({ context: { ports, dir } }, { error }: Failure) => {
      const message = `Cannot remove old records of audit log ${dir}: ${error.message}`;
      ports.report({ level: "error", event: "audit.unremoved", message, fields: { dir } });
    },
    fail: enqueueActions(({ context, enqueue }, { error }: Failure) => {
      const { ports, alarmedAt, inbox, dir } = context;
      const [at, failures] = [ports.now(), context.failures + 1];
      enqueue.assign({ failures });
      if (at >= alarmedAt && at - alarmedAt < alarmEveryMs) return;
      enqueue.assign({ alarmedAt: at });
      const fields = { dir, failures, lost: inbox.lost };
      enqueue(() => ports.report({ level: "error", event: "audit.unwritten", message: error.message, fields }));
    }),
  },
  delays: { retry: retryMs, reopen: alarmEveryMs, checkpoint: checkpointMs, remove: removeEveryMs },
});

const failure = ({ event }: { event: Failure }) => ({ error: event.error });
const opened = ({ event }: { event: { readonly value: OpenedLog } }) => ({ opened: event.value });

/** Keeps an audit log. Its end is the end of the log: everything is written and in a checkpoint then, unless the disk took none. */
export const auditMachine = auditing.createMachine({
  id: "audit",
  context: ({ input }) => ({ ...input, log: undefined, failures: 0, alarmedAt: -Infinity }),
  on: { "audit.close": [{ guard: "isOpen", target: ".closing" }, { target: ".closed", actions: "reportUnkept" }] },
  initial: "opening",
  states: {
    opening: {
      invoke: { src: "open", input: ({ context }) => context },
      on: {
        "effect.done.open": {
          target: "keeping",
          actions: [{ type: "connect", params: opened }, { type: "reportOpened", params: opened }],
        },
        "effect.failed.open": { target: "unusable", actions: { type: "fail", params: failure } },
      },
    },
    unusable: { after: { reopen: "opening" } },
    keeping: {
      type: "parallel",
      invoke: {
        id: "records",
        src: "records",
        input: ({ context, self: parent }) => ({ ports: context.ports, log: present(context.log, "the log"), parent }),
      },
      on: { "log.unwritten": { actions: { type: "fail", params: failure } } },
      states: {
        checkpoints: {
          initial: "resting",
          states: {
            resting: {
              on: { "log.due": "signing" },
              after: {
                checkpoint: [{ guard: "isUncovered", target: "signing" }, { target: "resting", reenter: true }],
              },
            },
            signing: {
              invoke: { src: "cover", input: ({ context }) => context },
              on: {
                "effect.done.cover": [{ guard: "isDue", target: "signing", reenter: true }, { target: "resting" }],
                "effect.failed.cover": { target: "failing", actions: { type: "fail", params: failure } },
              },
            },
            failing: { after: { retry: "signing" } },
          },
        },
        removals: {
          initial: "removing",
          states: {
            removing: {
              invoke: { src: "remove", input: ({ context }) => context },
              on: {
                "effect.done.remove": { target: "resting" },
                "effect.failed.remove": { target: "failing", actions: { type: "reportUnremoved", params: failure } },
              },
            },
            resting: { after: { remove: "removing" } },
            failing: { after: { reopen: "removing" } },
          },
        },
      },
    },
    closing: {
      // What is written a second time is the same.
      on: {
        "audit.close": {},
        "effect.done.finish": [{ guard: "isUncovered", target: "closing", reenter: true }, { target: "closed" }],
        "effect.failed.finish": { target: "closed", actions: { type: "fail", params: failure } },
      },
      invoke: { src: "finish", input: ({ context }) => context },
    },
    closed: { type: "final", entry: "unlock" },
  },
});
