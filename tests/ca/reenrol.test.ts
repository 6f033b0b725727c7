/** A certificate is renewed by the register: its bytes decide, once, for one key. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { operationsPerAddressMax } from "../../actors/ca/certificate_authority.ts";
import { certificateOf, liveCertificateOf } from "../../actors/ca/certificate_rows.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { failuresMax, failureWindowMs } from "../../actors/ca/failure_limit.ts";
import { issueOwn } from "../../actors/ca/own_certificate.ts";
import { reenrol, renewalsMax, renewalsWindowMs, unexpiredMax, unseenMax } from "../../actors/ca/reenrol.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parsePem } from "../../pki/pem.ts";
import { codeOf, start, type TestAuthority, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("renewal by the register");
const dayMs = 24 * 60 * 60_000;
const later = (ms: number) => new Date(+start + ms);
const address = "10.0.0.1";
const identity = "spiffe://acme.example/worker/worker-01";

/** An enrolled node. */
async function enrolled(world: TestAuthority) {
  const { der: csr, keyPem } = await testCsr();
  const token = await world.token("worker-01");
  const certificate = await Effect.runPromise(enrol(world.ca, { token, csr, address }, start));
  return { certificate, csr, keyPem };
}

test("the same key, with an empty subject: the same names, a new end, the former one as predecessor", async () => {
  const world = await testAuthority();
  const { certificate, keyPem } = await enrolled(world);
  const at = later(20 * dayMs);
  const { der: csr } = await testCsr("worker-01", keyPem);
  const der = await Effect.runPromise(reenrol(world.ca, { certificate, csr, address }, at));
  const [before, after] = [certificate, der].map((each) => Result.getOrThrow(parseCertificate(each)));
  assert.equal(after!.subjectAltNames, before!.subjectAltNames);
  assert.is(after!.subject.text, before!.subject.text);
  assert.is(+after!.period.notAfter, +at + 30 * dayMs);
  const row = Result.getOrThrow(world.ca.register.read((rows) => liveCertificateOf(rows, identity, later(40 * dayMs))));
  assert.is(row?.predecessor, before!.fingerprint);
  world.close();
});

test("the same new key gets the same answer again; another one is a fork, and the name is locked", async () => {
  const world = await testAuthority();
  const { ca, alarms } = world;
  const { certificate } = await enrolled(world);
  const [mine, theirs] = [await testCsr("worker-01"), await testCsr("worker-01")];
  const first = await Effect.runPromise(reenrol(ca, { certificate, csr: mine.der, address }, start));
  const again = await Effect.runPromise(reenrol(ca, { certificate, csr: mine.der, address }, later(dayMs)));
  assert.equal([...again], [...first]);
  assert.equal(alarms, []);
  const fork = { certificate, csr: theirs.der, address: "10.0.0.66" };
  assert.is(await codeOf(reenrol(ca, fork, start)), "renewal-forked");
  const { fingerprint } = Result.getOrThrow(parseCertificate(certificate));
  assert.equal(alarms, [{ kind: "renewal-forked", identity, fingerprint, address: "10.0.0.66" }]);
  const onward = { certificate: first, csr: (await testCsr("worker-01")).der, address };
  assert.is(await codeOf(reenrol(world.reopen(), onward, start)), "name-locked", "a restart keeps the lock");
  world.close();
});

/** An enrolled node that always renews its first certificate, for one key. */
async function renewing() {
  const world = await testAuthority();
  const { certificate } = await enrolled(world);
  const { der: csr } = await testCsr("worker-01");
  const renew = async (at: Date) => {
    const der = await Effect.runPromise(reenrol(world.ca, { certificate, csr, address }, at));
    return Result.getOrThrow(parseCertificate(der));
  };
  return { world, certificate, csr, renew };
}

test("bug: a certificate that was issued while the CA's clock was an hour ahead was the answer until its time came, and the node's own ended", async () => {
  const { world, certificate, renew } = await renewing();
  const ahead = await renew(later(60 * 60_000));
  const usable = await renew(later(1_000));
  assert.ok(+usable.period.notBefore <= +start, "it is valid by the clock that was set right");
  assert.is((await renew(later(2_000))).fingerprint, usable.fingerprint, "asked again");
  const row = Result.getOrThrow(world.ca.register.read((rows) => certificateOf(rows, usable.fingerprint)));
  assert.is(row?.predecessor, ahead.fingerprint, "one line: each certificate has one successor");
  const other = { certificate, csr: (await testCsr("worker-01")).der, address };
  assert.is(await codeOf(reenrol(world.ca, other, later(3_000))), "renewal-forked");
  world.close();
});

