/**
 * Where records of security decisions go.
 *
 * The default is the log: the line of a refusal has the code, address, peer, message and hint of its record; the message
 * describes the cause. An application that must keep records, or wants the cause as data, injects its own sink.
 *
 * @module
 */
import type { RefusalCode } from "../../pki/refusal.ts";
import type { Ports } from "../runtime/ports.ts";

/** One decision, as plain JSON-able data. */
export type AuditEntry =
  /** One refusal. */
  | {
    readonly type: "refusal";
    /** When, as RFC 3339 text in UTC. */
    readonly time: string;
    readonly code: RefusalCode;
    readonly address: string;
    readonly direction: "inbound" | "outbound";
    /** The certificate's name and its PeerID, once a certificate was seen. */
    readonly name: string | undefined;
    readonly peer: string | undefined;
    readonly message: string;
    readonly hint: string;
    /** What led to the refusal; see `describeRefusal`. */
    readonly data: unknown;
    /** How many: more than one where a role refuses a member often. */
    readonly count: number;
  }
  /** Acts of a member that it may not do. */
  | {
    readonly type: "act.refused";
    /** When the last of them came, as RFC 3339 text in UTC. */
    readonly time: string;
    readonly code: RefusalCode;
    readonly act: string;
    /** The certificate's name, role (`none` where it names none), serial and PeerID. */
    readonly name: string;
    readonly role: string;
    readonly serial: string;
    readonly peer: string;
    /** The row or rule that decided. */
    readonly rule: string;
    /** How many there were since the last such record of this member and act. */
    readonly count: number;
    readonly message: string;
    readonly hint: string;
  }
  /** Refusals of one host within one minute, of those that came before a certificate was seen. */
  | {
    readonly type: "refusal.summary";
    /** When the first and the last of them came, as RFC 3339 text in UTC. */
    readonly from: string;
    readonly to: string;
    /** The host without its port, or `*` for the hosts beyond the bound of the table. */
    readonly host: string;
    readonly counts: Readonly<Partial<Record<RefusalCode, number>>>;
  };

/**
 * Takes records. It may throw or reject: no verdict depends on it, and the refusal log counts and reports the failure.
 * `record` is called while the machine handles the refusal, so it must not wait.
 */
export interface AuditSink {
  /** Keeps one record. An error that it throws changes no verdict. */
  record(entry: AuditEntry): void;
}

/** The default: the log is the only record. */
export const logAlone: AuditSink = { record: () => {} };

/** At most one alarm about a failing sink in this time, in milliseconds. */
export const alarmEveryMs = 60_000;

/** A sink that never throws, and how often the one behind it did. */
export interface SteadySink extends AuditSink {
  readonly failures: number;
}

/**
 * Puts a sink behind one that never throws: a failure is counted, and reported at most once in
 * {@linkcode alarmEveryMs}.
 */
export function steadySink(sink: AuditSink, { now, report }: Pick<Ports, "now" | "report">): SteadySink {
  let failures = 0;
  let alarmedAt = -Infinity;
  const failed = (error: unknown) => {
    failures += 1;
    const at = now();
    if (at >= alarmedAt && at - alarmedAt < alarmEveryMs) return;
    alarmedAt = at;
    report({
      level: "error",
      event: "audit.failed",
      message: `Cannot write audit record: ${String(error)}; ${failures} lost so far, verdicts stand`,
      fields: { failures },
    });
  };
  return {
    get failures() {
      return failures;
    },
    record(entry) {
      try {
        const given: unknown = sink.record(entry);
        // An async sink type-checks too. Left alone, its rejection would end the process.
        if (given instanceof Promise) given.catch(failed);
      } catch (error) {
        failed(error);
      }
    },
  };
}
