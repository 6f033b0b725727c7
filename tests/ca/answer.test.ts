/** What the CA's endpoints answer, over real connections. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { revoke } from "../../actors/ca/revoke.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { formatPem } from "../../pki/pem.ts";
import { parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { testCsr } from "../support/authority.ts";
import { testIdentity } from "../support/hardware_identity.ts";
import { type TestCaPort, testCaPort } from "../support/ca_port.ts";
import { ask, certificatesIn, type ClientAnswer } from "../support/https_client.ts";

const test = suite("endpoints of the CA");
let world: TestCaPort;
test.before(async () => {
  world = await testCaPort();
});
test.after(() => world.stop());

const est = (name: string) => `${world.url}/.well-known/est/${name}`;
const base64 = (der: Uint8Array) => Buffer.from(der).toString("base64");
const codeIn = ({ body }: ClientAnswer) => body.toString().split(":")[0];

/** Enrols over the port; the leaf and its key. */
async function enrolled(name: string) {
  const [token, { der, keyPem }] = [await world.token(name), await testCsr()];
  const answer = await ask(est("simpleenroll"), { method: "POST", auth: `${name}:${token}`, body: base64(der) });
  assert.is(answer.status, 200, answer.body.toString());
  const [leaf] = certificatesIn(answer);
  return { token, csr: der, leaf: leaf!, keyPem, cert: formatPem("CERTIFICATE", leaf!), answer };
}

test("cacerts are the root and the intermediate, on one line with their length", async () => {
  const answer = await ask(est("cacerts"));
  assert.is(answer.status, 200);
  assert.is(answer.headers["content-type"], "application/pkcs7-mime; smime-type=certs-only");
  assert.is(answer.headers["content-transfer-encoding"], "base64");
  assert.is(answer.headers["content-length"], String(answer.body.length));
  assert.not.match(answer.body.toString(), /\s/);
  const sent = certificatesIn(answer).map((der) => [...der]);
  assert.equal(sent, [[...world.root.der], [...world.intermediate.der]]);
});

test("a token gives the leaf, as Basic password and as Bearer", async () => {
  const { leaf, token, csr } = await enrolled("worker-01");
  assert.is(Result.getOrThrow(parseCertificate(leaf)).subject.text, "CN=worker-01");
  const headers = { authorization: `Bearer ${token}` };
  const again = await ask(est("simpleenroll"), { method: "POST", headers, body: base64(csr) });
  assert.equal(certificatesIn(again).map((der) => [...der]), [[...leaf]]);
});

test("a certificate of the register renews over its own connection, with the same key and with another", async () => {
  const { cert, keyPem: key } = await enrolled("worker-02");
  const same = base64((await testCsr("worker-02", key)).der);
  const first = await ask(est("simplereenroll"), { method: "POST", cert, key, body: same });
  assert.is(first.status, 200, first.body.toString());
  const next = formatPem("CERTIFICATE", certificatesIn(first)[0]!);
  const other = base64((await testCsr("worker-02")).der);
  const second = await ask(est("simplereenroll"), { method: "POST", cert: next, key, body: other });
  assert.is(second.status, 200);
  const fork = await ask(est("simplereenroll"), {
    method: "POST",
    cert,
    key,
    body: base64((await testCsr("worker-02")).der),
  });
  assert.is(fork.status, 403);
  assert.is(codeIn(fork), "renewal-forked");
});

test("an expired certificate of the register renews", async () => {
  const brief = await testCaPort({ lifetimeMs: (role) => role === "ca" ? 3_600_000 : 1_000 });
  const [token, { der, keyPem: key }] = [await brief.token("w"), await testCsr()];
  const url = `${brief.url}/.well-known/est`;
  const answer = await ask(`${url}/simpleenroll`, { method: "POST", auth: `w:${token}`, body: base64(der) });
  const cert = formatPem("CERTIFICATE", certificatesIn(answer)[0]!);
  const { notAfter } = Result.getOrThrow(parseCertificate(certificatesIn(answer)[0]!)).period;
  while (Date.now() <= +notAfter + 1_000) await new Promise((resolve) => setTimeout(resolve, 100));
  const body = base64((await testCsr("w", key)).der);
  const renewed = await ask(`${url}/simplereenroll`, { method: "POST", cert, key, body });
  assert.is(renewed.status, 200, renewed.body.toString());
  const network = await ask(`${brief.url}/.well-known/hypha/network`, { cert, key });
  assert.is(codeIn(network), "renewal-expired");
  await brief.stop();
});

