/** An identity in hardware gets short-lived TLS certificates with its signature, and nothing else does. */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { backdateMs } from "../../actors/ca/backdate.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { failuresMax } from "../../actors/ca/failure_limit.ts";
import { enrolIdentity, tlsLifetimeMaxMs } from "../../actors/ca/identity_enrol.ts";
import { nonceLifetimeMs } from "../../actors/ca/nonces.ts";
import { pageOfNodes } from "../../actors/ca/operator_views.ts";
import { reenrol, renewalsMax, renewalsWindowMs } from "../../actors/ca/reenrol.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { createToken } from "../../actors/ca/token_rows.ts";
import type { AuditEvent } from "../../actors/audit/audit_record.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { fileSigner } from "../../pki/issue/mod.ts";
import { codeOf, start, type TestAuthority, testAuthority, testCsr } from "../support/authority.ts";
import { testIdentity } from "../support/hardware_identity.ts";

const test = suite("enrolment with an identity in hardware");
const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const later = (ms: number) => new Date(+start + ms);
const address = "10.0.0.2";
const read = (der: Uint8Array) => Result.getOrThrow(parseCertificate(der));
const namesIn = (der: Uint8Array) => read(der).subjectAltNames.map(({ type, value }) => `${type}:${value}`);
const hardware = "spiffe://acme.example/identity/w1";
const named = "spiffe://acme.example/worker/w1";

/** The certificates that an operator sees of a name: identity and serial. */
async function shown({ ca }: TestAuthority, name: string, at = start) {
  const page = await Effect.runPromise(pageOfNodes(ca, { name }, at)) as {
    nodes: { identity: string; serial: string; revoked?: string }[];
  };
  return page.nodes;
}

test("the identity has no role of a node; its TLS certificates have role and names, and live a day", async () => {
  const world = await testAuthority({ lifetimeMs: (role) => role === "identity" ? 365 * dayMs : 30 * dayMs });
  const identity = await testIdentity(world, "w1", { san: ["DNS:w1.acme.example"] });
  assert.equal(namesIn(identity.certificate), ["dns:w1.acme.example", `uri:${hardware}`]);
  assert.is(+read(identity.certificate).period.notAfter, +start + 365 * dayMs);
  const tls = await Effect.runPromise(identity.enrol());
  assert.equal(namesIn(tls), ["dns:w1.acme.example", `uri:${named}`]);
  assert.is(read(tls).subject.text, "CN=w1");
  assert.is(+read(tls).period.notAfter, +start + tlsLifetimeMaxMs);
  const late = later(365 * dayMs - hourMs);
  const last = read(await Effect.runPromise(identity.enrol({}, late)));
  assert.is(+last.period.notAfter, +start + 365 * dayMs, "never beyond the identity's certificate");
  assert.is(await codeOf(identity.enrol({}, later(365 * dayMs + 1_000))), "identity-expired");
  assert.equal((await shown(world, "w1")).map((each) => each.identity).toSorted(), [hardware, named, named]);
  world.close();
});

