/**
 * Names of peers for the log. PeerIDs change at rotation, so every line about a peer carries its certificate's name too.
 *
 * @module
 */
import type { PeerText } from "../../transport/port.ts";
import type { Ports, Report } from "../runtime/ports.ts";

/** Names that are kept after their peers disconnected: reports on jobs and leases come later than those on connections. */
export const namesMax = 4_096;

/** Names of peers. */
export interface PeerNames {
  remember(peer: PeerText, name: string): void;
  of(peer: PeerText): string | undefined;
  /** The same ports, whose reports carry the name of their `peer`. */
  naming(ports: Ports): Ports;
}

/** Keeps the newest {@linkcode namesMax} names. */
export function makePeerNames(): PeerNames {
  const names = new Map<PeerText, string>();
  const named = (report: Report): Report => {
    const peer = report.fields?.["peer"];
    const name = typeof peer === "string" ? names.get(peer) : undefined;
    if (name === undefined || report.fields?.["name"] !== undefined) return report;
    return { ...report, fields: { ...report.fields, name } };
  };
  return {
    remember(peer, name) {
      names.delete(peer);
      names.set(peer, name);
      const oldest = names.size > namesMax ? names.keys().next().value : undefined;
      if (oldest !== undefined) names.delete(oldest);
    },
    of: (peer) => names.get(peer),
    naming: (ports) => ({ ...ports, report: (report) => ports.report(named(report)) }),
  };
}
