/**
 * The gate as long as its connection lives: deadlines, new trust, expiry, the end; on a clock that the test turns.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createActor, SimulatedClock } from "xstate";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { connectionGateMachine, expiryCheckMinMs, phaseOf } from "../../actors/gate/connection_gate.ts";
import { clockBackMaxMs } from "../../actors/gate/gate_checks.ts";
import { type Report, timerMaxMs } from "../../actors/runtime/ports.ts";
import type { CheckFunctions } from "../../pki/checks/check_table.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { Unreachable } from "../../pki/refusal.ts";
import type { Gate, GateCommand, GateEvent, GateInput, GatePhase } from "../../transport/port.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";
import { type CheckCounts, gateInput, scripted, scriptedChecks, secured } from "../support/gates.ts";

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root, notAfter: later(900) });
const leaf = forge("leaf", { issuer: middle, serial: 0x55 });
const stranger = forge("stranger", { ca: true });

let generation = 0;
const trust = (anchors: readonly Forged[], crlsPem?: string): TrustSnapshot =>
  Result.getOrThrow(makeTrustSnapshot({
    trustPem: anchors.map(({ pem }) => pem).join(""),
    crlsPem,
    policy: defaultPolicy,
    generation: ++generation,
    at,
  })).snapshot;
const lists = (revoked: string[] = []) => forgeListPem(root) + forgeListPem(middle, { revoked });

/** A simulated clock whose timers are as short as the runtimes': a longer delay fires after a millisecond. */
class RuntimeClock extends SimulatedClock {
  override setTimeout(fn: (...args: unknown[]) => void, timeout: number): number {
    return super.setTimeout(fn, timeout > timerMaxMs ? 1 : timeout);
  }
}

/** A gate on a clock of its own; `pass` lets time go by, for timers and dates alike. */
function setUp(options: { readonly input?: Partial<GateInput>; readonly checks?: CheckFunctions } = {}) {
  const { input, checks } = options;
  const clock = new RuntimeClock();
  const skew = { ms: 0 };
  const reports: Report[] = [];
  const ports = { now: () => at.getTime() + clock.now() + skew.ms, report: (each: Report) => void reports.push(each) };
  const snapshot = checks === undefined ? trust([root]) : scripted(1, "a");
  const gate = makeGateFactory({ ports, clock, ...(checks === undefined ? {} : { checks }) })(
    gateInput(snapshot, input),
  );
  const said: GateEvent[] = [];
  gate.listen((each) => said.push(each));
  return { gate, said, reports, skew, pass: (ms: number) => clock.increment(ms) };
}

function open(gate: Gate, chain: readonly Forged[] = [leaf, middle]): void {
  gate.send({ type: "connection.securing" });
  gate.send({ type: "tls.secured", version: "TLSv1.3", chain: chain.map(({ der }) => der) });
}
function establish(gate: Gate, chain?: readonly Forged[]): void {
  open(gate, chain);
  gate.send({ type: "connection.opened" });
}

const test = suite("the gate's life");

test("goes through its phases in order and says so once each", () => {
  const { gate, said } = setUp();
  assert.is(gate.phase, "admitting");
  gate.send({ type: "connection.securing" });
  assert.is(gate.phase, "securing");
  gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [leaf.der, middle.der] });
  assert.is(gate.phase, "opening");
  gate.send({ type: "connection.opened" });
  assert.is(gate.phase, "established");
  gate.send({ type: "connection.opened" });
  gate.send({ type: "connection.closed", by: "them", detail: "end" });
  assert.is(gate.phase, "closed");
  gate.send({ type: "close", reason: "late" });
  assert.equal(said.map(({ type }) => type), ["gate.verified", "gate.established", "gate.closed"]);
  assert.equal(said.at(-1), { type: "gate.closed", reason: { type: "by-them" } });
});

test("one deadline covers admitting and securing, to the millisecond", () => {
  for (const securingAt of [undefined, 0, 4_000]) {
    const { gate, pass } = setUp();
    if (securingAt !== undefined) {
      pass(securingAt);
      gate.send({ type: "connection.securing" });
    }
    pass(4_999 - (securingAt ?? 0));
    assert.is(gate.phase, securingAt === undefined ? "admitting" : "securing");
    pass(1);
    assert.is(gate.phase, "refused");
    assert.is(gate.refusal?.code, "handshake-timeout");
    assert.match(gate.refusal?.message ?? "", securingAt === undefined ? "admission" : "TLS");
  }
});