test("bug: a renewal whose answer was lost was refused for good once the certificate of that answer had ended", async () => {
  const { world, certificate, csr, renew } = await renewing();
  const unseen = await renew(start);
  const usable = await renew(later(31 * dayMs));
  assert.ok(usable.period.notAfter > later(60 * dayMs));
  const row = Result.getOrThrow(world.ca.register.read((rows) => certificateOf(rows, usable.fingerprint)));
  assert.is(row?.predecessor, unseen.fingerprint, "one line: each certificate has one successor");
  assert.is((await renew(later(32 * dayMs))).fingerprint, usable.fingerprint, "asked again");
  const other = { certificate, csr: (await testCsr("worker-01")).der, address };
  assert.is(await codeOf(reenrol(world.ca, other, later(32 * dayMs))), "renewal-forked");
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr, address }, later(33 * dayMs + 1))), "renewal-expired");
  world.close();
});

test("an unseen renewal that was revoked and has ended is not renewed", async () => {
  const world = await testAuthority();
  const { certificate } = await enrolled(world);
  const request = { certificate, csr: (await testCsr("worker-01")).der, address };
  const unseen = Result.getOrThrow(parseCertificate(await Effect.runPromise(reenrol(world.ca, request, start))));
  await Effect.runPromise(revoke(world.ca, { serial: unseen.serial }, "unspecified", start));
  assert.is(await codeOf(reenrol(world.ca, request, later(31 * dayMs))), "certificate-revoked");
  world.close();
});

test("of short-lived certificates many answers may be lost, up to a limit; a fork of any of them is one", async () => {
  const hourMs = 3_600_000;
  const world = await testAuthority({ lifetimeMs: () => hourMs, renewAfterExpiryMs: 30 * dayMs });
  const { certificate } = await enrolled(world);
  const request = { certificate, csr: (await testCsr("worker-01")).der, address };
  let last = certificate;
  for (let count = 1; count <= unseenMax; count++) {
    last = await Effect.runPromise(reenrol(world.ca, request, later(2 * hourMs * count)));
  }
  const at = later(2 * hourMs * (unseenMax + 1));
  assert.is(await codeOf(reenrol(world.ca, request, at)), "renewal-expired");
  assert.equal(world.alarms, []);
  const onward = { certificate: last, csr: (await testCsr("worker-01")).der, address };
  assert.is(await codeOf(reenrol(world.ca, onward, at)), "done", "its newest certificate is renewed");
  assert.is(await codeOf(reenrol(world.ca, { ...request, certificate: last }, at)), "renewal-forked");
  world.close();
});

test("a token that replaces unlocks the name", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const { certificate } = await enrolled(world);
  for (const code of ["done", "renewal-forked"]) {
    assert.is(await codeOf(reenrol(ca, { certificate, csr: (await testCsr("worker-01")).der, address }, start)), code);
  }
  const { der: csr, keyPem } = await testCsr();
  const token = await world.token("worker-01", { replaces: "yes" });
  const fresh = await Effect.runPromise(enrol(ca, { token, csr, address }, start));
  const request = { certificate: fresh, csr: (await testCsr("worker-01", keyPem)).der, address };
  assert.is(await codeOf(reenrol(ca, request, start)), "done");
  world.close();
});

test("bug: once a token had unlocked the name, who held a certificate of before could renew it, and lock the name again", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const { certificate } = await enrolled(world);
  const thief = await testCsr("worker-01");
  const stolen = await Effect.runPromise(reenrol(ca, { certificate, csr: thief.der, address: "10.0.0.66" }, start));
  const mine = await testCsr("worker-01");
  assert.is(await codeOf(reenrol(ca, { certificate, csr: mine.der, address }, start)), "renewal-forked");
  const token = await world.token("worker-01", { replaces: "yes" });
  const fresh = await Effect.runPromise(enrol(ca, { token, csr: mine.der, address }, start));
  for (const old of [stolen, certificate]) {
    const request = { certificate: old, csr: (await testCsr("worker-01")).der, address: "10.0.0.66" };
    assert.is(await codeOf(reenrol(ca, request, start)), "renewal-replaced");
  }
  const onward = { certificate: fresh, csr: (await testCsr("worker-01", mine.keyPem)).der, address };
  assert.is(await codeOf(reenrol(ca, onward, start)), "done");
  world.close();
});

test("a name gets so many certificates an hour and no more: each stays in the register", async () => {
  const world = await testAuthority();
  let { certificate, keyPem } = await enrolled(world);
  const { der: csr } = await testCsr("worker-01", keyPem);
  for (let count = 1; count < renewalsMax; count++) {
    certificate = await Effect.runPromise(reenrol(world.ca, { certificate, csr, address }, start));
  }
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr, address }, start)), "renewed-too-often");
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr, address }, later(renewalsWindowMs + 1))), "done");
  world.close();
});