test("of 200 changed tokens and requests over HTTPS none is accepted", async () => {
  const token = await world.token("worker-09");
  const { der } = await testCsr();
  const statuses = new Map<number, number>();
  let seed = 200;
  const draw = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 8) % below;
  for (let index = 0; index < 200; index++) {
    const [at, bit] = [draw(token.length), draw(der.length)];
    const letter = token[at] === "A" ? "B" : "A";
    const changed = index % 2 === 0 ? token.slice(0, at) + letter + token.slice(at + 1) : token;
    const csr = index % 2 === 0 ? der : der.with(bit, der[bit]! ^ (1 << draw(8)));
    const headers = { authorization: `Bearer ${changed}` };
    // Ten from each address: the limit of failures must not be what refuses them.
    const localAddress = `127.0.3.${Math.floor(index / 10) + 1}`;
    const answer = await ask(est("simpleenroll"), { method: "POST", headers, localAddress, body: base64(csr) });
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
  }
  assert.equal([...statuses].toSorted(), [[400, 100], [401, 100]]);
  const headers = { authorization: `Bearer ${token}` };
  const own = { method: "POST", headers, localAddress: "127.0.3.1", body: base64(der) };
  assert.is((await ask(est("simpleenroll"), own)).status, 429, "that address has failed ten times");
  assert.is((await ask(est("simpleenroll"), { ...own, localAddress: "127.0.3.200" })).status, 200);
});

test("an identity in hardware gets a certificate over HTTPS; of 200 changed requests none does", async () => {
  const identity = await testIdentity(world, "hardware-01", {}, new Date());
  const send = async (body: string, localAddress: string) =>
    await ask(`${world.url}/.well-known/hypha/enrol`, { method: "POST", body, localAddress });
  const given = JSON.parse((await ask(`${world.url}/.well-known/hypha/nonce`)).body.toString()) as { nonce: string };
  const whole = await identity.request({ nonce: given.nonce }, new Date());
  const statuses = new Map<number, number>();
  let seed = 201;
  const draw = (below: number) => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 8) % below;
  for (let index = 0; index < 200; index++) {
    const at = draw(whole.length);
    const changed = whole.slice(0, at) + (whole[at] === "A" ? "B" : "A") + whole.slice(at + 1);
    const { status } = await send(changed, `127.0.4.${Math.floor(index / 10) + 1}`);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  assert.equal([...statuses.keys()].toSorted(), [400, 403], JSON.stringify([...statuses]));
  const answer = await send(whole, "127.0.4.200");
  assert.is(answer.status, 200, answer.body.toString());
  const [leaf] = certificatesIn(answer);
  const names = Result.getOrThrow(parseCertificate(leaf!)).subjectAltNames.map(({ value }) => value);
  assert.equal(names.at(-1), "spiffe://acme.example/worker/hardware-01");
  assert.is(codeIn(await send(whole, "127.0.4.201")), "nonce-used");
  assert.is((await send("x".repeat(70_000), "127.0.4.202")).status, 413);
  assert.is(codeIn(await send(whole, "127.0.4.1")), "too-many-failures");
});

test("a client without a certificate, and one with another CA's, renew nothing", async () => {
  const body = base64((await testCsr("x")).der);
  const without = await ask(est("simplereenroll"), { method: "POST", body });
  assert.equal([without.status, codeIn(without)], [401, "no-client-certificate"]);
  const { root } = world;
  const foreign = await ask(est("simplereenroll"), { method: "POST", cert: root.certPem, key: root.keyPem, body });
  assert.equal([foreign.status, codeIn(foreign)], [403, "not-issued-here"]);
});

