/**
 * The warnings that a job can cause as often as it likes. It must not fill its worker's log, whose lines of the job's own output are
 * limited too.
 *
 * @module
 */
import { moreOf, RareReports } from "../../transport/core/rare_reports.ts";
import type { Ports } from "../runtime/ports.ts";

/**
 * Makes the reports of one job rare: of each event, code and peer one warning a minute, with the number of those before it (`untold`).
 * The others are for the level `debug`.
 *
 * @param now Milliseconds by a clock that makes no steps.
 */
export function rareWarnings(report: Ports["report"], now: () => number): Ports["report"] {
  const rare = new RareReports(now);
  return (line) => {
    if (line.level !== "warn") return report(line);
    const { peer = "", error = "" } = line.fields ?? {};
    const untold = rare.note(String(peer), `${line.event} ${error}`);
    if (untold === undefined) return report({ ...line, level: "debug" });
    report({ ...line, message: `${line.message}${moreOf(untold)}`, fields: { ...line.fields, untold } });
  };
}