test("each refusal has its code, and nothing is issued", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const [identity, foreign] = [await testIdentity(world, "w1"), await testAuthority()];
  const stranger = await testIdentity(foreign, "w1");
  const { der: plainCsr, keyPem } = await testCsr();
  const plain = await Effect.runPromise(enrol(ca, { token: await world.token("w2"), csr: plainCsr, address }, start));
  const before = (await shown(world, "w1")).length;
  const used = ca.nonces.make(+start);
  assert.is(await codeOf(identity.enrol({ nonce: used })), "done");
  const wishes = async (name: string, san: readonly string[] = []) => ({
    csr: (await testCsr(name, undefined, san)).der,
  });
  const rows: [what: string, code: string, outcome: ReturnType<typeof identity.enrol>][] = [
    ["a nonce of another CA", "nonce-unknown", identity.enrol({ nonce: foreign.ca.nonces.make(+start) })],
    ["no nonce", "nonce-unknown", identity.enrol({ nonce: "" })],
    ["a used nonce", "nonce-used", identity.enrol({ nonce: used })],
    ["an old nonce", "nonce-expired", identity.enrol({ nonce: ca.nonces.make(+start) }, later(nonceLifetimeMs))],
    ["a nonce of later", "nonce-expired", identity.enrol({ nonce: ca.nonces.make(+start + 1_000) })],
    [
      "another CA's identity",
      "not-issued-here",
      identity.enrol({
        certificate: stranger.certificate,
        sign: fileSigner(stranger.keyPem).sign,
      }),
    ],
    ["a node's certificate", "not-issued-here", identity.enrol({ certificate: plain, sign: fileSigner(keyPem).sign })],
    ["another key", "jws-signature", identity.enrol({ sign: fileSigner(keyPem).sign })],
    [
      "the identity's own key, too early",
      "renewed-too-often",
      identity.enrol({ csr: (await testCsr("w1", identity.keyPem)).der }),
    ],
    ["another subject", "csr-not-allowed", identity.enrol(await wishes("w2"))],
    ["another role", "csr-not-allowed", identity.enrol(await wishes("w1", ["URI:spiffe://acme.example/gateway/w1"]))],
    ["a broken request", "csr-malformed", identity.enrol({ csr: Uint8Array.of(0x30, 0) })],
  ];
  for (const [what, code, outcome] of rows) assert.is(await codeOf(outcome), code, what);
  assert.is((await shown(world, "w1")).length, before + 1);
  const own = (await testCsr("w1", undefined, ["IP:0.0.0.0", "DNS:w1", `URI:${named}`])).der;
  const nonce = ca.nonces.make(+start);
  const body = Buffer.from(await identity.request({ csr: own, nonce }));
  assert.is(
    await codeOf(enrolIdentity(ca, { body, address: "10.0.0.3" }, start)),
    "done",
    "its own names may be asked for",
  );
  assert.is(await codeOf(enrolIdentity(ca, { body, address: "10.0.0.3" }, start)), "nonce-used", "a replay");
  foreign.close();
  world.close();
});

test("an address that fails ten times is not heard", async () => {
  const world = await testAuthority();
  const identity = await testIdentity(world, "w1");
  for (let count = 0; count < failuresMax; count++) {
    assert.is(await codeOf(identity.enrol({ nonce: "" })), "nonce-unknown");
  }
  assert.is(await codeOf(identity.enrol()), "too-many-failures");
  world.close();
});

test("bug: a body of JSON that is nested too deeply was an error of the CA, and counted as no failure", async () => {
  const { ca, close } = await testAuthority();
  const body = Buffer.from(`{"csr":${"[".repeat(30_000)}${"]".repeat(30_000)},"jws":""}`);
  const attempt = () => codeOf(enrolIdentity(ca, { body, address }, start));
  for (let count = 0; count < failuresMax; count++) assert.is(await attempt(), "jws-malformed");
  assert.is(await attempt(), "too-many-failures");
  close();
});

test("a name, an identity's serial, and the node's own SPIFFE ID each revoke the identity's certificates for TLS", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const isRevoked = async (name: string) =>
    Object.fromEntries((await shown(world, name)).map((each) => [each.identity, each.revoked !== undefined]));
  for (
    const [name, target] of [["a", "a"], ["b", "spiffe://acme.example/identity/b"], [
      "c",
      "spiffe://acme.example/worker/c",
    ]]
  ) {
    const identity = await testIdentity(world, name!);
    assert.is(await codeOf(identity.enrol()), "done");
    await Effect.runPromise(revoke(ca, { name: target! }, "keyCompromise", start));
    const all = [`spiffe://acme.example/identity/${name}`, `spiffe://acme.example/worker/${name}`];
    assert.equal(await isRevoked(name!), Object.fromEntries(all.map((each) => [each, true])));
    assert.is(await codeOf(identity.enrol()), "certificate-revoked");
  }
  const identity = await testIdentity(world, "d");
  const [old] = [await Effect.runPromise(identity.enrol())];
  const next = await testIdentity(world, "d", { replaces: "yes" });
  assert.is(await codeOf(identity.enrol()), "renewal-replaced", "a later token gave the name to another key");
  assert.is(await codeOf(next.enrol()), "done");
  const { serial } = read(identity.certificate);
  const { certificates } = await Effect.runPromise(revoke(ca, { serial }, "keyCompromise", start));
  assert.equal(
    certificates.map((each) => each.serial).toSorted(),
    [serial, read(old).serial].toSorted(),
    "and no later one",
  );
  world.close();
});