test("opening has a deadline of its own, established none", () => {
  const late = setUp();
  open(late.gate);
  late.pass(5_000);
  assert.is(late.gate.refusal?.code, "handshake-timeout");
  const inTime = setUp();
  establish(inTime.gate);
  inTime.pass(60_000);
  assert.is(inTime.gate.phase, "established");
});

test("a deadline beyond what timers keep does not fire at once", () => {
  const { gate, pass } = setUp({ input: { deadlineMs: 2 ** 40 } });
  pass(1);
  pass(1_000);
  assert.is(gate.phase, "admitting");
});

test("what ends before it is open is refused; hung-up where the peer went", () => {
  const refusal = new Unreachable({ detail: "test" });
  for (const stage of ["admitting", "securing", "opening"] as const) {
    const fresh = () => {
      const { gate } = setUp();
      if (stage === "securing") gate.send({ type: "connection.securing" });
      if (stage === "opening") open(gate);
      assert.is(gate.phase, stage);
      return gate;
    };
    const gone = fresh();
    gone.send({ type: "connection.closed", by: "them", detail: "end of stream" });
    assert.is(gone.refusal?.code, "hung-up");
    for (const type of ["tls.failed", "opening.failed"] as const) {
      const failed = fresh();
      failed.send({ type, refusal });
      assert.is(failed.refusal, refusal);
      assert.is(failed.phase, "refused");
    }
    const ours = fresh();
    ours.send({ type: "close", reason: "drain" });
    assert.is(ours.phase, "closed");
    assert.is(gone.phase, "refused");
  }
});

test("says who ended it, at every stage, and why it refused", () => {
  const lastOf = (stage: GatePhase, event: GateCommand) => {
    const { gate, said } = setUp();
    if (stage === "securing") gate.send({ type: "connection.securing" });
    if (stage === "opening") open(gate);
    if (stage === "established") establish(gate);
    assert.is(gate.phase, stage);
    gate.send(event);
    const last = said.at(-1);
    assert.is(gate.phase, last?.type === "gate.refused" ? "refused" : "closed");
    return last?.type === "gate.closed" ? last.reason : last?.type === "gate.refused" ? last.refusal.code : last;
  };
  const refusal = new Unreachable({ detail: "test" });
  const closed = (by: "us" | "them" | "lost") => ({ type: "connection.closed", by, detail: "the end" }) as const;
  for (const stage of ["admitting", "securing", "opening", "established"] as const) {
    assert.equal(lastOf(stage, closed("us")), { type: "by-us", detail: "the end" });
    assert.equal(lastOf(stage, { type: "close", reason: "drain" }), { type: "by-us", detail: "drain" });
    if (stage === "established") continue;
    for (const by of ["them", "lost"] as const) assert.is(lastOf(stage, closed(by)), "hung-up");
    for (const type of ["tls.failed", "opening.failed"] as const) {
      assert.is(lastOf(stage, { type, refusal }), "unreachable");
    }
  }
  assert.equal(lastOf("established", closed("them")), { type: "by-them" });
  assert.equal(lastOf("established", closed("lost")), { type: "lost", detail: "the end" });
  const odd = { type: "tls.failed", refusal } as const;
  assert.equal(lastOf("established", odd), { type: "lost", detail: "unforeseen tls.failed" });
});

test("a value of the machine's state is the phase it amounts to", () => {
  const values: [value: Parameters<typeof phaseOf>[0], phase: GatePhase][] = [
    ["established", "established"],
    [{ handshaking: "checkingAdmission" }, "admitting"],
    [{ handshaking: "admitting" }, "admitting"],
    [{ handshaking: "securing" }, "securing"],
    [{ verifying: "checkingPath" }, "verifying"],
    [{ reverifying: "checkingPath" }, "reverifying"],
  ];
  for (const [value, phase] of values) assert.is(phaseOf(value), phase);
  assert.equal([timerMaxMs, expiryCheckMinMs, clockBackMaxMs], [2_147_483_647, 50, 1_000]);
});

test("an open connection cannot be opened before its verdict", () => {
  const { gate } = setUp();
  gate.send({ type: "connection.securing" });
  gate.send({ type: "connection.opened" });
  assert.is(gate.phase, "refused");
  assert.is(gate.refusal?.code, "internal");
});

test("a second chain on an established connection closes it", () => {
  const { gate } = setUp();
  establish(gate);
  gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [] });
  assert.is(gate.phase, "closed");
});

