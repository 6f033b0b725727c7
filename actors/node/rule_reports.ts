/**
 * What the rule store reports of the configuration's file.
 *
 * @module
 */
import type { RuleText } from "../../transport/authorization/rules.ts";
import { changedKeys, type ConfigReading } from "../config/config_reading.ts";
import { ConfigError, type ConfigProblem, describeProblem } from "../config/problem.ts";
import type { Report } from "../runtime/ports.ts";

const denialsIn = (rules: readonly RuleText[]): number => rules.filter(({ effect }) => effect === "deny").length;

/** Other rules are in force. Fewer of them deny: a warning. */
export function loadedReport(file: string, before: readonly RuleText[], rules: readonly RuleText[]): Report {
  const isLess = denialsIn(rules) < denialsIn(before);
  const denials = isLess ? `, of which ${denialsIn(rules)} deny in place of ${denialsIn(before)}` : "";
  return {
    level: isLess ? "warn" : "info",
    event: "rules.loaded",
    message: `Loaded ${rules.length} rules of authorization in place of ${before.length} from ${file}${denials}`,
    fields: { file, rules: rules.length, before: before.length },
  };
}

/** The file was broken, and loads again with the rules that are in force. */
export function mendedReport(file: string, rules: readonly RuleText[]): Report {
  return {
    level: "info",
    event: "rules.loaded",
    message: `${file} can be loaded again: its ${rules.length} rules of authorization are in force`,
    fields: { file, rules: rules.length },
  };
}

/** The file lacks rules, and may be half written. */
export function keptReport(file: string, kept: number): Report {
  return {
    level: "warn",
    event: "rules.kept",
    message:
      `Keeping ${kept} rules that deny and that ${file} no longer has: its last line has no line end, as where a file is half ` +
      "written. End the line to take them out",
    fields: { file, rules: kept },
  };
}

/** The file does not load. */
export function brokenReport(file: string, rules: readonly RuleText[], error: unknown): Report {
  const problem = problemOf(error);
  const more = error instanceof ConfigError && error.problems.length > 1
    ? ` (and ${error.problems.length - 1} more)`
    : "";
  const said = problem === undefined ? String(error) : describeProblem(problem);
  const place = problem?.origin.type === "file" ? problem.origin : { line: 0 };
  return {
    level: "error",
    event: "rules.broken",
    message: `Keeping the ${rules.length} rules of authorization before until the file is corrected: ${said}${more}`,
    fields: {
      file,
      ...(place.line === 0 ? {} : { line: place.line }),
      reason: problem === undefined ? said : `${problem.key}: ${problem.wrong}`,
      rules: rules.length,
      hint: problem?.mend,
    },
  };
}

/** The problem that an alarm names: the first of the file's own. */
export function problemOf(error: unknown): ConfigProblem | undefined {
  return error instanceof ConfigError ? error.problems[0] : undefined;
}

/** The readings of a file that a {@linkcode besidesReports} compares. */
interface Readings {
  /** What the node runs with. */
  readonly started: ConfigReading;
  /** The last one. */
  readonly before: ConfigReading;
  readonly now: ConfigReading;
}

/** The file was changed in what counts from the next start, or not at all. */
export function besidesReports(file: string, { started, before, now }: Readings): readonly Report[] {
  const keys = changedKeys(started, now);
  const isKnown = keys.join() === changedKeys(started, before).join();
  const isIdle = now.rulesFrom !== undefined && now.rulesWritten !== before.rulesWritten;
  const members = keys.includes("trust_domains")
    ? "; members of a trust domain that was taken out stay connected until then"
    : "";
  return [
    ...(keys.length === 0 || isKnown ? [] : [
      {
        level: "warn",
        event: "config.changed",
        message: `Changed keys of ${file} count from the next start: ${keys.join(", ")}${members}`,
        fields: { file, keys },
      } satisfies Report,
    ]),
    ...(isIdle
      ? [
        {
          level: "warn",
          event: "rules.overridden",
          message: `The changed rules of authorization of ${file} do not count: ${now.rulesFrom} gives them`,
          fields: { file },
        } satisfies Report,
      ]
      : []),
  ];
}
