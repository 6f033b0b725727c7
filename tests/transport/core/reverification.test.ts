/** Trust changes that keep coming, and clocks that step: every gate is evaluated in time. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../../pki/path.ts";
import { CertificateExpired } from "../../../pki/refusal.ts";
import { defaultPolicy, type TrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import { ConnectionTable } from "../../../transport/core/connection_table.ts";
import { expirySweepMs, reverifySlice } from "../../../transport/core/reverification.ts";
import type { Gate, GateCommand, GateEvent, GateInput, GatePhase } from "../../../transport/port.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("Reverification");

/** Other events get their turn for this long, so that one slice after the other takes time. */
const turnMs = 1;

class BusyClock extends ManualClock {
  override yield(task: () => void): void {
    this.after(turnMs, task);
  }
}

/** Trust of a generation; a domain's anchors are those of its text. */
const trust = (
  generation: number,
  anchors: { readonly own?: string; readonly partner?: string } = {},
): TrustSnapshot => ({
  generation,
  anchors: [],
  anchorsId: JSON.stringify(anchors),
  ownAnchorsId: anchors.own ?? "",
  revocation: undefined,
  policy: defaultPolicy,
  domains: [{
    name: "partner.example",
    anchors: [],
    anchorsId: anchors.partner ?? "",
    revocation: undefined,
    policy: defaultPolicy,
  }],
});

/** A gate without checks that notes each snapshot and when it came. */
class NotingGate implements Gate {
  readonly id: string;
  readonly refusal = undefined;
  readonly #domain: string | undefined;
  readonly #clock: ManualClock;
  readonly #listeners: ((event: GateEvent) => void)[] = [];
  phase: GatePhase = "admitting";
  identity: PeerIdentity | undefined;
  expiresAt = Date.UTC(9999, 0);
  seen: { readonly generation: number; readonly at: number };
  evaluations = 0;

  constructor({ id, snapshot }: GateInput, clock: ManualClock, domain: string | undefined) {
    this.id = id;
    this.#clock = clock;
    this.#domain = domain;
    this.seen = { generation: snapshot.generation, at: clock.monotonic() };
  }

