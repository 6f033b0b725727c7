import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createActor, SimulatedClock } from "xstate";
import { alarmEveryMs, type AuditEntry, type AuditSink } from "../../actors/trust/audit.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import {
  type ActRefused,
  earlyCodes,
  gatherMs,
  hostOf,
  hostsMax,
  otherHosts,
  type PeerRefused,
  refusalLogMachine,
} from "../../actors/trust/refusal_log.ts";
import {
  HandshakeTimeout,
  NotAuthorized,
  ProtocolMismatch,
  RateLimited,
  type Refusal,
  TlsVersion,
  TooManyConnections,
  UnknownIssuer,
} from "../../pki/refusal.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { Admission, defaultLimits } from "../../transport/core/admission.ts";

const test = suite("refusalLogMachine");

function start(sink?: AuditSink) {
  const clock = new SimulatedClock();
  const reports: Report[] = [];
  const records: AuditEntry[] = [];
  const refusalLog = createActor(refusalLogMachine, {
    clock,
    input: {
      ports: { now: () => clock.now(), report: (each) => void reports.push(each) },
      sink: sink ?? { record: (entry) => void records.push(entry) },
    },
  });
  refusalLog.start();
  return { refusalLog, clock, reports, records, counts: () => refusalLog.getSnapshot().context.counts };
}

const refused = (refusal: Refusal, address = "/ip4/127.0.0.1/tcp/40000", peer?: PeerRefused["peer"]): PeerRefused => ({
  type: "peer.refused",
  address,
  direction: "inbound",
  peer,
  refusal,
});
const limited = new RateLimited({ limit: "handshakes a second", max: 5 });
const early: readonly Refusal[] = [
  limited,
  new TooManyConnections({ limit: "connections", max: 5 }),
  new HandshakeTimeout({ state: "waiting for TLS", afterMs: 5_000 }),
  new ProtocolMismatch({ detail: "HTTP" }),
];
const stranger = new UnknownIssuer({ certificate: { subject: "CN=x", serial: "01" }, issuer: "CN=y" });
const tls = new TlsVersion({ detail: "TLSv1.2" });

test("the newest refusal of each code is known: when, from where, of whom", () => {
  const { refusalLog, clock } = start();
  refusalLog.send(refused(stranger, "/ip4/127.0.0.1/tcp/1", { name: "worker-01", id: "12D3KooWx" }));
  clock.increment(1_000);
  refusalLog.send(refused(stranger, "/ip4/127.0.0.2/tcp/2"));
  refusalLog.send(refused(limited));
  const { lasts } = refusalLog.getSnapshot().context;
  assert.equal([...lasts].map(([code, { at, address, name }]) => [code, at, address, name]), [
    ["unknown-issuer", 1_000, "/ip4/127.0.0.2/tcp/2", undefined],
    ["rate-limited", 1_000, "/ip4/127.0.0.1/tcp/40000", undefined],
  ]);
});

test("a refusal is one line and one record, with code, peer and hint", () => {
  const { refusalLog, reports, records, counts } = start();
  refusalLog.send(refused(stranger, "/ip4/127.0.0.1/tcp/1", { name: "worker-01", id: "12D3KooWx" }));
  refusalLog.send(refused(tls));
  assert.equal(reports.map(({ event, fields }) => [event, fields?.["code"]]), [
    ["peer.refused", "unknown-issuer"],
    ["peer.refused", "tls-version"],
  ]);
  const [line] = reports;
  assert.equal([line?.fields?.["name"], line?.fields?.["peer"]], ["worker-01", "12D3KooWx"]);
  assert.is(line?.fields?.["hint"], stranger.hint);
  assert.is(line?.message, stranger.message, "the hint is said once");
  assert.equal(records.map((each) => each.type === "refusal" && each.code), ["unknown-issuer", "tls-version"]);
  assert.equal(JSON.parse(JSON.stringify(records[0])).data.tag, "UnknownIssuer");
  assert.equal(counts(), { "unknown-issuer": 1, "tls-version": 1 });
});

test("early refusals are counted at once and said once a host and minute", () => {
  const { refusalLog, clock, reports, records, counts } = start();
  assert.equal([...earlyCodes].sort(), early.map(({ code }) => code).sort());
  for (let port = 1; port <= 500; port++) {
    for (const refusal of early) refusalLog.send(refused(refusal, `/ip4/127.0.0.1/tcp/${port}`));
    clock.increment(1);
  }
  refusalLog.send(refused(limited, "/ip4/127.0.0.2/tcp/1"));
  assert.equal([reports, records], [[], []]);
  assert.is(counts()["rate-limited"], 501);
  clock.increment(gatherMs - 501);
  assert.equal(reports, []);
  clock.increment(1);
  assert.is(reports.length, 2);
  assert.equal(records.map((each) => each.type === "refusal.summary" && each.host), [
    "/ip4/127.0.0.1",
    "/ip4/127.0.0.2",
  ]);
  assert.equal(reports[0]?.fields?.["refused"], {
    "rate-limited": 500,
    "too-many-connections": 500,
    "handshake-timeout": 500,
    "protocol-mismatch": 500,
  });
  clock.increment(2 * gatherMs);
  assert.is(reports.length, 2);
});