test("lists are served to anybody, with an ETag that saves their bytes", async () => {
  const { leaf } = await enrolled("worker-03");
  const { serial } = Result.getOrThrow(parseCertificate(leaf));
  const url = `${world.url}/crl/${world.ca.issuerId}.crl`;
  const before = await ask(url);
  await Effect.runPromise(revoke(world.ca, { serial }, "keyCompromise", new Date()));
  const after = await ask(url);
  assert.is(after.headers["content-type"], "application/pkix-crl");
  assert.is(after.headers["etag"], `"${createHash("sha256").update(after.body).digest("hex")}"`);
  const [old, fresh] = [before, after].map(({ body }) => BigInt(Result.getOrThrow(parseCrl(body)).number!));
  assert.ok(fresh! > old!);
  const etag = String(after.headers["etag"]);
  const unchanged = await ask(url, { headers: { "if-none-match": etag } });
  assert.equal([unchanged.status, unchanged.body.length], [304, 0]);
  assert.is((await ask(url, { headers: { "if-none-match": String(before.headers["etag"]) } })).status, 200);
  assert.is((await ask(url.replace(".crl", "-delta.crl"))).status, 404, "a short list has no delta");
  assert.is((await ask(`${world.url}/crl/${"0".repeat(64)}.crl`)).status, 404);
});

test("the bundle is one", async () => {
  const { body } = await ask(`${world.url}/bundle.json`);
  const { authorities, refreshHintSeconds } = Result.getOrThrow(parseSpiffeBundle(body.toString()));
  assert.equal(authorities.map(({ subject }) => subject.text), ["CN=Root", "CN=CA"]);
  assert.is(refreshHintSeconds, 300);
});

test("the network is for members and for tokens that were not used", async () => {
  const url = `${world.url}/.well-known/hypha/network`;
  assert.is(codeIn(await ask(url)), "no-client-certificate");
  const waiting = await world.token("worker-04");
  const { token, cert, keyPem: key } = await enrolled("worker-05");
  assert.is((await ask(url, { auth: `worker-04:${waiting}` })).status, 200);
  assert.is(codeIn(await ask(url, { auth: `worker-05:${token}` })), "token-used");
  const { body } = await ask(url, { cert, key });
  assert.equal(JSON.parse(body.toString()), {
    domain: "acme.example",
    gateways: [],
    gateway_names: {},
    renewal: { after: 2 / 3, late_seconds: 3 * 24 * 3_600 },
    retired_issuers: [],
  });
});

test("healthz says whether it can issue, and if not, why", async () => {
  assert.is((await ask(`${world.url}/healthz`)).status, 200);
  const ending = await testCaPort({ notAfter: new Date(Date.now() + 1_500) });
  while (Date.now() <= +ending.ca.issuer.certificate.period.notAfter) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const ended = await ask(`${ending.url}/healthz`);
  assert.is(ended.status, 503);
  assert.match(ended.body.toString(), /issuer ended/);
  await ending.stop();
});

const others: [what: string, path: string, method: string, status: number][] = [
  ["an unknown path", "/x", "GET", 404],
  ["a name of every object", "/__proto__", "GET", 404],
  ["a folder", "/crl/", "GET", 404],
  ["a path out of its folder", "/crl/../healthz", "GET", 404],
  ["the wrong method", "/healthz", "POST", 405],
  ["enrolment by GET", "/.well-known/est/simpleenroll", "GET", 405],
  ["enrolment without a token", "/.well-known/est/simpleenroll", "POST", 401],
  ["an empty Basic", "/.well-known/est/simpleenroll", "POST", 401],
];
for (const [what, path, method, status] of others) {
  test(`${what}: ${status}`, async () => {
    assert.is((await ask(world.url, { path, method })).status, status);
  });
}

test("new connections get the new certificate", async () => {
  const { issueOwn } = await import("../../actors/ca/own_certificate.ts");
  const serial = () =>
    new Promise<string>((resolve, reject) => {
      const { port } = world;
      import("node:tls").then(({ connect }) => {
        const socket = connect({ host: "127.0.0.1", port: port.port, rejectUnauthorized: false }, () => {
          resolve(socket.getPeerCertificate().serialNumber);
          socket.destroy();
        });
        socket.on("error", reject);
      });
    });
  const before = await serial();
  world.port.renew(await Effect.runPromise(issueOwn(world.ca, "ca-01", new Date())));
  assert.is.not(await serial(), before);
});

test.run();