  send(command: GateCommand): void {
    if (command.type === "connection.securing") this.phase = "securing";
    else if (command.type === "connection.opened") this.phase = "established";
    else if (command.type === "tls.secured") {
      this.phase = "opening";
      const facts = { peer: this.id, name: this.id, subject: this.id, issuer: "", names: [], role: undefined };
      this.identity = {
        ...facts,
        domain: this.#domain,
        serial: "01",
        notAfter: new Date(0),
      } as unknown as PeerIdentity;
    } else if (command.type === "trust.changed") {
      this.seen = { generation: command.snapshot.generation, at: this.#clock.monotonic() };
      this.evaluations += 1;
      const at = new Date(this.#clock.now());
      const notAfter = new Date(this.expiresAt);
      if (at <= notAfter) return;
      this.phase = "closed";
      const refusal = new CertificateExpired({ certificate: { subject: this.id, serial: "01" }, at, notAfter });
      for (const listener of this.#listeners) listener({ type: "gate.closed", reason: { type: "expired", refusal } });
    }
  }

  listen(listener: (event: GateEvent) => void): () => void {
    this.#listeners.push(listener);
    return () => {};
  }

  stop(): void {}
}

function tableWith() {
  const log: string[] = [];
  const clock = new BusyClock();
  const gates: NotingGate[] = [];
  let domain: string | undefined;
  const table = new ConnectionTable({
    clock,
    makeGate: (input) => {
      const gate = new NotingGate(input, clock, domain);
      gates.push(gate);
      return gate;
    },
    snapshot: trust(1),
    identity: () => ({
      peer: "",
      chain: [],
      certPem: "",
      keyPem: "",
      generation: 1,
      name: "own",
      notAfter: new Date(0),
    }),
    limits: { ...defaultLimits, connectionsMax: 10_000, connectionsPerAddressMax: 10_000, handshakesBurst: 10_000 },
    handshakeTimeoutMs: 20_000,
    uuid: () => `gate ${gates.length}`,
    listener: { left: (_connection, { name }, reason) => log.push(`${name} ${reason.type}`) },
  });
  const stand = (count: number, of?: string) => {
    domain = of;
    for (let each = 0; each < count; each++) assert.ok(new FakeConnection().stand(table, []));
  };
  return { table, clock, gates, log, stand };
}

test("trust changes that keep coming starve no connection", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(4_000);
  let generation = 1;
  const changes = new Map<number, number>();
  const change = () => {
    changes.set(++generation, clock.monotonic());
    table.trustChanged(trust(generation));
    if (generation < 41) clock.after(50, change);
  };
  change();
  const late = new Set<string>();
  for (let elapsed = 0; elapsed < 4_000; elapsed += 50) {
    clock.pass(50);
    for (const { id, seen } of gates) {
      // The oldest change that the gate has not seen, where there is one.
      const missed = changes.get(seen.generation + 1);
      if (missed !== undefined && clock.monotonic() - missed > 1_000) late.add(id);
    }
  }
  assert.is(late.size, 0, `${late.size} of ${gates.length} gates missed a change for over a second`);
  assert.ok(gates.every(({ seen }) => seen.generation === generation));
  assert.is(clock.waits.filter((ms) => ms <= turnMs).length, 0, "the pass goes on after its end");
});

test("the gates of a domain whose anchors changed come first", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(3_000);
  stand(1_000, "partner.example");
  stand(1_000, "home.example");
  table.trustChanged(trust(2, { partner: "others" }));
  clock.pass(10_000);
  const latest = (from: number, to: number) => Math.max(...gates.slice(from, to).map(({ seen }) => seen.at));
  assert.ok(gates.every(({ seen }) => seen.generation === 2));
  assert.ok(latest(3_000, 4_000) <= 130 * turnMs, `${latest(3_000, 4_000)} ms`);
  const start = clock.monotonic();
  table.trustChanged(trust(3, { own: "others", partner: "others" }));
  clock.pass(10_000);
  // Names under a domain that is not configured are of the node's own bundle.
  assert.ok(latest(4_000, 5_000) > start + 200 * turnMs && latest(0, 3_000) > start + 200 * turnMs);
});

test("names under a domain that is not configured come first where the node's own anchors changed", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(1_000, "partner.example");
  stand(8 * reverifySlice, "home.example");
  const start = clock.monotonic();
  table.trustChanged(trust(2, { own: "others" }));
  clock.pass(10_000);
  const latest = Math.max(...gates.slice(1_000).map(({ seen }) => seen.at));
  assert.ok(latest <= start + 17 * turnMs, `${latest - start} ms`);
});

test("a domain whose anchors change all the time makes a pass over the others twice as long at most", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(2_000, "partner.example");
  stand(2_000);
  table.trustChanged(trust(2));
  let generation = 2;
  const change = () => {
    table.trustChanged(trust(++generation, { partner: String(generation) }));
    if (generation < 200) clock.after(5, change);
  };
  change();
  clock.pass(2 * gates.length / reverifySlice * turnMs);
  assert.ok(generation < 200, "the changes ended before");
  assert.is(gates.slice(2_000).filter(({ seen }) => seen.generation < 3).length, 0);
});

test("a gate that is created while a pass goes on has the newest trust, and is not evaluated again", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(40);
  table.trustChanged(trust(2));
  stand(1);
  clock.pass(100);
  assert.equal(gates.map(({ evaluations }) => evaluations), [...Array(40).fill(1), 0]);
  assert.is(gates.at(-1)?.seen.generation, 2);
});