test("the newest snapshot counts", () => {
  const { gate } = setUp();
  gate.send({ type: "connection.securing" });
  gate.send({ type: "trust.changed", snapshot: trust([root], lists(["55"])) });
  assert.is(gate.phase, "securing");
  gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [leaf.der, middle.der] });
  assert.is(gate.refusal?.code, "certificate-revoked");
});

for (const stage of ["opening", "established"] as const) {
  test(`new trust in ${stage}: stays where it holds, closes where it doesn't`, () => {
    const { gate, said } = setUp();
    open(gate);
    if (stage === "established") gate.send({ type: "connection.opened" });
    for (const snapshot of [trust([root], lists()), trust([root, stranger]), trust([middle]), trust([root], lists())]) {
      gate.send({ type: "trust.changed", snapshot });
      assert.is(gate.phase, stage);
    }
    const before = said.length;
    gate.send({ type: "trust.changed", snapshot: trust([root], lists(["55"])) });
    assert.is(gate.phase, "closed");
    const last = said.at(-1);
    assert.ok(said.length === before + 1 && last?.type === "gate.closed" && last.reason.type === "trust.changed");
    assert.is(gate.refusal?.code, "certificate-revoked");
  });
}

test("an anchor taken away closes its connections", () => {
  const { gate } = setUp();
  establish(gate);
  gate.send({ type: "trust.changed", snapshot: trust([stranger]) });
  assert.is(gate.phase, "closed");
  assert.is(gate.refusal?.code, "unknown-issuer");
});

test("signatures are repeated only where the anchors changed, the rest of trust every time", () => {
  const counts: CheckCounts = new Map();
  const { gate } = setUp({ checks: scriptedChecks({ counts }) });
  gate.send({ type: "connection.securing" });
  gate.send(secured());
  gate.send({ type: "connection.opened" });
  const count = () =>
    ["wellFormed", "path", "validity", "revocation", "role"].map((name) => counts.get(name as "path"));
  assert.equal(count(), [1, 1, 1, 1, 1]);
  gate.send({ type: "trust.changed", snapshot: scripted(2, "a") });
  assert.equal(count(), [1, 1, 2, 2, 2]);
  gate.send({ type: "trust.changed", snapshot: scripted(3, "b") });
  assert.equal(count(), [1, 2, 3, 3, 3]);
});

test("closes a connection whose certificate expires, and not a millisecond before", () => {
  const { gate, pass } = setUp();
  establish(gate, [forge("brief", { issuer: middle, notAfter: later(1) }), middle]);
  pass(24 * 60 * 60 * 1_000);
  assert.is(gate.phase, "established");
  pass(1);
  assert.is(gate.phase, "closed");
  assert.is(gate.refusal?.code, "certificate-expired");
});

test("closes at the end of what we showed the peer, and not a millisecond before; it is no reason to refuse a peer", () => {
  const own = { name: "own", notAfter: new Date(at.getTime() + 60_000) };
  const { gate, said, pass } = setUp({ input: { own } });
  establish(gate);
  pass(60_000);
  gate.send({ type: "trust.changed", snapshot: trust([root, stranger]) });
  assert.is(gate.phase, "established");
  pass(expiryCheckMinMs);
  assert.is(gate.phase, "closed");
  const last = said.at(-1);
  assert.ok(last?.type === "gate.closed" && last.reason.type === "expired");
  assert.match(last.reason.refusal.message, /own/);
  const late = setUp({ input: { own: { ...own, notAfter: new Date(at.getTime() - 1) } } });
  establish(late.gate);
  assert.is(late.gate.phase, "established");
  late.pass(expiryCheckMinMs);
  assert.equal([late.gate.phase, late.gate.refusal?.code], ["closed", "certificate-expired"]);
});

test("an expiry beyond 2^31 ms is not looked at in a loop", () => {
  const counts: CheckCounts = new Map();
  const { gate, pass } = setUp({ checks: scriptedChecks({ counts, expiresAt: later(60) }) });
  gate.send({ type: "connection.securing" });
  gate.send(secured());
  gate.send({ type: "connection.opened" });
  for (let ms = 0; ms < 100; ms++) pass(1);
  assert.is(counts.get("validity"), 1);
  pass(timerMaxMs);
  assert.is(counts.get("validity"), 2);
});

