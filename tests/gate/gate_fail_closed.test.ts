/**
 * Whatever goes wrong in a gate, the connection is refused or closed: an error thrown anywhere, a rejected promise, an
 * outcome that is none, a clock that jumps, an event without a content. And what goes wrong in the audit changes nothing.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimulatedClock } from "xstate";
import { alarmEveryMs, type AuditSink, steadySink } from "../../actors/trust/audit.ts";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { gateCheckNames, type VerifyingCheckName } from "../../actors/gate/gate_checks.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { type CheckFunctions, pkiChecks } from "../../pki/checks/check_table.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import type { Gate, GateCommand, GateEvent, GateInput } from "../../transport/port.ts";
import { at, forge, forgeListPem, later } from "../support/forge.ts";
import { checkNames, gateInput } from "../support/gates.ts";

const test = suite("fail closed");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle, serial: 0x55 });
const chain = [leaf.der, middle.der];
const dayMs = 24 * 60 * 60 * 1_000;

let generation = 0;
const trust = (crlsPem?: string): TrustSnapshot => {
  const input = { trustPem: root.pem, crlsPem, policy: defaultPolicy, generation: ++generation, at };
  return Result.getOrThrow(makeTrustSnapshot(input)).snapshot;
};

interface SetUp {
  readonly checks?: CheckFunctions;
  readonly now?: () => number;
  readonly input?: Partial<GateInput>;
}

function setUp({ checks = pkiChecks, now, input }: SetUp = {}) {
  const clock = new SimulatedClock();
  const time = { now: now ?? (() => at.getTime() + clock.now()) };
  const reports: Report[] = [];
  const ports = { now: () => time.now(), report: (report: Report) => void reports.push(report) };
  const gate = makeGateFactory({ ports, clock, checks })(gateInput(trust(), input));
  const said: GateEvent[] = [];
  gate.listen((each) => said.push(each));
  return { gate, said, reports, time, pass: (ms: number) => clock.increment(ms) };
}

const secured: GateCommand = { type: "tls.secured", version: "TLSv1.3", chain };
function open(gate: Gate): void {
  gate.send({ type: "connection.securing" });
  gate.send(secured);
}
function establish(gate: Gate): void {
  open(gate);
  gate.send({ type: "connection.opened" });
  assert.is(gate.phase, "established");
}

/** What a check may give by mistake; none of it is an outcome. */
const mistakes: readonly (readonly [name: string, give: () => unknown])[] = [
  ["undefined", () => undefined],
  ["null", () => null],
  ["true", () => true],
  ["an empty object", () => ({})],
  ["what looks like a success", () => ({ _tag: "Success", success: {}, value: {} })],
  ["a function", () => () => Result.succeed({})],
  ["a promise of a success", () => Promise.resolve(Result.succeed({}))],
  ["a promise that is rejected", () => Promise.reject(new Error("late"))],
  ["a thenable", () => ({ then: (done: (value: unknown) => void) => done(Result.succeed({})) })],
  ["a thrown error", () => {
    throw new Error("thrown");
  }],
  ["a thrown text", () => {
    throw "thrown";
  }],
  ["a thrown undefined", () => {
    throw undefined;
  }],
];
const isVerifying = (name: string): name is VerifyingCheckName => name !== "admission";
const checks = checkNames.filter(isVerifying);
test("every check is made, in this order", () => assert.equal(gateCheckNames, checkNames));
const mistaken = (check: VerifyingCheckName, give: () => unknown, from = 0): CheckFunctions => {
  let calls = 0;
  const real = pkiChecks[check as "path"] as (...args: unknown[]) => unknown;
  return { ...pkiChecks, [check]: (...args: unknown[]) => calls++ < from ? real(...args) : give() } as CheckFunctions;
};

for (const check of checks) {
  test(`whatever ${check} gives that is no outcome, the connection is refused`, async () => {
    for (const [name, give] of mistakes) {
      const { gate, said } = setUp({ checks: mistaken(check, give) });
      open(gate);
      assert.is(gate.phase, "refused", name);
      assert.is(gate.refusal?.code, "internal", name);
      gate.send({ type: "connection.opened" });
      assert.is(gate.phase, "refused", name);
      assert.equal(said.map(({ type }) => type), ["gate.refused"], name);
    }
    await new Promise((resolve) => setTimeout(resolve, 1)); // a rejection that nobody handles ends the process by now
  });
}