test("a summary says one refusal in its own words, how many more there were, of which host, and what to do", () => {
  const { refusalLog, clock, reports } = start();
  for (let attempt = 0; attempt < 5_313; attempt++) {
    refusalLog.send(refused(limited, `/ip4/198.51.100.7/tcp/${attempt}`));
  }
  for (let attempt = 0; attempt < 3; attempt++) {
    refusalLog.send(refused(early[2] ?? limited, "/ip4/198.51.100.7/tcp/1"));
  }
  refusalLog.send(refused(new ProtocolMismatch({ detail: "HTTP" }), "/ip6/2001:db8::1/tcp/1"));
  clock.increment(gatherMs);
  assert.equal(reports.map(({ message }) => message), [
    `${limited.message}; and 5,312 more of \`rate-limited\`, 3 of \`handshake-timeout\` from 198.51.100.7`,
    "Cannot speak with peer: HTTP (from 2001:db8::1)",
  ]);
  assert.equal(reports.map(({ fields }) => [fields?.["code"], fields?.["hint"]]), [
    ["rate-limited", limited.hint],
    ["protocol-mismatch", new ProtocolMismatch({ detail: "" }).hint],
  ]);
});

test("what strikes after a certificate was seen is one line and one record, whatever its code", () => {
  const { refusalLog, reports, records } = start();
  const peer = { name: "worker-01", id: "12D3KooWx" };
  for (const refusal of early) refusalLog.send(refused(refusal, "/ip4/127.0.0.1/tcp/1", peer));
  assert.equal(
    reports.map(({ event, fields }) => [event, fields?.["name"]]),
    early.map(() => ["peer.refused", "worker-01"]),
  );
  assert.equal(records.map((each) => each.type === "refusal" && each.code), early.map(({ code }) => code));
});

/**
 * Goal: a refused member that dials as fast as it can brings about a bounded number of lines, though each refusal with a
 * certificate is one line and one record. Method: admission with its default limits before the refusal log, in virtual time.
 */
test("a flood with a certificate is one line and one record each, and no more of them than admission lets in", () => {
  const { refusalLog, clock, reports, records, counts } = start();
  const admission = new Admission(defaultLimits);
  const address = "/ip4/198.51.100.7/tcp/1";
  const revoked = new UnknownIssuer({ certificate: { subject: "CN=w", serial: "01" }, issuer: "CN=y" });
  const seconds = 30;
  const attempts = 500 * seconds;
  for (let attempt = 0; attempt < attempts; attempt++) {
    const admitted = admission.admit(address, clock.now());
    if (Result.isFailure(admitted)) refusalLog.send(refused(admitted.failure, address));
    else {
      refusalLog.send(refused(revoked, address, { name: "w", id: "12D3KooWx" }));
      admitted.success.release();
    }
    clock.increment(2);
  }
  refusalLog.send({ type: "refusals.flush" });
  const { handshakesBurst, handshakesPerSecond } = defaultLimits;
  const admittedMax = handshakesBurst + handshakesPerSecond * seconds;
  const lines = reports.filter(({ event }) => event === "peer.refused");
  assert.is(lines.length, counts()["unknown-issuer"]);
  assert.is(records.filter(({ type }) => type === "refusal").length, lines.length);
  assert.ok(lines.length > handshakesBurst && lines.length <= admittedMax, `${lines.length} lines`);
  assert.is((counts()["rate-limited"] ?? 0) + lines.length, attempts, "every one is counted");
  assert.is(reports.length - lines.length, 1, "all others are one line");
});

test("a flood does not put the summary off, and others are said meanwhile", () => {
  const { refusalLog, clock, reports } = start();
  for (let second = 0; second < 60; second++) {
    refusalLog.send(refused(limited));
    clock.increment(1_000);
  }
  assert.is(reports.length, 1);
  refusalLog.send(refused(limited));
  refusalLog.send(refused(stranger));
  assert.is(reports.length, 2);
});

test("hosts are told apart up to the bound, the rest share a row", () => {
  const { refusalLog, records, counts } = start();
  for (let host = 0; host < hostsMax + 10; host++) {
    refusalLog.send(refused(limited, `/ip4/10.0.${host >> 8}.${host & 255}/tcp/1`));
  }
  refusalLog.send(refused(limited, "/ip4/10.0.0.0/tcp/2"));
  assert.is(refusalLog.getSnapshot().context.gathered.size, hostsMax + 1);
  refusalLog.send({ type: "refusals.flush" });
  const shared = records.find((each) => each.type === "refusal.summary" && each.host === otherHosts);
  assert.equal(shared?.type === "refusal.summary" && shared.counts, { "rate-limited": 10 });
  assert.is(counts()["rate-limited"], hostsMax + 11);
});

