import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatReport, type ProbeReport } from "../../scripts/program/probe_report.ts";

const test = suite("formatReport()");

const report: ProbeReport = {
  ok: true,
  address: "/ip4/127.0.0.1/tcp/4001",
  peer: "12D3KooW",
  name: "worker\u202e",
  role: null,
  cell: "\u009b2J\u001b[2Jfull",
  latencyMs: 1,
  code: null,
  reason: null,
  hint: null,
};

test("a peer's words reach no terminal as control sequences, and JSON has them whole", () => {
  for (const format of ["json", "text"] as const) {
    assert.not.match(formatReport(report, format), /[\p{Cc}\p{Cf}]/u, format);
  }
  assert.equal(JSON.parse(formatReport(report, "json")), report);
  assert.match(formatReport(report, "text"), "full");
});

test.run();
