/** The alert rules and the dashboard of docs/telemetry: they read metrics that exist, and each rule fires where it should. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { instruments } from "../../actors/telemetry/instruments.ts";
import { needing } from "../support/prerequisites.ts";
import { alertRules, checkFiring, promtool, type SeriesValues } from "../support/promtool.ts";

const test = suite("alert rules");
const withPromtool = needing(suite("alert rules, evaluated"), "promtool");
const folder = mkdtempSync(join(tmpdir(), "hypha-alerts-"));
withPromtool.after(() => rmSync(folder, { recursive: true, force: true }));

const dayS = 86_400;
const at = 'instance="a:1"';
/** A counter that grows by one a minute from the twentieth on. */
const grows = Array.from({ length: 31 }, (_, minute) => Math.max(0, minute - 20));
/** A counter whose series begins with its first event, in the twenty-eighth minute: no other follows. */
const first = Array.from({ length: 31 }, (_, minute) => minute < 28 ? "_" : 1);
const lines = (level: string, event: string) => `hypha_log_lines_total{level="${level}",event="${event}",${at}}`;
const rejected = `hypha_training_updates_rejected_total{training="t",code="norm",${at}}`;
/** Time is 0 at the first value. */
const quiet: SeriesValues = {
  [`hypha_node_ready{${at}}`]: 1,
  [`up{job="hypha",${at}}`]: 1,
  [`hypha_certificate_expire_time_seconds{name="a",${at}}`]: 30 * dayS,
  [`hypha_trust_anchor_expire_time_seconds{subject="CN=r",serial="1",${at}}`]: 400 * dayS,
  [`hypha_crl_remaining_seconds{issuer="i",${at}}`]: 20 * dayS,
  [`hypha_crl_age_seconds{issuer="i",${at}}`]: 10 * dayS,
  [`hypha_connections_open{direction="inbound",${at}}`]: 10,
  [`hypha_connections_max{${at}}`]: 100,
  [lines("warn", "trust.broken")]: 1,
  [rejected]: 1,
};
const refusals = (code: string) => `hypha_refusals_total{code="${code}",${at}}`;
const bucket = (le: string) => `hypha_handshake_duration_seconds_bucket{direction="inbound",le="${le}",${at}}`;
const every = (perMinute: number) => Array.from({ length: 31 }, (_, minute) => minute * perMinute);
/** For each alert, what differs from a quiet network. */
const cases: readonly (readonly [alert: string, changed: SeriesValues])[] = [
  ["HyphaNotReady", { [`hypha_node_ready{${at}}`]: 0 }],
  ["HyphaGone", { [`up{job="hypha",${at}}`]: 0 }],
  ["HyphaCertificateEnds", { [`hypha_certificate_expire_time_seconds{name="a",${at}}`]: 5 * dayS }],
  ["HyphaAnchorEnds", { [`hypha_trust_anchor_expire_time_seconds{subject="CN=r",serial="1",${at}}`]: 80 * dayS }],
  ["HyphaListDue", { [`hypha_crl_remaining_seconds{issuer="i",${at}}`]: 2 * dayS }],
  ["HyphaRootListEnds", {
    [`hypha_crl_remaining_seconds{issuer="r",${at}}`]: 100 * dayS,
    [`hypha_crl_age_seconds{issuer="r",${at}}`]: 265 * dayS,
  }],
  ["HyphaListOverdue", { [`hypha_crl_remaining_seconds{issuer="i",${at}}`]: -5 }],
  ["HyphaListLacking", { 'hypha_crl_age_seconds{issuer="i",instance="b:1"}': 10 * dayS + 900 }],
  ["HyphaForbiddenPeer", { [refusals("certificate-revoked")]: grows }],
  ["HyphaOutOfDate", { [refusals("crl-expired")]: grows }],
  ["HyphaFlood", { [refusals("rate-limited")]: every(90) }],
  ["HyphaNearlyFull", { [`hypha_connections_open{direction="outbound",${at}}`]: 75 }],
  ["HyphaSlowHandshakes", { [bucket("1")]: every(90), [bucket("2.5")]: every(100), [bucket("+Inf")]: every(100) }],
  ["HyphaAuditLost", { [`hypha_audit_failures_total{${at}}`]: grows }],
  ["HyphaAuditFork", { [lines("error", "audit.fork")]: grows }],
  ["HyphaTrustBroken", { [lines("warn", "trust.broken")]: grows }],
  ["HyphaErrors", { [lines("error", "crl.rollback")]: grows }],
  ["HyphaUpdatesRejected", { [rejected]: grows }],
];

