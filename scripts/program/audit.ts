/**
 * The audit log of a program, where one is configured.
 *
 * @module
 */
import { Result } from "effect";
import { auditMachine, reportUnkept } from "../../actors/audit/audit.ts";
import { eventOfEntry, recordReports } from "../../actors/audit/audit_events.ts";
import { AuditInbox } from "../../actors/audit/audit_inbox.ts";
import { type WitnessedLog, witnessedLog } from "../../actors/audit/witnessed_log.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { type AuditSink, logAlone } from "../../actors/trust/audit.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import type { NodeIdentity } from "../../transport/node_identity.ts";

/** What of a program is recorded, and when the log begins and ends. */
export interface ProgramAudit {
  readonly sink: AuditSink;
  /** Records that were lost since the start. */
  readonly lost: () => number;
  /** Wraps a report function, and records its lines. */
  readonly meter: (report: Ports["report"]) => Ports["report"];
  /** Opens the log of a node (its SPIFFE ID, or its name); the first call counts. Resolves when the log is open, or could not be. */
  readonly begin: (node: () => string, ports: Ports) => Promise<void>;
  /** The log as witnesses ask about it; undefined where none is kept. */
  readonly log: WitnessedLog | undefined;
  /** Writes what waits and a last checkpoint; within {@linkcode auditCloseMs}. Reports records of a log that was never begun. */
  readonly end: (ports: Pick<Ports, "report">) => Promise<void>;
}

/** A log that is kept. */
export interface KeptAudit extends ProgramAudit {
  /** Takes the records of acts that must not happen unrecorded. */
  readonly inbox: AuditInbox;
}

/** How long the end of a log may take, in milliseconds. */
export const auditCloseMs = 5_000;

/** Without a log: nothing is recorded. */
export const noAudit: ProgramAudit = {
  sink: logAlone,
  lost: () => 0,
  log: undefined,
  meter: (report) => report,
  begin: () => Promise.resolve(),
  end: () => Promise.resolve(),
};

/** Keeps a log in a folder. */
export function keepAudit(
  { dir, keepMs, key, now }: {
    readonly dir: string;
    readonly keepMs: number;
    /** URI of a key in a token. */
    readonly key?: string | undefined;
    readonly now: () => number;
  },
): KeptAudit {
  const inbox = new AuditInbox(dir, now);
  let kept: { readonly opened: Promise<void>; readonly close: () => Promise<void> } | undefined;
  return {
    sink: { record: (entry) => inbox.record(eventOfEntry(entry)) },
    lost: () => inbox.lost,
    inbox,
    log: witnessedLog(dir, inbox),
    meter: (report) => recordReports(report, inbox),
    begin: (node, ports) => (kept ??= keep({ node: node(), ports, dir, keepMs, key, inbox })).opened,
    end: async (ports) => {
      if (kept === undefined) reportUnkept(ports, { dir, failures: 0, inbox });
      else await kept.close();
    },
  };
}

/** SPIFFE ID of an identity's certificate, or its name where it has none. */
export function logNameOf({ chain: [leaf = new Uint8Array()], name }: Pick<NodeIdentity, "chain" | "name">): string {
  const parsed = parseCertificate(leaf);
  const names = Result.isSuccess(parsed) ? parsed.success.subjectAltNames : [];
  return names.find(({ type, value }) => type === "uri" && value.startsWith("spiffe://"))?.value ?? name;
}

interface Beginning {
  readonly node: string;
  readonly ports: Ports;
  readonly dir: string;
  readonly keepMs: number;
  readonly key: string | undefined;
  readonly inbox: AuditInbox;
}

/** Starts the machine. */
function keep(input: Beginning): { readonly opened: Promise<void>; readonly close: () => Promise<void> } {
  let ended = () => {};
  let tried = () => {};
  const end = new Promise<void>((resolve) => (ended = resolve));
  const opened = new Promise<void>((resolve) => (tried = resolve));
  const actor = superviseRoot(auditMachine, {
    id: "audit",
    input,
    onDone: ended,
    onSnapshot: ({ value }) => value === "opening" || tried(),
    onError: (error) => {
      const message = `Cannot go on with the audit log: ${error instanceof Error ? error.message : error}`;
      input.ports.report({ level: "error", event: "audit.crashed", message });
      tried();
      ended();
    },
  });
  const close = async () => {
    const late = new Promise<void>((resolve) => setTimeout(resolve, auditCloseMs).unref());
    await Promise.race([opened, late]); // what was recorded before is not lost
    actor.send({ type: "audit.close" });
    await Promise.race([end, late]);
  };
  return { opened, close };
}
