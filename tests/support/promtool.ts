/**
 * Prometheus' own tool: checks a page of metrics and rules, and evaluates rules over given series.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const alertRules = resolve("docs/telemetry/alerts.yml");

/** Runs it; throws with its output where it finds something. */
export function promtool(args: readonly string[], input = ""): string {
  const { status, stdout, stderr } = spawnSync("promtool", args, { input, encoding: "utf8" });
  if (status !== 0) throw new Error(`promtool ${args.join(" ")} ended with ${status}: ${stdout}${stderr}`);
  return stdout;
}

/**
 * Values of a series, one a minute: a number stands for one that does not change, `_` for one that is absent, `stale` for a scrape that
 * failed.
 */
export type SeriesValues = Readonly<Record<string, number | readonly (number | "_" | "stale")[]>>;

const minutes = 30;

/** Checks that the alerts that fire after half an hour of these series are those. `folder` takes promtool's file. */
export function checkFiring(folder: string, series: SeriesValues, alerts: readonly string[]): void {
  const input_series = Object.entries(series).map(([name, values]) => ({
    series: name,
    values: typeof values === "number" ? `${values}x${minutes}` : values.join(" "),
  }));
  const exp_samples = alerts.map((alertname) => ({ labels: `{alertname=${JSON.stringify(alertname)}}`, value: 1 }));
  const expr = 'count by (alertname) (count by (alertname, instance) (ALERTS{alertstate="firing"}))';
  const promql_expr_test = [{ expr, eval_time: `${minutes}m`, exp_samples }];
  const file = join(folder, "alerts.test.json");
  writeFileSync(
    file,
    JSON.stringify({
      rule_files: [alertRules],
      evaluation_interval: "1m",
      tests: [{ interval: "1m", input_series, promql_expr_test }],
    }),
  );
  promtool(["test", "rules", file]);
}
