/** Servers that pretend to be the CA: no token reaches them. */
import { createServer, type Server } from "node:https";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certsOnly } from "../../actors/ca/est_bodies.ts";
import { formatToken, makeToken } from "../../actors/ca/token.ts";
import { askHttps } from "../../actors/enrolment/ask_https.ts";
import { keyIdOf } from "../../actors/enrolment/ca_trust.ts";
import type { EnrolmentStore, HeldFiles } from "../../actors/enrolment/enrolment_store.ts";
import { pairOf } from "../../actors/enrolment/held_pair.ts";
import { enrol, renew, type RenewTerms } from "../../actors/enrolment/obtain.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { issueNode } from "../../pki/issue/mod.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { tokenOf } from "../support/enrolment_world.ts";
import { makeTestPki, type TestNode, type TestNodeOptions, type TestPki } from "../support/pki.ts";

const test = suite("impostors of a CA");
const pki = await makeTestPki();
const strangers = await makeTestPki({ organization: "Test" });
const member = await pki.node("worker-01", { role: "worker" });
const anchor = keyIdOf(Result.getOrThrow(parseCertificate(pki.root.der)));
const servers: Server[] = [];
test.after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

interface Heard {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
}

/** A server that offers CA certificates to anybody and keeps what it hears besides. */
async function serve({ chainPem, keyPem }: Pick<TestNode, "chainPem" | "keyPem">, offered: TestPki) {
  const heard: Heard[] = [];
  const server = createServer({ cert: chainPem, key: keyPem, minVersion: "TLSv1.3" }, (request, response) => {
    const { method = "", url: path = "", headers: { authorization } } = request;
    heard.push({ method, path, authorization });
    response.end(path.endsWith("/cacerts") ? certsOnly([offered.root.der, offered.intermediate.der]) : certsOnly([]));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `https://127.0.0.1:${(server.address() as { port: number }).port}`, heard };
}

const noFiles: HeldFiles = {
  certPem: undefined,
  keyPem: undefined,
  trustPem: undefined,
  keyWrittenAt: undefined,
  next: undefined,
};
const store: EnrolmentStore = {
  read: Effect.succeed(noFiles),
  write: () => Effect.void,
  writeNext: () => Effect.void,
  forgetNext: Effect.void,
};
const terms = () => ({ ask: askHttps, store, role: "worker", policy: defaultPolicy, at: new Date() }) as const;

async function joinAt(url: string): Promise<string> {
  const token = tokenOf(formatToken(makeToken({ anchor, url })));
  const outcome = await Effect.runPromise(
    Effect.provide(Effect.result(enrol(token, noFiles, terms())), realServices),
  );
  return Result.isSuccess(outcome) ? outcome.success.type : outcome.failure.code;
}

async function renewAt(url: string): Promise<string> {
  const trustPem = pki.root.certPem + pki.intermediate.certPem;
  const files = { ...noFiles, certPem: member.chainPem, keyPem: member.keyPem, trustPem };
  const asked: RenewTerms = { ...terms(), urls: [url], key: "same", revocation: undefined };
  const outcome = await Effect.runPromise(
    Effect.provide(Effect.result(renew(pairOf(files)!, files, asked)), realServices),
  );
  return Result.isSuccess(outcome) ? outcome.success.type : outcome.failure.code;
}

const make = (from: TestPki, name: string, options: TestNodeOptions) => from.node(name, options);
const day = 86_400_000;
const asRoot = { certPem: pki.root.certPem, keyPem: pki.root.keyPem };
const ca = (domain: string) => ({ san: [`URI:spiffe://${domain}/ca/ca-01`, "IP:127.0.0.1"] });
const ended = { notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) };

const impostors: [name: string, make: () => Promise<Pick<TestNode, "chainPem" | "keyPem">>][] = [
  ["the same name under another root of the same name", () => make(strangers, "ca-01", ca("test.hypha"))],
  ["a member of the domain with its own certificate", () => Promise.resolve(member)],
  [
    "a gateway of the domain",
    () => make(pki, "gateway-01", { role: "gateway", san: ["DNS:localhost", "IP:127.0.0.1"] }),
  ],
  ["a host under a public root", () => make(strangers, "localhost", { san: ["DNS:localhost", "IP:127.0.0.1"] })],
  ["a node of the domain without a role", () => make(pki, "ca-01", { san: ["DNS:ca-01", "IP:127.0.0.1"] })],
  [
    "a certificate that names two nodes",
    () => make(pki, "ca-01", { san: ["URI:spiffe://test.hypha/ca/ca-01", "URI:spiffe://test.hypha/worker/w"] }),
  ],
  ["a role that begins like a CA's", () => make(pki, "ca-01", { san: ["URI:spiffe://test.hypha/ca-01/ca/ca-01"] })],
  ["a CA whose certificate has ended", () => make(pki, "ca-01", { ...ca("test.hypha"), ...ended })],
  ["a certificate that signed itself", () => strangers.selfSigned("ca-01")],
  ["a member's certificate as issuer", async () => {
    const made = await issueNode({
      ...{ commonName: "ca-01", issuer: member, issuerCheck: "unchecked", ...ca("test.hypha") },
      ...{ notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) },
    });
    return { chainPem: made.certPem + member.chainPem, keyPem: made.keyPem };
  }],
];
for (const [name, made] of impostors) {
  test(`${name}: refused before the token is sent, and at a renewal`, async () => {
    const { url, heard } = await serve(await made(), pki);
    assert.is(await joinAt(url), "ca-not-trusted");
    assert.equal(heard.map(({ path }) => path), ["/.well-known/est/cacerts"]);
    assert.is(await renewAt(url), "ca-not-trusted");
    assert.equal(heard.map(({ authorization }) => authorization), [undefined]);
  });
}

test("a proxy that swaps the CA certificates is told nothing more", async () => {
  const { url, heard } = await serve(await make(strangers, "ca-01", ca("test.hypha")), strangers);
  assert.is(await joinAt(url), "ca-foreign");
  assert.equal(heard.map(({ path }) => path), ["/.well-known/est/cacerts"]);
});

test("a CA of another domain under the same root does not renew", async () => {
  const { url, heard } = await serve(await make(pki, "ca-01", ca("other.hypha")), pki);
  assert.is(await renewAt(url), "ca-not-trusted");
  assert.equal(heard, []);
});

for (const [name, issuer] of [["the intermediate", undefined], ["the root", asRoot]] as const) {
  test(`the table proves something: a CA's certificate of ${name} hears the token`, async () => {
    const { url, heard } = await serve(
      await make(pki, "ca-01", { ...ca("test.hypha"), ...(issuer === undefined ? {} : { issuer }) }),
      pki,
    );
    assert.is(await joinAt(url), "answer-malformed", "it issues nothing");
    assert.match(heard[1]?.authorization ?? "", /^Bearer hyp1\./);
    assert.is(await renewAt(url), "answer-malformed");
    assert.is(heard.at(-1)?.path, "/.well-known/est/simplereenroll");
  });
}

test.run();
