/** Chains, identities and limits at a running transport. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { rawPeer } from "../support/raw_peer.ts";
import { identityOf, of, snapshotOf, startTransport, type TestTransport, until } from "../support/transports.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import type { TransportAnswer } from "../../transport/port.ts";

const test = suite("transportLogic and trust");
const pki = await makeTestPki();
const refusal = (answer: TransportAnswer) => answer.type === "dial.failed" ? answer.refusal.code : answer.type;
const dial = (by: TestTransport, to: TestTransport, id = "d") =>
  by.ask({ type: "dial", id, target: { address: to.addresses[0] as string } });

test("leaf and intermediate reach a peer that anchors the root alone, in both directions", async () => {
  const [a, b] = await Promise.all([startTransport({ pki, name: "a" }), startTransport({ pki, name: "b" })]);
  assert.is(refusal(await dial(a, b)), "dial.done");
  // Each judged the other's chain: what both established is what both certificates prove.
  assert.is((await a.fact(of("peer.established"))).identity.issuer.includes("Intermediate"), true);
  assert.is((await b.fact(of("peer.established"))).identity.issuer.includes("Intermediate"), true);
  await Promise.all([a.stop(), b.stop()]);
});

test("a leaf alone does not, in either direction: unknown-issuer", async () => {
  const alone: TestNode = await pki.node("alone");
  const bare = { ...alone, chainPem: alone.certPem, chain: alone.chain.slice(0, 1) };
  const [a, b] = await Promise.all([
    startTransport({ pki, name: "a" }),
    startTransport({ pki, name: "alone", node: bare }),
  ]);
  assert.is(refusal(await dial(a, b)), "unknown-issuer");
  assert.is(refusal(await dial(b, a)), "hung-up");
  const codes = a.facts.filter((fact) => fact.type === "peer.refused").map((
    { refusal, direction },
  ) => [direction, refusal.code]);
  assert.equal(codes, [["outbound", "unknown-issuer"], ["inbound", "unknown-issuer"]]);
  await Promise.all([a.stop(), b.stop()]);
});

test("intermediates that lead nowhere, and many of them, do no harm", async () => {
  const [other, node] = [await makeTestPki({ organization: "Other" }), await pki.node("stuffed")];
  const chainPem = node.chainPem + other.intermediate.certPem + other.root.certPem;
  const [a, b] = await Promise.all([
    startTransport({ pki, name: "a" }),
    startTransport({ pki, name: "stuffed", node: { ...node, chainPem } }),
  ]);
  assert.is(refusal(await dial(a, b)), "dial.done");
  await Promise.all([a.stop(), b.stop()]);
});

test("strangers are refused, each with its own code", async () => {
  const [other, past] = [await makeTestPki({ organization: "Other" }), new Date(Date.now() - 3_600_000)];
  const a = await startTransport({ pki, name: "a" });
  const strangers: [code: string, node: TestNode][] = [
    ["unknown-issuer", await other.node("intruder")],
    ["certificate-expired", await pki.node("late", { notAfter: past })],
    ["self-signed", await pki.selfSigned("self")],
  ];
  for (const [code, node] of strangers) {
    const b = await startTransport({ pki, name: node.name, node });
    assert.is(refusal(await dial(b, a, code)), "hung-up");
    assert.ok(await a.fact(of("peer.refused", ({ refusal }) => refusal.code === code)), code);
    assert.is(refusal(await dial(a, b, code)), code);
    await b.stop();
  }
  await a.stop();
});

test("a new snapshot that changes nothing for a peer leaves it connected", async () => {
  const [a, b] = await Promise.all([startTransport({ pki, name: "a" }), startTransport({ pki, name: "b" })]);
  await dial(a, b);
  for (let generation = 2; generation < 6; generation++) {
    a.send({ type: "trust.changed", snapshot: snapshotOf(pki, { crlsPem: await pki.crls(), generation }) });
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.is(a.facts.filter(of("peer.closed")).length, 0);
  const peers = await a.ask({ type: "peers" });
  assert.is(peers.type === "peers" && peers.list.length, 1);
  await Promise.all([a.stop(), b.stop()]);
});

test("a renewed certificate of the same key is what new handshakes show; another key is not taken up", async () => {
  const first = await pki.node("renewed");
  const again = await pki.node("renewed-2", { keyPem: first.keyPem });
  const a = await startTransport({ pki, name: "renewed", node: first });
  const b = await startTransport({ pki, name: "b" });
  a.send({ type: "identity.changed", identity: { ...identityOf(again), generation: 2 } });
  assert.is(refusal(await dial(b, a)), "dial.done");
  assert.is((await b.fact(of("peer.established"))).identity.name, "renewed-2");
  a.send({ type: "identity.changed", identity: { ...identityOf(await pki.node("other")), generation: 3 } });
  assert.is((await a.fact(of("transport.failed"))).error.code, "failed");
  await Promise.all([a.stop(), b.stop()]);
});

test("attempts beyond the rate are refused before TLS: rate-limited", async () => {
  const limits = { ...defaultLimits, handshakesPerSecond: 0.001, handshakesBurst: 2 };
  const [a, b] = await Promise.all([
    startTransport({ pki, name: "a", limits }),
    startTransport({ pki, name: "b", listenAddresses: [] }),
  ]);
  const outcomes: string[] = [];
  for (let n = 0; n < 3; n++) {
    outcomes.push(refusal(await dial(b, a, `${n}`)));
    b.send({ type: "close", peer: a.peer, reason: "again" });
    await until("the close", () => a.facts.filter(of("peer.closed")).length >= Math.min(n + 1, 2));
  }
  assert.equal(outcomes, ["dial.done", "dial.done", "hung-up"]);
  assert.is((await a.fact(of("peer.refused"))).refusal.code, "rate-limited");
  await Promise.all([a.stop(), b.stop()]);
});

test("connections beyond the limit of an address are refused: too-many-connections", async () => {
  const limits = { ...defaultLimits, connectionsPerAddressMax: 1 };
  const a = await startTransport({ pki, name: "a", limits });
  const [b, c] = await Promise.all(["b", "c"].map((name) => startTransport({ pki, name, listenAddresses: [] })));
  assert.is(refusal(await dial(b as TestTransport, a)), "dial.done");
  assert.is(refusal(await dial(c as TestTransport, a)), "hung-up");
  assert.is((await a.fact(of("peer.refused"))).refusal.code, "too-many-connections");
  await (b as TestTransport).stop();
  await a.fact(of("peer.closed"));
  assert.is(refusal(await dial(c as TestTransport, a, "again")), "dial.done");
  await Promise.all([a.stop(), (c as TestTransport).stop()]);
});

test("connections beyond the limit of a peer are refused, and the first ones stay: too-many-connections", async () => {
  const limits = { ...defaultLimits, connectionsPerPeerMax: 2 };
  const a = await startTransport({ pki, name: "a", limits });
  const raw = await rawPeer(pki, "raw", a.addresses[0] as string);
  const second = await raw.again();
  await raw.again().catch(() => {});
  assert.is((await a.fact(of("peer.refused"))).refusal.code, "too-many-connections");
  assert.equal([raw.connection.status, second.status], ["open", "open"]);
  assert.is(a.facts.filter(of("peer.closed")).length, 0);
  const counted = await a.ask({ type: "counters" });
  assert.is(counted.type === "counters" && counted.counters.accepted, 2);
  // The peer is closed with its last connection, not with its first.
  raw.connection.abort(new Error("first"));
  await until("the first to close", () => raw.connection.status !== "open");
  const still = await a.ask({ type: "peers" });
  assert.is(still.type === "peers" && still.list.length, 1);
  second.abort(new Error("last"));
  await a.fact(of("peer.closed"));
  await Promise.all([a.stop(), raw.stop()]);
});

test("a listen address that is taken: start fails, and nothing is left", async () => {
  const a = await startTransport({ pki, name: "a" });
  const taken = (a.addresses[0] as string).replace(/\/p2p\/.*/, "");
  let failed = "";
  try {
    await startTransport({ pki, name: "b", listenAddresses: [taken] });
  } catch (error) {
    failed = String(error);
  }
  assert.match(failed, /transport\.failed/);
  await a.stop();
});

test("addresses inside exclude_cidr that nobody configured are not announced, and dialling one is unreachable", async () => {
  const a = await startTransport({ pki, name: "a" });
  const b = await startTransport({
    pki,
    name: "b",
    listenAddresses: ["/ip4/0.0.0.0/tcp/0"],
    excludeCidr: ["0.0.0.0/0"],
    externalAddresses: ["/ip4/192.0.2.1/tcp/4001"],
  });
  assert.equal(b.addresses.map((address) => address.split("/p2p/")[0]), ["/ip4/192.0.2.1/tcp/4001"]);
  assert.is(refusal(await dial(b, a)), "unreachable");
  await Promise.all([a.stop(), b.stop()]);
});

test.run();