test("refusals.flush writes what was gathered, once", () => {
  const { refusalLog, clock, reports } = start();
  refusalLog.send({ type: "refusals.flush" });
  assert.equal(reports, []);
  refusalLog.send(refused(limited));
  refusalLog.send({ type: "refusals.flush" });
  clock.increment(gatherMs);
  assert.is(reports.length, 1);
});

test("a sink that throws changes nothing but a counter, and an alarm once a while", () => {
  const { refusalLog, clock, reports, counts } = start({
    record: () => {
      throw new Error("disk full");
    },
  });
  for (let round = 0; round < 10; round++) refusalLog.send(refused(stranger));
  const alarms = () => reports.filter(({ event }) => event === "audit.failed");
  assert.is(counts()["unknown-issuer"], 10);
  assert.is(refusalLog.getSnapshot().context.sink.failures, 10);
  assert.is(refusalLog.getSnapshot().status, "active");
  assert.equal(alarms().map(({ level }) => level), ["error"]);
  clock.increment(alarmEveryMs - 1);
  refusalLog.send(refused(stranger));
  assert.is(alarms().length, 1);
  clock.increment(1);
  refusalLog.send(refused(stranger));
  assert.is(alarms().length, 2);
});

test("hostOf() leaves the port out and keeps the relay", () => {
  const cases: [string, string][] = [
    ["/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.1"],
    ["/ip6/::1/tcp/4001", "/ip6/::1"],
    ["/ip4/10.0.0.1/tcp/1/p2p/12D3relay/p2p-circuit", "/ip4/10.0.0.1/p2p/12D3relay/p2p-circuit"],
    ["/ip4/10.0.0.1/tcp/1/p2p/12D3relay/p2p-circuit/p2p/12D3peer", "/ip4/10.0.0.1/p2p/12D3relay/p2p-circuit"],
    ["nonsense", "nonsense"],
    ["", ""],
  ];
  for (const [address, host] of cases) assert.is(hostOf(address), host);
});

test("refusals that a role did not tell are counted with the next one, which says and records their number", () => {
  const { refusalLog, reports, records, counts } = start();
  const peer = { name: "worker-01", id: "12D3KooWx" };
  refusalLog.send({ ...refused(stranger, "/p2p/12D3KooWx", peer), untold: 0 });
  refusalLog.send({ ...refused(stranger, "/p2p/12D3KooWx", peer), untold: 4_999 });
  assert.equal(counts(), { "unknown-issuer": 5_001 });
  assert.equal(reports.map(({ fields }) => fields?.["untold"]), [0, 4_999]);
  assert.is(reports[0]?.message, stranger.message);
  assert.match(reports[1]?.message ?? "", /\(and 4,999 more since the last such line\)$/);
  assert.equal(records.map((entry) => entry.type === "refusal" && entry.count), [1, 5_000]);
});

test("a member's refused acts: counted with those that were not told, one line and one record for each that was", () => {
  const { refusalLog, reports, records, counts } = start();
  const refusal = new NotAuthorized({ act: "job.dispatch", role: "data", name: "data-01", rule: "row job.dispatch" });
  const identity = { serial: "0a", name: "data-01" } as PeerIdentity;
  const said = (untold: number): ActRefused => ({
    type: "act.refused",
    act: "job.dispatch",
    peer: "12D3KooWData",
    identity,
    refusal,
    untold,
  });
  refusalLog.send(said(0));
  refusalLog.send(said(4_999));
  assert.equal(counts(), { "not-authorized": 5_001 });
  const [first, second] = reports;
  assert.equal([reports.length, first?.event, first?.level], [2, "act.refused", "warn"]);
  assert.is(first?.message, "Cannot let data-01 (role data) do job.dispatch: row job.dispatch");
  assert.match(second?.message ?? "", /\(and 4,999 more since the last such line\)$/);
  const { code, act, role, name, peer, rule, serial } = first?.fields ?? {};
  assert.equal([code, act, role, name], ["not-authorized", "job.dispatch", "data", "data-01"]);
  assert.equal([peer, rule, serial], ["12D3KooWData", "row job.dispatch", "0a"]);
  assert.equal(records.map((entry) => entry.type === "act.refused" && [entry.code, entry.count, entry.peer]), [
    ["not-authorized", 1, "12D3KooWData"],
    ["not-authorized", 5_000, "12D3KooWData"],
  ]);
});

test.run();