test("an identity renews its own certificate with its signature, in the second half of its life and late; then it goes on", async () => {
  const lifetimeMs = 100 * dayMs;
  const world = await testAuthority({ lifetimeMs: (role) => role === "identity" ? lifetimeMs : 30 * dayMs });
  const { ca } = world;
  const identity = await testIdentity(world, "w1", { san: ["DNS:w1.acme.example"] });
  const { der: own } = await testCsr("w1", identity.keyPem);
  const half = later((lifetimeMs - backdateMs) / 2);
  assert.is(await codeOf(identity.enrol({ csr: own }, new Date(+half - 1_000))), "renewed-too-often");
  const renewed = await Effect.runPromise(identity.enrol({ csr: own }, half));
  const [former, next] = [read(identity.certificate), read(renewed)];
  assert.equal(namesIn(renewed), namesIn(identity.certificate));
  assert.equal([next.subject.text, next.publicKey.spki], [former.subject.text, former.publicKey.spki]);
  assert.is(+next.period.notAfter, +half + lifetimeMs);
  assert.equal(await Effect.runPromise(identity.enrol({ csr: own }, half)), renewed, "the same answer again");
  const other = (await testCsr("w2", identity.keyPem)).der;
  assert.is(await codeOf(identity.enrol({ csr: other }, half)), "csr-not-allowed", "another subject");

  const end = +start + lifetimeMs;
  assert.is(await codeOf(identity.enrol({}, new Date(end + 1_000))), "identity-expired", "the former one");
  const tls = await Effect.runPromise(identity.enrol({ certificate: renewed }, new Date(end + 1_000)));
  assert.equal(namesIn(tls), ["dns:w1.acme.example", `uri:${named}`], "of the token's role still");
  const late = new Date(+next.period.notAfter + ca.renewAfterExpiryMs);
  const third = await Effect.runPromise(identity.enrol({ csr: own, certificate: renewed }, late));
  const last = read(await Effect.runPromise(identity.enrol({ certificate: third }, late)));
  const tooLate = new Date(+read(third).period.notAfter + ca.renewAfterExpiryMs + 1_000);
  assert.is(await codeOf(identity.enrol({ csr: own, certificate: third }, tooLate)), "identity-expired");

  await Effect.runPromise(revoke(ca, { serial: former.serial }, "keyCompromise", late));
  assert.is(
    await codeOf(identity.enrol({ certificate: third }, late)),
    "certificate-revoked",
    "with those that renew it",
  );
  const rows = await shown(world, "w1", late);
  assert.ok(rows.find(({ serial }) => serial === last.serial)?.revoked !== undefined, "and what they got");
  world.close();
});

test("while an identity's renewals or those of its name for TLS are stopped, it gets neither certificate", async () => {
  for (const locked of [hardware, named]) {
    const world = await testAuthority();
    const identity = await testIdentity(world, "w1");
    const { der: own } = await testCsr("w1", identity.keyPem);
    const { notBefore, notAfter } = read(identity.certificate).period;
    const half = new Date((+notBefore + +notAfter) / 2);
    const sql = "INSERT INTO locked_identities VALUES (?, ?, ?)";
    world.ca.register.transaction((rows) => Result.succeed(rows.change(sql, locked, +start, "renewal-forked")));
    assert.is(await codeOf(identity.enrol({}, half)), "name-locked");
    assert.is(await codeOf(identity.enrol({ csr: own }, half)), "name-locked");
    world.close();
  }
});

test("a compromised key of TLS gets no certificate again; others of the identity do, up to its certificate's end", async () => {
  const world = await testAuthority();
  const identity = await testIdentity(world, "w1");
  const { der: csr } = await testCsr("w1");
  const tls = await Effect.runPromise(identity.enrol({ csr }));
  await Effect.runPromise(revoke(world.ca, { serial: read(tls).serial }, "keyCompromise", start));
  assert.is(await codeOf(identity.enrol({ csr })), "csr-not-allowed");
  assert.is(await codeOf(identity.enrol()), "done");
  const { notAfter } = read(identity.certificate).period;
  assert.is(await codeOf(identity.enrol({}, notAfter)), "done");
  assert.is(await codeOf(identity.enrol({}, new Date(+notAfter + 1))), "identity-expired");
  world.close();
});