test("bug: a name could have any number of unexpired certificates, each of them an entry of every list once it was revoked", async () => {
  const world = await testAuthority();
  const { certificate, keyPem } = await enrolled(world);
  const { der: csr } = await testCsr("worker-01", keyPem);
  const change = (sql: string, ...values: readonly (string | number)[]) =>
    Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(rows.change(sql, ...values))));
  const insert = "INSERT INTO certificates VALUES (?, ?, ?, ?, 'worker-01', 'key', ?, ?, NULL, NULL, NULL)";
  const own = [world.ca.issuerId, identity, +start - dayMs];
  for (let index = 1; index < unexpiredMax; index++) {
    const [issuer, whose, begin] = own;
    change(insert, `f${index}`, issuer!, `5${index}`, whose!, begin!, +start + dayMs);
  }
  const renewed = (at = start) => codeOf(reenrol(world.ca, { certificate, csr, address }, at));
  assert.is(await renewed(), "renewed-too-often");
  assert.is(await renewed(later(dayMs)), "renewed-too-often", "they end a moment later");
  change("INSERT INTO revocations VALUES (1, ?, '51', 0, 'superseded', NULL)", world.ca.issuerId);
  assert.is(await renewed(), "done", "a revoked one does not count");
  world.close();
});

test("of many new keys at once for one certificate, one is signed", async () => {
  const world = await testAuthority();
  const { certificate } = await enrolled(world);
  const requests = await Promise.all(Array.from({ length: 6 }, () => testCsr("worker-01")));
  const codes = await Promise.all(
    requests.map(({ der: csr }) => codeOf(reenrol(world.ca, { certificate, csr, address }, start))),
  );
  assert.equal(codes.toSorted(), ["done", ...Array.from({ length: 5 }, () => "renewal-forked")]);
  world.close();
});

const wishes: [what: string, subject: string, san: readonly string[], code: string][] = [
  ["subject and no names", "worker-01", [], "done"],
  ["the same names in another order", "worker-01", [`URI:${identity}`, "DNS:worker-01", "IP:0.0.0.0"], "done"],
  ["another subject", "localhost", [], "csr-not-allowed"],
  ["a name more", "worker-01", [`URI:${identity}`, "DNS:worker-01", "IP:0.0.0.0", "DNS:x"], "csr-not-allowed"],
  ["a name less", "worker-01", [`URI:${identity}`, "DNS:worker-01"], "csr-not-allowed"],
  ["another role", "worker-01", ["URI:spiffe://acme.example/gateway/worker-01"], "csr-not-allowed"],
];
for (const [what, subject, san, code] of wishes) {
  test(`a request with ${what}: ${code}`, async () => {
    const world = await testAuthority();
    const { certificate, keyPem } = await enrolled(world);
    const { der: csr } = await testCsr(subject, keyPem, san);
    assert.is(await codeOf(reenrol(world.ca, { certificate, csr, address }, start)), code);
    world.close();
  });
}

test("a certificate that has ended is renewed for three days more, and never with 0", async () => {
  for (
    const [renewAfterExpiryMs, ms, code] of [
      [3 * dayMs, 33 * dayMs, "done"],
      [3 * dayMs, 33 * dayMs + 1, "renewal-expired"],
      [0, 30 * dayMs, "done"],
      [0, 30 * dayMs + 1, "renewal-expired"],
    ] as const
  ) {
    const world = await testAuthority({ renewAfterExpiryMs });
    const { certificate, keyPem } = await enrolled(world);
    const request = { certificate, csr: (await testCsr("worker-01", keyPem)).der, address };
    assert.is(await codeOf(reenrol(world.ca, request, later(ms))), code);
    world.close();
  }
});

test("a revoked certificate is not renewed, nor one that ended before its name was revoked", async () => {
  const world = await testAuthority();
  const { certificate, keyPem } = await enrolled(world);
  const at = later(31 * dayMs);
  assert.is(await codeOf(revoke(world.ca, { name: identity }, "unspecified", at)), "done");
  const request = { certificate, csr: (await testCsr("worker-01", keyPem)).der, address };
  assert.is(await codeOf(reenrol(world.ca, request, at)), "certificate-revoked");
  world.close();
});

test("a certificate that the register does not have is not renewed, whoever signed it", async () => {
  const [world, other] = [await testAuthority(), await testAuthority()];
  const { keyPem, certificate } = await enrolled(world);
  const csr = (await testCsr("worker-01", keyPem)).der;
  const foreign = (await enrolled(other)).certificate;
  const changed = certificate.with(certificate.length - 1, certificate.at(-1)! ^ 1);
  for (const wrong of [foreign, changed, world.intermediate.der, new Uint8Array()]) {
    assert.is(await codeOf(reenrol(world.ca, { certificate: wrong, csr, address }, start)), "not-issued-here");
  }
  [world, other].forEach(({ close }) => close());
});

