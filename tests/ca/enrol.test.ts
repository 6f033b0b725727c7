/** A token gives one certificate, to one key, with the names that the operator chose. */
import { Effect, Exit, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certificatesAfter } from "../../actors/ca/certificate_rows.ts";
import { enrol, limited } from "../../actors/ca/enrol.ts";
import { FailureLimit, failuresMax } from "../../actors/ca/failure_limit.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { createToken } from "../../actors/ca/token_rows.ts";
import { parseCertificate, type Role } from "../../pki/certificate.ts";
import { issueCsr } from "../../pki/issue/mod.ts";
import { parsePem } from "../../pki/pem.ts";
import { codeOf, start, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("enrolment by token");
const later = (ms: number) => new Date(+start + ms);
const hourMs = 3_600_000;
const address = "10.0.0.1";

test("bug: a request on which the CA failed unexpectedly counted as no failure of its sender", async () => {
  const failures = new FailureLimit();
  const attempt = (operation: Effect.Effect<void>) => limited(failures, address, start, operation);
  for (let count = 0; count < failuresMax; count++) {
    assert.ok(Exit.hasDies(await Effect.runPromiseExit(attempt(Effect.die(new Error("a defect"))))));
  }
  assert.is(await codeOf(attempt(Effect.void)), "too-many-failures");
});

test("subject, role and every name are the token's, whatever the request asks for", async () => {
  const { ca, token, close } = await testAuthority();
  const { der: csr } = await testCsr("localhost", undefined, ["DNS:ca.acme.example", "IP:10.9.9.9"]);
  const der = await Effect.runPromise(enrol(ca, { token: await token("worker-01"), csr, address }, start));
  const { subject, subjectAltNames, period } = Result.getOrThrow(parseCertificate(der));
  assert.is(subject.text, "CN=worker-01");
  assert.equal(subjectAltNames.map(({ type, value }) => `${type}:${value}`), [
    "ip:0.0.0.0",
    "dns:worker-01",
    "uri:spiffe://acme.example/worker/worker-01",
  ]);
  assert.is(+period.notBefore, +start - 5 * 60_000);
  assert.is(+period.notAfter, +start + 30 * 24 * hourMs);
  close();
});

test("a request for another role than the token's is refused, one for the token's is not", async () => {
  const { ca, token, close } = await testAuthority();
  const text = await token("worker-01");
  const csrFor = async (uri: string) => (await testCsr("x", undefined, [`URI:${uri}`])).der;
  const ask = async (uri: string) => codeOf(enrol(ca, { token: text, csr: await csrFor(uri), address }, start));
  assert.is(await ask("spiffe://acme.example/gateway/worker-01"), "csr-not-allowed");
  assert.is(await ask("spiffe://other.example/worker/worker-01"), "csr-not-allowed");
  assert.is(await ask("spiffe://acme.example/worker/worker-01"), "done");
  close();
});

test("the same token and key get the same certificate again, until the token expires", async () => {
  const { ca, token, close, alarms } = await testAuthority();
  const [text, { der: csr }] = [await token("worker-01"), await testCsr()];
  const first = await Effect.runPromise(enrol(ca, { token: text, csr, address }, start));
  const again = await Effect.runPromise(enrol(ca, { token: text, csr, address }, later(hourMs - 1)));
  assert.equal([...again], [...first]);
  assert.is(await codeOf(enrol(ca, { token: text, csr, address }, later(hourMs))), "token-expired");
  assert.is(
    Result.getOrThrow(ca.register.read((rows) => certificatesAfter(rows, { not_after: +start, rowid: 0 }))).length,
    1,
  );
  assert.equal(alarms, []);
  close();
});

test("another key for a used token is refused, and the alarm names both addresses", async () => {
  const { ca, token, close, alarms } = await testAuthority();
  const text = await token("worker-01");
  assert.is(await codeOf(enrol(ca, { token: text, csr: (await testCsr()).der, address }, start)), "done");
  const thief = { token: text, csr: (await testCsr()).der, address: "10.0.0.66" };
  assert.is(await codeOf(enrol(ca, thief, start)), "token-used");
  const identity = "spiffe://acme.example/worker/worker-01";
  assert.equal(alarms, [{ kind: "token-used", identity, firstAddress: address, address: "10.0.0.66" }]);
  close();
});

test("of many keys at once for one token, one gets the certificate", async () => {
  const { ca, token, close } = await testAuthority();
  const text = await token("worker-01");
  const requests = await Promise.all(Array.from({ length: 8 }, () => testCsr()));
  const codes = await Promise.all(
    requests.map(({ der: csr }, index) => codeOf(enrol(ca, { token: text, csr, address: `10.0.1.${index}` }, start))),
  );
  assert.equal(codes.toSorted(), ["done", ...Array.from({ length: 7 }, () => "token-used")]);
  close();
});

test("a name with a live certificate takes a token that says so", async () => {
  const { ca, token, close } = await testAuthority();
  const [early, { der: csr }] = [await token("worker-01"), await testCsr()];
  const second = await token("worker-01");
  assert.is(await codeOf(enrol(ca, { token: early, csr, address }, start)), "done");
  assert.is(await codeOf(enrol(ca, { token: second, csr: (await testCsr()).der, address }, start)), "name-taken");
  const request = { role: "worker", name: "worker-01", replaces: "no" } as const;
  assert.is(await codeOf(createToken(ca, request, start)), "name-taken");
  const replacing = await token("worker-01", { replaces: "yes" });
  assert.is(await codeOf(enrol(ca, { token: replacing, csr: (await testCsr()).der, address }, start)), "done");
  close();
});

test("bug: the earlier tokens of a name stayed valid after one that replaces was made", async () => {
  const { ca, token, close } = await testAuthority();
  const used = async (text: string, at = start) =>
    await codeOf(enrol(ca, { token: text, csr: (await testCsr()).der, address }, at));
  const { der: csr } = await testCsr();
  const done = await token("worker-01");
  assert.is(await codeOf(enrol(ca, { token: done, csr, address }, start)), "done");
  const others = [await token("worker-011"), await token("worker-01", { role: "data" })];
  const earlier = [
    await token("worker-01", { replaces: "yes" }),
    await token("worker-01", { replaces: "yes", key: "hardware" }),
  ];
  const request = { role: "worker", name: "worker-01", replaces: "yes" } as const;
  const last = await Effect.runPromise(createToken(ca, request, start));
  assert.is(last.voided, 1, "the one for a key in hardware: that had made the first one void");
  for (const text of earlier) assert.is(await used(text), "token-unknown");
  for (const text of others) assert.is(await used(text), "done", "of another name, or role");
  assert.is(await codeOf(enrol(ca, { token: done, csr, address }, start)), "done", "the answer of a used one stays");
  assert.is(await used(last.text), "done");
  close();
});

test("two tokens that do not replace are valid until one is used", async () => {
  const { ca, token, close } = await testAuthority();
  const [first, second] = [await token("worker-01"), await token("worker-01")];
  const used = async (text: string) =>
    await codeOf(enrol(ca, { token: text, csr: (await testCsr()).der, address }, start));
  assert.equal([await used(first), await used(second)], ["done", "name-taken"]);
  close();
});

test("a revocation ends the answers of a used token, and voids those that were not used", async () => {
  const { ca, token, close } = await testAuthority();
  const [text, { der: csr }] = [await token("worker-01"), await testCsr()];
  assert.is(await codeOf(enrol(ca, { token: text, csr, address }, start)), "done");
  const waiting = await token("worker-01", { replaces: "yes" });
  assert.is(await codeOf(revoke(ca, { name: "worker-01" }, "keyCompromise", start)), "done");
  assert.is(await codeOf(enrol(ca, { token: text, csr, address }, start)), "certificate-revoked");
  assert.is(await codeOf(enrol(ca, { token: waiting, csr: (await testCsr()).der, address }, start)), "token-unknown");
  const fresh = await token("worker-01");
  assert.is(await codeOf(enrol(ca, { token: fresh, csr, address }, start)), "csr-not-allowed", "a compromised key");
  assert.is(await codeOf(enrol(ca, { token: fresh, csr: (await testCsr()).der, address }, start)), "done");
  close();
});

test("a user name must be the token's, where there is one", async () => {
  const { ca, token, close } = await testAuthority();
  const [text, { der: csr }] = [await token("worker-01"), await testCsr()];
  assert.is(await codeOf(enrol(ca, { token: text, name: "worker-02", csr, address }, start)), "token-unknown");
  assert.is(await codeOf(enrol(ca, { token: text, name: "worker-01", csr, address }, start)), "done");
  close();
});

test("the keys of CAs, and keys of other kinds, get no certificate", async () => {
  const { ca, root, intermediate, token, close } = await testAuthority();
  const text = await token("worker-01");
  for (const { keyPem } of [root, intermediate]) {
    const { der: csr } = await testCsr("x", keyPem);
    assert.is(await codeOf(enrol(ca, { token: text, csr, address }, start)), "csr-not-allowed");
  }
  const { csrPem } = await issueCsr({ commonName: "x", overrides: { keyAlgorithm: "ecdsa-p256" } });
  const csr = Result.getOrThrow(parsePem(csrPem))[0]!.der;
  assert.is(await codeOf(enrol(ca, { token: text, csr, address }, start)), "csr-not-allowed");
  close();
});

test("a certificate ends with its issuer at the latest, and an issuer that has ended issues nothing", async () => {
  const { ca, token, close } = await testAuthority({ notAfter: later(hourMs / 2) });
  const [text, second] = [await token("worker-01"), await token("worker-02")];
  const der = await Effect.runPromise(enrol(ca, { token: text, csr: (await testCsr()).der, address }, start));
  assert.is(+Result.getOrThrow(parseCertificate(der)).period.notAfter, +start + hourMs / 2);
  const { der: csr } = await testCsr();
  assert.is(await codeOf(enrol(ca, { token: second, csr, address }, later(hourMs / 2))), "issuer-ended");
  close();
});

test("a key that cannot sign issues nothing and uses up nothing", async () => {
  let broken = true;
  const sign = (real: (bytes: Uint8Array) => Promise<Uint8Array>) => (bytes: Uint8Array) =>
    broken ? Promise.reject(new Error("token removed")) : real(bytes);
  const world = await testAuthority({ signer: (real) => ({ spki: real.spki, sign: sign(real.sign) }) });
  const [text, { der: csr }] = [await world.token("worker-01"), await testCsr()];
  assert.is(await codeOf(enrol(world.ca, { token: text, csr, address }, start)), "signer-unavailable");
  broken = false;
  assert.is(await codeOf(enrol(world.ca, { token: text, csr, address }, start)), "done");
  world.close();
});

const names: [what: string, role: string, name: string, san: readonly string[] | undefined][] = [
  ["role ca", "ca", "ca-01", undefined],
  ["a role that does not exist", "root", "x", undefined],
  ["the CA's own DNS name", "worker", "w", ["DNS:CA.acme.example"]],
  ["a wildcard over it", "worker", "w", ["DNS:*.acme.example"]],
  ["a common name that is the CA's DNS name", "worker", "ca.acme.example", undefined],
  ["a second URI", "worker", "w", ["URI:spiffe://acme.example/gateway/w"]],
  ["a name with a slash", "worker", "a/b", undefined],
  ["dots alone", "worker", "..", undefined],
  ["a name that is too long", "worker", "w".repeat(65), undefined],
  ["an alternative name that is none", "worker", "w", ["DNS:a b"]],
];
for (const [what, role, name, san] of names) {
  test(`no token is made for ${what}`, async () => {
    const { ca, close } = await testAuthority();
    const request = { role: role as Role, name, san, replaces: "no" } as const;
    assert.is(await codeOf(createToken(ca, request, start)), "name-not-allowed");
    close();
  });
}

test("no token is made for an address of the CA, in whatever form it is written", async () => {
  const { ca, close } = await testAuthority({ url: "https://[2001:db8::1]:8443" });
  const request = { role: "worker", name: "w", san: ["IP:2001:0DB8:0::0001"], replaces: "no" } as const;
  assert.is(await codeOf(createToken(ca, request, start)), "name-not-allowed");
  close();
});

test("a token lives a day at most", async () => {
  const { ca, close } = await testAuthority();
  const ask = (lifetimeMs: number) =>
    codeOf(createToken(ca, { role: "worker", name: "w", replaces: "no", lifetimeMs }, start));
  assert.is(await ask(24 * hourMs), "done");
  assert.is(await ask(24 * hourMs + 1), "name-not-allowed");
  assert.is(await ask(0), "name-not-allowed");
  assert.is(await ask(Number.NaN), "name-not-allowed");
  close();
});

test.run();
