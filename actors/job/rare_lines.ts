/**
 * The lines that a job can cause as often as it likes. It must not fill its worker's log, whose lines of the job's own output are
 * limited too.
 *
 * @module
 */
import { moreOf, RareReports, reportedEachMs } from "../../transport/core/rare_reports.ts";
import type { Ports, Report } from "../runtime/ports.ts";

/** Lines of the level `info` in a minute, at most: a job gives its files as many names as it likes. */
const infoLinesMax = 256;

/**
 * Makes the reports of one job rare, with the number of those before them (`untold`): in a minute one warning of each event, code and
 * peer, and one line of the level `info` of each event and file. The others are for the level `debug`. The first `info` line after those
 * above {@linkcode infoLinesMax} has their number (`unreported`).
 *
 * @param now Milliseconds by a clock that makes no steps.
 */
export function rareLines(report: Ports["report"], now: () => number): Ports["report"] {
  const warnings = new RareReports(now), files = new RareReports(now);
  let minuteAt = -Infinity, infoLines = 0, unreported = 0;
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
    if (line.level === "warn") {
      const untold = warnings.note(String(peer), `${line.event} ${error}`);
      return report(untold === undefined ? { ...line, level: "debug" } : withCount(line, untold));
    }
    if (!hasRoom()) {
      unreported += 1;
      return report({ ...line, level: "debug" });
    }
    const untold = files.note(String(path), line.event);
    if (untold === undefined) return report({ ...line, level: "debug" });
    infoLines += 1;
    const counted = withCount(line, untold);
    report(unreported === 0 ? counted : withUnreported(counted, unreported));
    unreported = 0;
  };
}

function withCount(line: Report, untold: number): Report {
  return { ...line, message: `${line.message}${moreOf(untold)}`, fields: { ...line.fields, untold } };
}

function withUnreported(line: Report, unreported: number): Report {
  const message = `${line.message} (before it ${unreported} lines above ${infoLinesMax} a minute were not reported)`;
  return { ...line, message, fields: { ...line.fields, unreported } };
}