test("the CA's own certificate is not renewed by anybody who has it", async () => {
  const world = await testAuthority();
  const { certPem, keyPem } = await Effect.runPromise(issueOwn(world.ca, "ca-01", start));
  const certificate = Uint8Array.from(Result.getOrThrow(parsePem(certPem))[0]!.der);
  const csr = (await testCsr("ca-01", keyPem)).der;
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr, address }, start)), "csr-not-allowed");
  world.close();
});

test("an address whose renewals fail is limited like one whose enrolments fail", async () => {
  const world = await testAuthority();
  const { certificate, keyPem } = await enrolled(world);
  const { der: csr } = await testCsr("worker-01", keyPem);
  const broken = { certificate, csr: csr.with(-1, csr.at(-1)! ^ 1), address: "10.0.0.9" };
  const ask = (request: typeof broken, at = start) => codeOf(reenrol(world.ca, request, at));
  for (let count = 0; count < failuresMax; count++) assert.is(await ask(broken), "csr-malformed");
  assert.is(await ask(broken), "too-many-failures");
  assert.is(await ask({ ...broken, csr }), "too-many-failures");
  assert.is(await ask({ ...broken, csr, address: "10.0.0.10" }), "done");
  assert.is(await ask({ ...broken, csr }, later(failureWindowMs)), "done");
  world.close();
});

test("a node that fails to enrol keeps no other at its address from renewing, and the other way round", async () => {
  const world = await testAuthority();
  const { certificate, keyPem } = await enrolled(world);
  const { der: csr } = await testCsr("worker-01", keyPem);
  const at = { address: "10.0.0.9" };
  const enrolment = async (token: string) =>
    codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, ...at }, start));
  for (let count = 0; count < failuresMax; count++) assert.is(await enrolment("rubbish"), "token-malformed");
  assert.is(await enrolment(await world.token("worker-02")), "too-many-failures");
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr, ...at }, start)), "done");
  const minute = later(failureWindowMs);
  const broken = { certificate, csr: csr.with(-1, csr.at(-1)! ^ 1), ...at };
  for (let count = 0; count < failuresMax; count++) await codeOf(reenrol(world.ca, broken, minute));
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr, ...at }, minute)), "too-many-failures");
  const token = await world.token("worker-02");
  assert.is(await codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, ...at }, minute)), "done");
  world.close();
});

test("bug: a member that sent one renewal hundreds of times kept the operator from revoking it, and all others waiting", async () => {
  let isHeld = false;
  const held = Promise.withResolvers<void>();
  const world = await testAuthority({
    signer: (real) => ({ ...real, sign: async (bytes) => (isHeld && await held.promise, await real.sign(bytes)) }),
  });
  const { certificate, keyPem } = await enrolled(world);
  const { der: csr } = await testCsr("worker-01", keyPem);
  const other = { token: await world.token("worker-02"), csr: (await testCsr()).der, address: "10.0.0.2" };
  isHeld = true;
  const evil = Array.from({ length: 300 }, () => codeOf(reenrol(world.ca, { certificate, csr, address }, start)));
  const revoked = codeOf(revoke(world.ca, { name: identity }, "keyCompromise", start));
  const enrolment = codeOf(enrol(world.ca, other, start));
  held.resolve();
  assert.equal([await revoked, await enrolment], ["done", "done"]);
  const codes = await Promise.all(evil);
  const count = (code: string) => codes.filter((each) => each === code).length;
  assert.is(count("busy"), evil.length - operationsPerAddressMax);
  assert.ok(count("done") <= 2, "the operator waits for the one that is done and the first in line alone");
  const last = reenrol(world.ca, { certificate, csr, address: "10.0.0.3" }, start);
  assert.is(await codeOf(last), "certificate-revoked", "none is left");
  world.close();
});

test("of 10,000 changed requests none is signed", async () => {
  const world = await testAuthority();
  const { certificate, keyPem } = await enrolled(world);
  const { der } = await testCsr("worker-01", keyPem);
  const codes = new Set<string>();
  let seed = 26_112_026;
  const draw = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) % below;
  for (let index = 0; index < 10_000; index++) {
    const at = draw(der.length);
    const kind = draw(8);
    const csr = kind === 0
      ? der.subarray(0, at)
      : kind === 1
      ? Uint8Array.from([...der.subarray(0, at), draw(256), ...der.subarray(at)])
      : der.with(at, der[at]! ^ (1 << draw(8)));
    // Ten from each address: the limit of failures must not be what refuses them.
    const from = `10.1.${Math.floor(index / 2_560)}.${Math.floor(index / 10) % 256}`;
    codes.add(await codeOf(reenrol(world.ca, { certificate, csr, address: from }, start)));
  }
  assert.equal([...codes].sort(), ["csr-malformed"]);
  assert.is(await codeOf(reenrol(world.ca, { certificate, csr: der, address }, start)), "done");
  world.close();
});

test.run();