test("rules and dashboard read metrics that exist, and every alert has its case here", () => {
  const known = new Set(
    Object.entries(instruments).flatMap(([name, { kind }]) => kind === "histogram" ? [`${name}_bucket`] : [name]),
  );
  for (const file of [alertRules, "docs/telemetry/dashboard.json"]) {
    const read = readFileSync(file, "utf8").match(/\bhypha_\w+/g) ?? [];
    assert.ok(read.length > 15, file);
    assert.equal(read.filter((name) => !known.has(name)), [], file);
  }
  const alerts = [...readFileSync(alertRules, "utf8").matchAll(/- alert: (\w+)/g)].map((match) => match[1]);
  assert.equal(alerts.toSorted(), cases.map(([alert]) => alert).toSorted());
});

/** Series that begin with their first event, and what the alert of each is. */
const beginning = [
  ["HyphaAuditFork", lines("error", "audit.fork")],
  ["HyphaTrustBroken", lines("warn", "trust.broken")],
  ["HyphaErrors", lines("error", "crl.rollback")],
  ["HyphaUpdatesRejected", rejected],
] as const;

withPromtool("the rules are right, and silent where nothing is wrong", () => {
  assert.match(promtool(["check", "rules", alertRules]), `SUCCESS: ${cases.length} rules found`);
  checkFiring(folder, quiet, []);
});

for (const [alert, changed] of cases) {
  withPromtool(`${alert} fires, and no other`, () => checkFiring(folder, { ...quiet, ...changed }, [alert]));
}

for (const [alert, series] of beginning) {
  withPromtool(`bug: ${alert} did not fire at the first event of a node, with which its series begins`, () => {
    checkFiring(folder, { ...quiet, [series]: first }, [alert]);
  });
}

/** The counters that count events, and what the alert of each is. */
const counting = [
  ...beginning,
  ["HyphaForbiddenPeer", refusals("certificate-revoked")],
  ["HyphaOutOfDate", refusals("crl-expired")],
  ["HyphaAuditLost", `hypha_audit_failures_total{${at}}`],
] as const;
const minutes = (valueAt: (minute: number) => number | "_" | "stale") =>
  Array.from({ length: 31 }, (_, at) => valueAt(at));

for (const [alert, series] of counting) {
  withPromtool(
    `bug: ${alert} did not fire where two scrapes were lost, two minutes apart, and the event was between them`,
    () => {
      const seen = minutes((minute) => minute % 2 === 1 ? "_" : minute <= 24 ? 1 : minute < 30 ? "stale" : 2);
      checkFiring(folder, { ...quiet, [series]: seen }, [alert]);
    },
  );
  withPromtool(`bug: ${alert} did not fire at an event of a node that started again, before its first scrape`, () => {
    const seen = minutes((minute) => minute <= 20 ? 2 : minute === 21 ? "stale" : minute < 28 ? "_" : 1);
    checkFiring(folder, { ...quiet, [series]: seen }, [alert]);
  });
}

withPromtool("a node that starts again makes no alerts of its former events", () => {
  const again = minutes((minute) => minute <= 20 ? 2 : minute < 25 ? "stale" : 0);
  checkFiring(folder, { ...quiet, ...Object.fromEntries(counting.map(([, series]) => [series, again])) }, []);
});

withPromtool("bug: one scrape that failed made alerts of events long past", () => {
  // Of the windows of 15 and of 10 minutes, the offset is the moment of the gap.
  const gap = minutes((minute) => minute === 15 || minute === 20 ? "stale" : 1);
  checkFiring(folder, { ...quiet, ...Object.fromEntries(counting.map(([, series]) => [series, gap])) }, []);
});

test.run();
withPromtool.run();