test("whatever a check gives at a later verification that is no outcome, the connection is closed", async () => {
  for (const check of ["algorithm", "path", "validity", "revocation", "role"] as const) {
    for (const [name, give] of mistakes) {
      const { gate, said } = setUp({ checks: mistaken(check, give, 1) });
      establish(gate);
      gate.send({ type: "trust.changed", snapshot: { ...trust(), anchorsId: "other" } });
      assert.is(gate.phase, "closed", `${check}: ${name}`);
      assert.is(gate.refusal?.code, "internal", `${check}: ${name}`);
      assert.is(said.at(-1)?.type, "gate.closed");
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
});

test("whatever admission gives that is no outcome, the connection is refused before anything else", async () => {
  for (const [name, give] of mistakes.filter(([name]) => !name.startsWith("a thrown"))) {
    const { gate } = setUp({ input: { admission: give() as never } });
    assert.is(gate.phase, "refused", name);
    open(gate);
    gate.send({ type: "connection.opened" });
    assert.is(gate.phase, "refused", name);
  }
  await new Promise((resolve) => setTimeout(resolve, 1));
});

const clocks: readonly (readonly [name: string, now: () => number])[] = [
  ["throws", () => {
    throw new Error("no clock");
  }],
  ["says NaN", () => NaN],
  ["says undefined", () => undefined as never],
  ["says a text", () => "now" as never],
  ["says infinity", () => Infinity],
  ["is beyond every date", () => 8.64e15 + 1],
];
for (const [name, now] of clocks) {
  test(`a clock that ${name}: refused when it does so from the start or at the verdict, closed when later`, () => {
    const always = setUp({ now });
    open(always.gate);
    assert.is(always.gate.phase, "refused");
    assert.is(always.gate.refusal?.code, "internal");

    const atVerdict = setUp();
    atVerdict.gate.send({ type: "connection.securing" });
    atVerdict.time.now = now;
    atVerdict.gate.send(secured);
    assert.is(atVerdict.gate.phase, "refused");
    assert.is(atVerdict.said.at(-1)?.type, "gate.refused");

    const later = setUp();
    establish(later.gate);
    later.time.now = now;
    later.gate.send({ type: "trust.changed", snapshot: trust() });
    assert.is(later.gate.phase, "closed");
    assert.is(later.gate.refusal?.code, "internal");
  });
}

test("a gate that dies in a timer is refused, and says so at once", () => {
  const { gate, said, time, pass } = setUp();
  establish(gate);
  // The expiry is looked at, the chain still holds, and asking for the next look throws: the actor dies of it.
  let calls = 0;
  const start = at.getTime();
  time.now = () => {
    if (++calls > 1) throw new Error("no clock");
    return start;
  };
  pass(366 * dayMs);
  assert.is(gate.phase, "refused");
  assert.is(gate.refusal?.code, "internal");
  assert.equal(said.map(({ type }) => type), ["gate.verified", "gate.established", "gate.refused"]);
  gate.send({ type: "connection.opened" });
  assert.is(gate.phase, "refused");
});

test("a clock that jumps back before the certificate's time closes an open connection at the next verification", () => {
  const { gate, time } = setUp();
  establish(gate);
  time.now = () => later(-30).getTime();
  gate.send({ type: "trust.changed", snapshot: trust() });
  assert.is(gate.phase, "closed");
  assert.is(gate.refusal?.code, "certificate-not-yet-valid");
});

test("a clock that jumps back before a list's time closes, and does not bring a revoked peer back", () => {
  const lists = forgeListPem(root) + forgeListPem(middle, { thisUpdate: at });
  const early = setUp();
  establish(early.gate);
  early.time.now = () => at.getTime() - 1;
  early.gate.send({ type: "trust.changed", snapshot: trust(lists) });
  assert.is(early.gate.refusal?.code, "crl-not-yet-valid");

  const revoked = forgeListPem(root) + forgeListPem(middle, { revoked: ["55"] });
  for (const days of [-30, -1, 400]) {
    const { gate, time } = setUp();
    establish(gate);
    time.now = () => later(days).getTime();
    gate.send({ type: "trust.changed", snapshot: trust(revoked) });
    assert.is(gate.phase, "closed", `${days} days`);
  }
});

test("a clock that jumps back or ahead between creation and verdict refuses", () => {
  for (const days of [-400, -1, 366]) {
    const { gate, time } = setUp();
    gate.send({ type: "connection.securing" });
    time.now = () => later(days).getTime();
    gate.send(secured);
    assert.is(gate.phase, "refused", `${days} days`);
  }
});

/** Events as a careless transport might send them. */
const careless: readonly (readonly [name: string, event: unknown])[] = [
  ["tls.secured without a chain", { type: "tls.secured", version: "TLSv1.3" }],
  ["tls.secured without a version", { type: "tls.secured", chain }],
  ["tls.secured with a version that is no text", { type: "tls.secured", version: ["TLSv1.3"], chain }],
  ["tls.secured with a text for a chain", { type: "tls.secured", version: "TLSv1.3", chain: "leaf" }],
  ["tls.secured with texts in its chain", { type: "tls.secured", version: "TLSv1.3", chain: ["leaf"] }],
  ["tls.secured with nothing in its chain", { type: "tls.secured", version: "TLSv1.3", chain: [undefined] }],
  ["tls.failed without a refusal", { type: "tls.failed" }],
  ["opening.failed without a refusal", { type: "opening.failed" }],
  ["trust.changed without a snapshot before the verdict", { type: "trust.changed" }],
  ["an event of no type", {}],
  ["an event of a type that is no text", { type: 7 }],
];
for (const [name, event] of careless) {
  test(`${name} lets nobody in`, () => {
    const { gate } = setUp();
    gate.send({ type: "connection.securing" });
    try {
      gate.send(event as GateCommand);
    } catch {
      // A thrown error is the sender's; the gate stays shut.
    }
    for (const next of [{ type: "connection.opened" }, secured, { type: "connection.opened" }] as const) {
      gate.send(next);
    }
    assert.is(gate.phase, "refused");
    assert.ok(gate.refusal !== undefined && gate.refusal.hint.length > 10);
    assert.is(gate.identity, undefined);
  });
}

test("a gate knows nobody before the verdict, who was presented after it", () => {
  const { gate } = setUp();
  assert.equal([gate.identity, gate.presented, gate.refusal], [undefined, undefined, undefined]);
  gate.send({ type: "connection.securing" });
  gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [forge("stranger").der] });
  assert.is(gate.phase, "refused");
  assert.is(gate.identity, undefined);
  assert.is(gate.presented?.name, "stranger");
  assert.match(gate.presented?.id ?? "", /^12D3KooW/);

  const unread = setUp();
  unread.gate.send({ type: "connection.securing" });
  unread.gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [forge("odd", { algorithm: "ed448" }).der] });
  assert.is(unread.gate.phase, "refused");
  assert.is(unread.gate.identity, undefined);
  assert.is(unread.gate.presented, undefined, "a key of which no PeerID is made presents nobody");
});

const sinks: readonly (readonly [name: string, record: () => unknown])[] = [
  ["throws", () => {
    throw new Error("disk full");
  }],
  ["throws nothing at all", () => {
    throw undefined;
  }],
  ["gives a promise that is rejected", () => Promise.reject(new Error("disk full"))],
];
for (const [name, record] of sinks) {
  test(`an audit sink that ${name} throws nothing further, is counted, and raises one alarm a while`, async () => {
    const reports: Report[] = [];
    let now = 0;
    const sink = steadySink({ record } as AuditSink, { now: () => now, report: (report) => void reports.push(report) });
    const settled = () => new Promise((resolve) => setTimeout(resolve, 1));
    for (let round = 0; round < 3; round++) sink.record({} as never);
    await settled();
    assert.is(sink.failures, 3);
    assert.equal(reports.map(({ event, level }) => [event, level]), [["audit.failed", "error"]]);
    now += alarmEveryMs;
    sink.record({} as never);
    await settled();
    assert.is(reports.length, 2);
  });
}

test.run();
