import { suite } from "uvu";
import * as assert from "uvu/assert";
import { eventOfEntry, eventOfReport, recordReports } from "../../actors/audit/audit_events.ts";
import { AuditInbox } from "../../actors/audit/audit_inbox.ts";
import type { Report } from "../../actors/runtime/ports.ts";

const test = suite("audit_events");

test("refusals become records with the peer's name and PeerID", () => {
  const common = { time: "2026-01-31T12:00:00.000Z", message: "m", hint: "h" };
  assert.equal(
    eventOfEntry({
      ...common,
      ...{ type: "refusal", code: "certificate-expired", address: "/ip4/10.0.0.7/tcp/1", direction: "inbound" },
      ...{ name: "worker-1", peer: "12D3", data: { notAfter: new Date(0) }, count: 1 },
    }),
    {
      ...{ type: "refusal", outcome: "certificate-expired", peer: "worker-1 12D3" },
      detail: { address: "/ip4/10.0.0.7/tcp/1", direction: "inbound", message: "m", data: { notAfter: new Date(0) } },
    },
  );
  const early = eventOfEntry({
    ...common,
    ...{ type: "refusal", code: "tls-version", address: "a", direction: "inbound", name: undefined, peer: undefined },
    ...{ data: {}, count: 50 },
  });
  assert.equal([early.peer, early.detail?.["count"]], [undefined, 50]);
  const act = eventOfEntry({
    ...common,
    ...{ type: "act.refused", code: "not-authorized", act: "job.dispatch", name: "worker-1", role: "worker" },
    ...{ serial: "01", peer: "12D3", rule: "table", count: 3 },
  });
  assert.equal(act, {
    ...{ type: "act.refused", outcome: "not-authorized", peer: "worker-1 12D3" },
    detail: { act: "job.dispatch", role: "worker", serial: "01", rule: "table", count: 3, message: "m" },
  });
  const summary = { from: "a", to: "b", host: "/ip4/10.0.0.7", counts: { "rate-limited": 7 } };
  assert.equal(eventOfEntry({ type: "refusal.summary", ...summary }), {
    ...{ type: "refusal.summary", outcome: "refused", detail: summary },
  });
});

test("decisions in the log become records, other lines and refusals do not", () => {
  const line = { level: "info", message: "m", fields: { name: "worker-1", peer: "12D3", reason: "by-us" } } as const;
  assert.equal(eventOfReport({ ...line, event: "peer.closed" }), {
    ...{ type: "peer.closed", outcome: "done", peer: "worker-1 12D3", detail: { reason: "by-us", message: "m" } },
  });
  assert.is(eventOfReport({ ...line, event: "trust.loaded" })?.type, "trust.loaded");
  assert.is(eventOfReport({ level: "warn", event: "rules.broken", message: "m" })?.outcome, "warned");
  assert.is(eventOfReport({ level: "error", event: "job.refused", message: "m" })?.peer, undefined);
  for (const event of ["peer.refused", "act.refused", "node.summary", "audit.unwritten", "job.output"]) {
    assert.is(eventOfReport({ ...line, event }), undefined, event);
  }
});

test("a refusal has a count where it stands for more than one", () => {
  const entry = {
    ...{ type: "refusal", time: "2026-01-31T12:00:00.000Z", message: "m", hint: "h", code: "tls-version" } as const,
    ...{ address: "a", direction: "inbound", name: "worker-1", peer: "12D3", data: {} } as const,
  };
  const countOf = (count: number) => eventOfEntry({ ...entry, count }).detail?.["count"];
  assert.equal([0, 1, 2].map(countOf), [undefined, undefined, 2]);
});

test("a line's level is its outcome, and its peer what it names of it", () => {
  const line = { level: "info", event: "peer.closed", message: "m" } as const;
  assert.equal((["error", "warn", "info"] as const).map((level) => eventOfReport({ ...line, level })?.outcome), [
    "failed",
    "warned",
    "done",
  ]);
  const peerOf = (fields: Readonly<Record<string, unknown>>) => eventOfReport({ ...line, fields })?.peer;
  assert.is(peerOf({ name: "worker-1" }), "worker-1");
  assert.is(peerOf({ name: 7, peer: "12D3" }), "12D3");
  assert.is(peerOf({ name: null }), undefined);
});

test("lines that are decisions come into the inbox, and all go on", () => {
  const inbox = new AuditInbox("/nowhere", () => 0);
  const lines: Report[] = [];
  const report = recordReports((line) => void lines.push(line), inbox);
  const events = ["peer.closed", "node.summary", "crl.taken", "crl.other"];
  for (const event of events) report({ level: "info", event, message: "m" });
  assert.equal(lines.map(({ event }) => event), events);
  assert.is(inbox.unkept, 2);
});

test.run();
