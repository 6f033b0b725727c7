/**
 * The lines that a job can cause as often as it likes. It must not fill its worker's log, whose lines of the job's own output are
 * limited too.
 *
 * @module
 */
import { moreOf, RareReports, reportedEachMs } from "../../transport/core/rare_reports.ts";
import type { Ports } from "../runtime/ports.ts";

/** Lines of the level `info` in a minute, at most: a job gives its files as many names as it likes. */
const infoLinesMax = 256;

/**
 * Makes the reports of one job rare, with the number of those before them (`untold`): in a minute one warning of each event, code and
 * peer, and one line of the level `info` of each event and file. The others are for the level `debug`.
 *
 * @param now Milliseconds by a clock that makes no steps.
 */
export function rareLines(report: Ports["report"], now: () => number): Ports["report"] {
  const warnings = new RareReports(now), files = new RareReports(now);
  let minuteAt = -Infinity, infoLines = 0;
  const hasRoom = () => {
    if (now() >= minuteAt + reportedEachMs) {
      minuteAt = now();
      infoLines = 0;
    }
    return infoLines < infoLinesMax;
  };
  return (line) => {
    if (line.level !== "warn" && line.level !== "info") return report(line);
    const { peer = "", error = "", path = "" } = line.fields ?? {};
    const isInfo = line.level === "info";
    const untold = !isInfo
      ? warnings.note(String(peer), `${line.event} ${error}`)
      : hasRoom()
      ? files.note(String(path), line.event)
      : undefined;
    if (untold === undefined) return report({ ...line, level: "debug" });
    if (isInfo) infoLines += 1;
    report({ ...line, message: `${line.message}${moreOf(untold)}`, fields: { ...line.fields, untold } });
  };
}
