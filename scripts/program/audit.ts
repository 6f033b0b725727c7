/**
 * The audit log of a program, where one is configured.
 *
 * @module
 */
import { Result } from "effect";
import { auditMachine } from "../../actors/audit/audit.ts";
import { eventOfEntry, recordReports } from "../../actors/audit/audit_events.ts";
import { AuditInbox } from "../../actors/audit/audit_inbox.ts";
import type { Ports } from "../../actors/runtime/ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { type AuditSink, logAlone } from "../../actors/trust/audit.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import type { NodeIdentity } from "../../transport/node_identity.ts";

type NamedChain = Pick<NodeIdentity, "chain" | "name">;

/** What of a program is recorded, and when the log begins and ends. */
export interface ProgramAudit {
  readonly sink: AuditSink;
  /** Takes the records of acts that must not happen unrecorded; undefined where no log is kept. */
  readonly inbox: AuditInbox | undefined;
  /** Wraps a report function, and records its lines. */
  readonly meter: (report: Ports["report"]) => Ports["report"];
  /** Opens the log of the node that has a certificate; the first call counts. Records wait until then. */
  readonly begin: (identity: NamedChain, ports: Ports) => void;
  /** Writes what waits and a last checkpoint; within {@linkcode closeMs}. */
  readonly end: () => Promise<void>;
}

/** How long the end of a log may take, in milliseconds. */
const closeMs = 5_000;

/** Without a log: nothing is recorded. */
export const noAudit: ProgramAudit = {
  sink: logAlone,
  inbox: undefined,
  meter: (report) => report,
  begin: () => {},
  end: () => Promise.resolve(),
};

/** Keeps a log in a folder. */
export function keepAudit(
  { dir, keepMs, now }: { readonly dir: string; readonly keepMs: number; readonly now: () => number },
): ProgramAudit {
  const inbox = new AuditInbox(dir, now);
  let close = (): Promise<void> => Promise.resolve();
  let hasBegun = false;
  return {
    sink: { record: (entry) => inbox.record(eventOfEntry(entry)) },
    inbox,
    meter: (report) => recordReports(report, inbox),
    begin: (identity, ports) => {
      if (hasBegun) return;
      hasBegun = true;
      close = begin({ node: logNameOf(identity), ports, dir, keepMs, inbox });
    },
    end: () => close(),
  };
}

/** SPIFFE ID of a certificate, or its name where it has none. */
function logNameOf({ chain: [leaf = new Uint8Array()], name }: NamedChain): string {
  const parsed = parseCertificate(leaf);
  const names = Result.isSuccess(parsed) ? parsed.success.subjectAltNames : [];
  return names.find(({ type, value }) => type === "uri" && value.startsWith("spiffe://"))?.value ?? name;
}

interface Beginning {
  readonly node: string;
  readonly ports: Ports;
  readonly dir: string;
  readonly keepMs: number;
  readonly inbox: AuditInbox;
}

/** Starts the machine; the result ends it. */
function begin(input: Beginning): () => Promise<void> {
  let ended = () => {};
  const end = new Promise<void>((resolve) => (ended = resolve));
  const actor = superviseRoot(auditMachine, {
    id: "audit",
    input,
    onDone: ended,
    onError: (error) => {
      const message = `Cannot go on with the audit log: ${error instanceof Error ? error.message : error}`;
      input.ports.report({ level: "error", event: "audit.crashed", message });
      ended();
    },
  });
  return () => {
    actor.send({ type: "audit.close" });
    return Promise.race([end, new Promise<void>((resolve) => setTimeout(resolve, closeMs).unref())]);
  };
}