test("an expiry beyond 2^31 ms closes when it is due, not at once and not late", () => {
  const { gate, said, pass } = setUp();
  establish(gate, [forge("long", { issuer: middle, notAfter: later(60) }), middle]);
  // One timer a step: a simulated clock runs those of a bigger step late.
  pass(1);
  assert.is(gate.phase, "established");
  pass(timerMaxMs - 1);
  pass(timerMaxMs);
  assert.is(gate.phase, "established");
  pass(60 * 24 * 60 * 60 * 1_000 - 2 * timerMaxMs);
  assert.is(gate.phase, "established");
  pass(1);
  assert.is(gate.phase, "closed");
  const last = said.at(-1);
  assert.ok(last?.type === "gate.closed" && last.reason.type === "expired");
});

test("a clock that goes back while established only puts the next look off", () => {
  const { gate, pass, skew } = setUp();
  establish(gate, [forge("brief", { issuer: middle, notAfter: later(1) }), middle]);
  skew.ms = -3_600_000;
  pass(24 * 60 * 60 * 1_000 + 1);
  assert.is(gate.phase, "established");
  pass(3_600_000 + expiryCheckMinMs);
  assert.is(gate.phase, "closed");
});

test("a clock that goes back during the handshake refuses; a small step does not", () => {
  for (const [step, phase] of [[clockBackMaxMs, "opening"], [clockBackMaxMs + 1, "refused"]] as const) {
    const { gate, skew } = setUp();
    skew.ms = -step;
    open(gate);
    assert.is(gate.phase, phase);
  }
});

test("a check that throws, says nothing or promises refuses with internal", () => {
  for (const behaviour of ["throws", "says nothing", "promises"] as const) {
    const { gate } = setUp({ checks: scriptedChecks() });
    gate.send({ type: "connection.securing" });
    gate.send(secured({ identity: behaviour }));
    assert.is(gate.phase, "refused");
    assert.is(gate.refusal?.code, "internal");
  }
});

test("a gate whose actor dies is refused, and its listeners hear it", () => {
  const { gate, said } = setUp();
  establish(gate);
  gate.send({ type: "trust.changed", snapshot: undefined as never });
  assert.is(gate.phase, "refused");
  assert.is(gate.refusal?.code, "internal");
  assert.is(said.at(-1)?.type, "gate.refused");
  gate.send({ type: "connection.opened" });
  assert.is(gate.phase, "refused");
});

test("a listener sees the new phase, may send, and may throw without harm", () => {
  const { gate, said, reports } = setUp();
  const phases: string[] = [];
  gate.listen(() => {
    throw new Error("listener");
  });
  gate.listen((each) => {
    phases.push(gate.phase);
    if (each.type === "gate.established") {
      gate.send({ type: "close", reason: "changed my mind" });
      phases.push(`then ${gate.phase}`);
    }
  });
  establish(gate);
  assert.equal(phases, ["opening", "established", "closed", "then closed"]);
  assert.is(said.length, 3);
  assert.is(reports.filter(({ event }) => event === "gate.listener_failed").length, 3);
});

test("a listener that stopped listening hears nothing more, and a stopped gate fires no timer", () => {
  const { gate, pass } = setUp();
  let heard = 0;
  const stop = gate.listen(() => heard += 1);
  stop();
  open(gate);
  gate.stop();
  pass(10_000);
  assert.is(heard, 0);
  assert.is(gate.phase, "opening");
});

test("an inspector is told of each event", () => {
  const seen: string[] = [];
  const ports = { now: () => at.getTime(), report: () => {} };
  const gate = makeGateFactory({
    ports,
    clock: new SimulatedClock(),
    inspect: (told) => {
      if (told.type === "@xstate.event") seen.push(told.event.type);
    },
  })(gateInput(trust([root])));
  gate.send({ type: "connection.securing" });
  assert.equal(seen.filter((type) => !type.startsWith("xstate.")), ["connection.securing"]);
});

test("the established context is plain data that keeps the chain once, and every proof", () => {
  const actor = createActor(connectionGateMachine, { input: { ...gateInput(trust([root])), now: () => at.getTime() } });
  actor.start();
  actor.send({ type: "connection.securing" });
  actor.send({ type: "tls.secured", version: "TLSv1.3", chain: [leaf.der, middle.der] });
  actor.send({ type: "connection.opened" });
  const { input: { now: _, checks: __, ...input }, ...record } = actor.getSnapshot().context;
  structuredClone({ input, record });
  assert.equal(record.chain, []);
  for (const name of ["admission", "tlsVersion", "wellFormed", "path", "revocation", "identity", "role"] as const) {
    assert.ok(record[name] !== undefined && Result.isSuccess(record[name]), name);
  }
  actor.stop();
});

test.run();
