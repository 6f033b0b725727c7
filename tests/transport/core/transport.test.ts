/** The transport actor, two and more of them on loopback with the network's own gate. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { TransportAsk } from "../../../transport/port.ts";
import { makeTestPki } from "../../support/pki.ts";
import { of, snapshotOf, startTransport, until } from "../../support/transports.ts";

const test = suite("transportLogic");
const pki = await makeTestPki();

test("establishes a peer at both ends, whose certificate proves who it is, and answers a dial once", async () => {
  const [a, b] = await Promise.all([startTransport({ pki, name: "a" }), startTransport({ pki, name: "b" })]);
  const target = { address: a.addresses[0] as string };
  const first = await b.ask({ type: "dial", id: "1", target });
  assert.equal(first, { type: "dial.done", id: "1", peer: a.peer });
  assert.is((await b.fact(of("peer.established"))).identity.name, "a");
  assert.is((await a.fact(of("peer.established"))).identity.name, "b");
  const again = await b.ask({ type: "dial", id: "2", target: { peer: a.peer } });
  assert.equal(again, { type: "dial.done", id: "2", peer: a.peer });
  const bare = await b.ask({ type: "dial", id: "3", target: { address: target.address.replace(/\/p2p\/.*/, "") } });
  assert.equal(bare, { type: "dial.done", id: "3", peer: a.peer });
  assert.is(b.facts.filter(of("peer.established")).length, 1);
  b.send({ type: "close", peer: a.peer, reason: "enough" });
  assert.equal((await b.fact(of("peer.closed"))).reason, { type: "by-us", detail: "enough" });
  assert.equal((await a.fact(of("peer.closed"))).reason, { type: "by-them" });
  assert.equal(await a.ask({ type: "peers" }), { type: "peers", list: [] });
  await Promise.all([a.stop(), b.stop()]);
});

test("sends a request and gets its response, both decoded", async () => {
  const [a, b] = await Promise.all([startTransport({ pki, name: "a" }), startTransport({ pki, name: "b" })]);
  a.send({ type: "serve", protocol: "/hypha-health/0.0.1" });
  await b.ask({ type: "dial", id: "1", target: { address: a.addresses[0] as string } });
  const answer = b.ask({
    type: "request",
    id: "r",
    peer: a.peer,
    protocol: "/hypha-health/0.0.1",
    message: {},
    timeoutMs: 2_000,
  });
  const { exchange, identity } = await a.fact(of("request.received"));
  assert.is(identity.name, "b");
  a.send({ type: "respond", exchange, message: { healthy: true } });
  assert.equal(await answer, { type: "response", id: "r", message: { healthy: true } });
  await Promise.all([a.stop(), b.stop()]);
});

test("a revoked peer is closed within a second and its redial refused", async () => {
  const [a, b] = await Promise.all([
    startTransport({ pki, name: "a", snapshot: snapshotOf(pki, { crlsPem: await pki.crls() }) }),
    startTransport({ pki, name: "b" }),
  ]);
  await b.ask({ type: "dial", id: "1", target: { address: a.addresses[0] as string } });
  const crlsPem = await pki.crls({ revoked: [b.node], number: 2n });
  const at = performance.now();
  a.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem, generation: 2 }) });
  const closed = await a.fact(of("peer.closed"));
  assert.ok(performance.now() - at < 1_000);
  assert.is(closed.reason.type, "trust.changed");
  await until("b to notice", () => b.facts.some(of("peer.closed")), 1_000);
  const again = await b.ask({ type: "dial", id: "2", target: { address: a.addresses[0] as string } });
  assert.is(again.type === "dial.failed" && again.refusal.code, "hung-up");
  assert.is((await a.fact(of("peer.refused"))).refusal.code, "certificate-revoked");
  const out = await a.ask({ type: "dial", id: "3", target: { address: b.addresses[0] as string } });
  assert.is(out.type === "dial.failed" && out.refusal.code, "certificate-revoked");
  await Promise.all([a.stop(), b.stop()]);
});

test("what is asked of it while it drains is refused, and not done", async () => {
  const [a, b] = await Promise.all([startTransport({ pki, name: "a" }), startTransport({ pki, name: "b" })]);
  const draining = a.ask({ type: "drain" });
  const late = await a.ask({ type: "dial", id: "late", target: { address: b.addresses[0] as string } });
  assert.is(late.type === "dial.failed" && late.refusal.code, "internal");
  assert.match(late.type === "dial.failed" ? late.refusal.message : "", "was drained");
  assert.is((await draining).type, "drained");
  assert.is(b.facts.filter(of("peer.established")).length, 0);
  await Promise.all([a.stop(), b.stop()]);
});

test("says which way a dial failed", async () => {
  const a = await startTransport({ pki, name: "a" });
  const nobody = await a.ask({ type: "dial", id: "1", target: { address: "/ip4/127.0.0.1/tcp/1" } });
  assert.is(nobody.type === "dial.failed" && nobody.refusal.code, "unreachable");
  const nonsense = await a.ask({ type: "dial", id: "2", target: { address: "nonsense" } });
  assert.is(nonsense.type === "dial.failed" && nonsense.refusal.code, "unreachable");
  const b = await startTransport({ pki, name: "b" });
  const wrong = (b.addresses[0] as string).replace(
    /\/p2p\/.*/,
    `/p2p/12D3KooWCdeFXToKJSgotLQahnWW5Ab6MtrzGkE3LskCRrhFjFT5`,
  );
  const mismatch = await a.ask({ type: "dial", id: "3", target: { address: wrong } });
  assert.is(mismatch.type === "dial.failed" && mismatch.refusal.code, "peer-id-mismatch");
  await Promise.all([a.stop(), b.stop()]);
});

test("what is asked while it starts is done when it has started, and answered with stopped when it does not", async () => {
  const taken = await startTransport({ pki, name: "taken" });
  const answers: unknown[] = [];
  const early = (send: (ask: TransportAsk) => void) => {
    send({ type: "peers", replyTo: { send: (answer) => answers.push(answer) } });
    const replyTo = { send: (answer: { type: string }) => answers.push(answer.type) };
    send({ type: "dial", id: "e", target: { address: taken.addresses[0] as string }, replyTo });
  };
  const a = await startTransport({ pki, name: "early", early });
  await until("the answers", () => answers.length === 2);
  assert.equal(answers, [{ type: "peers", list: [] }, "dial.done"]);
  answers.length = 0;
  const listen = (taken.addresses[0] as string).replace(/\/p2p\/.*/, "");
  const failed = await startTransport({ pki, name: "late", early, listenAddresses: [listen] }).then(() => "", String);
  assert.match(failed, /transport.failed/);
  await until("the answers", () => answers.length === 2);
  assert.equal(answers, [{ type: "peers", list: [] }, "dial.failed"]);
  await Promise.all([a.stop(), taken.stop()]);
});

test("an answer is never delivered inside the send that asked", async () => {
  const a = await startTransport({ pki, name: "a" });
  let inside = true;
  const answered = new Promise<boolean>((resolve) =>
    a.send({ type: "peers", replyTo: { send: () => resolve(inside) } })
  );
  inside = false;
  assert.is(await answered, false);
  await a.stop();
});

test.run();