test("connections that end meanwhile stop no pass, and the last one ends every timer", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(100);
  table.trustChanged(trust(2));
  for (const { connection } of [...table.rows()].slice(10, 60)) (connection as FakeConnection).end(table);
  clock.pass(100);
  assert.is(gates.filter(({ seen }) => seen.generation === 2).length, 16 + 40);
  for (const { connection } of [...table.rows()]) (connection as FakeConnection).end(table);
  clock.pass(turnMs);
  assert.is(clock.waiting, 0);
});

test("a gate that throws keeps no other gate from its turn", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(40);
  gates[3]!.send = () => {
    throw new Error("a gate's mistake");
  };
  assert.throws(() => table.trustChanged(trust(2)), /^a gate's mistake$/);
  clock.pass(100);
  assert.is(gates.filter(({ seen }) => seen.generation === 2).length, 39);
});

test("a clock that steps forward past notAfter closes the connection with the next sweep, and no other one", () => {
  const { clock, gates, log, stand } = tableWith();
  stand(40);
  const [expiring, lasting] = gates as [NotingGate, NotingGate];
  expiring.expiresAt = clock.now() + 3_600_000;
  lasting.expiresAt = clock.now() + 2 * 3_600_000;
  clock.pass(expirySweepMs + turnMs);
  assert.equal(gates.map(({ evaluations }) => evaluations), Array(40).fill(0), "nothing ended");
  clock.wallAt += 3_600_000 - expirySweepMs - turnMs;
  clock.pass(expirySweepMs - 2 * turnMs);
  assert.equal(log, []);
  clock.pass(2 * turnMs);
  assert.equal(log, [`${expiring.id} expired`]);
  assert.is(lasting.evaluations, 0);
});

test("the sweep goes on while any connection is left, and again with the first one after the last", () => {
  const { table, clock, log, gates, stand } = tableWith();
  const end = () => ([...table.rows()][0]?.connection as FakeConnection).end(table);
  stand(2);
  end();
  gates[1]!.expiresAt = clock.now() + 1;
  clock.pass(expirySweepMs + turnMs);
  assert.equal(log, [`${gates[1]!.id} expired`]);
  clock.settle();
  end();
  assert.is(clock.waiting, 0);
  stand(1);
  gates[2]!.expiresAt = clock.now() + 1;
  clock.pass(expirySweepMs + turnMs);
  assert.equal(log.slice(1), [`${gates[2]!.id} expired`]);
});

test("a connection that ends before its turn is not evaluated, though its domain's anchors changed", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(40, "partner.example");
  table.trustChanged(trust(2, { partner: "others" }));
  const last = gates.at(-1)!;
  ([...table.rows()].at(-1)?.connection as FakeConnection).end(table);
  clock.pass(100);
  assert.is(last.seen.generation, 1);
  assert.is(gates.at(-2)?.seen.generation, 2);
});

test("a gate without an end is not evaluated by the sweep", () => {
  const { clock, gates, stand } = tableWith();
  stand(1);
  Object.assign(gates[0]!, { expiresAt: undefined });
  clock.pass(3 * expirySweepMs);
  assert.is(gates[0]!.evaluations, 0);
});

test("every connection whose certificate has ended is evaluated by one sweep, also where a gate does not close", () => {
  const { clock, gates, stand } = tableWith();
  stand(5);
  const evaluated: string[] = [];
  for (const gate of gates) {
    gate.expiresAt = clock.now() + 1;
    gate.send = () => void evaluated.push(gate.id);
  }
  clock.pass(expirySweepMs + turnMs);
  assert.is(evaluated.length, 5);
});

test("changes of trust during a pass make no second one: a turn evaluates one slice", () => {
  const { table, clock, gates, stand } = tableWith();
  stand(10 * reverifySlice);
  for (let generation = 2; generation < 6; generation++) table.trustChanged(trust(generation));
  const evaluated = () => gates.filter(({ evaluations }) => evaluations > 0).length;
  assert.is(evaluated(), reverifySlice);
  clock.pass(turnMs);
  assert.is(evaluated(), 2 * reverifySlice);
});

test.run();