test("an identity gets so many certificates for TLS an hour and no more", async () => {
  const world = await testAuthority();
  assert.is(tlsLifetimeMaxMs, 86_400_000);
  const identity = await testIdentity(world, "w1");
  const { der: csr } = await testCsr("w1");
  for (let count = 0; count < renewalsMax; count++) assert.is(await codeOf(identity.enrol({ csr })), "done");
  assert.is(await codeOf(identity.enrol({ csr })), "renewed-too-often");
  assert.is(await codeOf(identity.enrol({ csr }, later(renewalsWindowMs + 1))), "done");
  world.close();
});

test("an identity that a later token replaced, or that is revoked, renews nothing", async () => {
  const world = await testAuthority();
  const identity = await testIdentity(world, "w1");
  const { der: own } = await testCsr("w1", identity.keyPem);
  const { notBefore, notAfter } = read(identity.certificate).period;
  const half = new Date((+notBefore + +notAfter) / 2);
  const next = await testIdentity(world, "w1", { replaces: "yes" }, half);
  assert.is(await codeOf(identity.enrol({ csr: own }, half)), "renewal-replaced");
  await Effect.runPromise(revoke(world.ca, { name: "w1" }, "superseded", half));
  const { der: csr } = await testCsr("w1", next.keyPem);
  assert.is(await codeOf(next.enrol({ csr }, half)), "certificate-revoked");
  world.close();
});

test("a name with an identity in hardware is not renewed with a TLS key, and its tokens need --replace", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const identity = await testIdentity(world, "w1");
  const { der: csr } = await testCsr("w1");
  const tls = await Effect.runPromise(identity.enrol({ csr }));
  assert.is(await codeOf(reenrol(ca, { certificate: tls, csr, address }, start)), "identity-required");
  assert.is(await codeOf(reenrol(ca, { certificate: identity.certificate, csr, address }, start)), "csr-not-allowed");
  const taken = { role: "worker", name: "w1", replaces: "no" } as const;
  assert.is(await codeOf(createToken(ca, { ...taken, key: "hardware" }, start)), "name-taken");
  assert.is(await codeOf(createToken(ca, taken, later(2 * dayMs))), "name-taken", "between two certificates for TLS");
  const token = await world.token("w1", { replaces: "yes" });
  const plain = await Effect.runPromise(enrol(ca, { token, csr: (await testCsr()).der, address }, start));
  assert.is(await codeOf(identity.enrol()), "renewal-replaced", "the name has left the hardware");
  assert.is(await codeOf(reenrol(ca, { certificate: plain, csr, address }, start)), "done");
  world.close();
});

test("revoking an identity leaves a name alone that has left the hardware", async () => {
  const world = await testAuthority();
  const identity = await testIdentity(world, "w1");
  const tls = await Effect.runPromise(identity.enrol());
  const token = await world.token("w1", { replaces: "yes" });
  const { der: csr } = await testCsr();
  const plain = await Effect.runPromise(enrol(world.ca, { token, csr, address }, start));
  const { certificates } = await Effect.runPromise(revoke(world.ca, { name: hardware }, "superseded", start));
  const revoked = certificates.map(({ serial }) => serial);
  assert.ok(revoked.includes(read(identity.certificate).serial));
  assert.not.ok(revoked.includes(read(plain).serial));
  assert.ok(revoked.includes(read(tls).serial), "what it got before the later token took the name over");
  world.close();
});

test("what is issued and what is refused for an identity's signature is recorded", async () => {
  const world = await testAuthority();
  const events: AuditEvent[] = [];
  const identity = await testIdentity(world, "w1");
  world.ca.register.recordTo({
    record: (event) => void events.push(event),
    recordNow: (more) => void events.push(...more),
  });
  assert.is(await codeOf(identity.enrol()), "done");
  assert.is(await codeOf(identity.enrol({ csr: (await testCsr("other")).der })), "csr-not-allowed");
  const { fingerprint } = read(identity.certificate);
  assert.equal(events.map(({ type, outcome, peer }) => [type, outcome, peer]), [
    ["certificate.issued", "done", named],
    ["enrolment.refused", "csr-not-allowed", hardware],
  ]);
  assert.is(events[0]!.detail?.["identifiedBy"], fingerprint);
  world.close();
});

test.run();
