/** A CA whose key is in a token of SoftHSM: it issues, publishes lists, refuses while the token is away, and goes on by itself. */
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { Effect, Exit, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { outcomeOf } from "../../scripts/program/program_outcome.ts";
import { answer } from "../../actors/ca/answer.ts";
import { parseCaConfig } from "../../actors/ca/ca_config.ts";
import { openAuthority } from "../../actors/ca/open_authority.ts";
import { Register } from "../../actors/ca/register.ts";
import { renewLists } from "../../actors/ca/revoke.ts";
import { createToken } from "../../actors/ca/token_rows.ts";
import { generatePkcs11Key, openPkcs11Signer } from "../../actors/pkcs11/pkcs11_signer.ts";
import { certifyIntermediate, issueIntermediate, issueRoot } from "../../pki/issue/mod.ts";
import { formatPem } from "../../pki/pem.ts";
import { testCsr } from "../support/authority.ts";
import { opensslOk } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("openAuthority() with a key in a token"), "softhsm2-util", "openssl");
const dayMs = 86_400_000;
const at = new Date();
const timing = { answerMs: 5_000, startMs: 20_000, tryAgainMs: 100 };
const period = { notBefore: new Date(+at - dayMs), notAfter: new Date(+at + 365 * dayMs) };

let token: SoftToken;
const file = (name: string) => join(token.dir, name);
test.before(async () => {
  token = makeSoftToken();
  const root = await issueRoot({ commonName: "Root", ...period });
  await generatePkcs11Key(token.uri("ca"), "ed25519");
  const int = await certifyIntermediate(
    { issuer: root, commonName: "CA", ...period },
    await openPkcs11Signer(token.uri("ca")),
  );
  const next = await issueIntermediate({ issuer: root, commonName: "CA 2", ...period });
  writeFileSync(file("chain2.pem"), next.certPem + root.certPem);
  writeFileSync(file("key2.pem"), next.keyPem, { mode: 0o600 });
  writeFileSync(file("root.pem"), root.certPem);
  writeFileSync(file("chain.pem"), int.certPem + root.certPem);
  mkdirSync(file("state"), { mode: 0o700 });
  Result.getOrThrow(Register.create(file("state/ca.db"))).close();
});
test.after(() => token.remove());

const request = {
  ...{
    method: "GET",
    authorization: undefined,
    ifNoneMatch: undefined,
    body: new Uint8Array(),
    address: "192.0.2.1",
  },
  ...{ certificate: undefined, session: "new" as const },
};

const open = (uri: string, chain = "chain.pem", more = "", tokenTiming = timing) => {
  const settings = {
    ...{ domain: "acme.example", url: "https://ca.acme.example:8443", name: "ca-01", listen_https: "127.0.0.1:8443" },
    ...{ chain_pem: chain, key_pem: uri, state_dir: "state" },
  };
  const lines = Object.entries(settings).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  const config = Result.getOrThrow(parseCaConfig(file("ca.toml"), `[ca]\n${lines.join("\n")}\n${more}`));
  return openAuthority(config, () => {}, { tokenTiming });
};

test("it issues and lists; without its token it refuses with 503, and afterwards it goes on", async () => {
  const ca = await Effect.runPromise(open(token.uri("ca")));
  const health = () => Effect.runPromise(answer(ca, { ...request, path: "/healthz" }, at));
  const enrol = async (name: string) => {
    const { text } = await Effect.runPromise(createToken(ca, { role: "worker", name, replaces: "no" }, at));
    const body = Buffer.from(Buffer.from((await testCsr(name)).der).toString("base64"));
    const path = "/.well-known/est/simpleenroll";
    return await Effect.runPromise(
      answer(ca, { ...request, method: "POST", path, authorization: `Bearer ${text}`, body }, at),
    );
  };
  await Effect.runPromise(renewLists(ca, at));
  assert.equal((await health()).status, 200);
  const list = await Effect.runPromise(answer(ca, { ...request, path: `/crl/${ca.issuerId}.crl` }, at));
  writeFileSync(file("ca.crl"), list.body);
  const verified = await opensslOk(
    token.dir,
    "crl",
    "-in",
    "ca.crl",
    "-inform",
    "DER",
    "-CAfile",
    "chain.pem",
    "-noout",
    "-verify",
  );
  assert.match(verified, /verify OK/);
  const issued = await enrol("worker-01");
  assert.is(issued.status, 200, String(issued.body));
  writeFileSync(file("a.p7"), formatPem("PKCS7", Buffer.from(String(issued.body), "base64")));
  writeFileSync(file("leaf.pem"), await opensslOk(token.dir, "pkcs7", "-in", "a.p7", "-print_certs"));
  await opensslOk(token.dir, "verify", "-CAfile", "root.pem", "-untrusted", "chain.pem", "leaf.pem");

  // The token's process is the CA's own: its keys share it.
  const shared = await openPkcs11Signer(token.uri("ca"), { timing });
  renameSync(file("tokens"), file("removed"));
  process.kill(shared.pid()!, "SIGKILL");
  const refused = await enrol("worker-02");
  assert.equal([refused.status, String(refused.body).split(":")[0]], [503, "signer-unavailable"]);
  const sick = await health();
  assert.equal([sick.status, String(sick.body).trim()], [503, "signer-unavailable"]);
  renameSync(file("removed"), file("tokens"));
  while ((await health()).status !== 200) await setTimeout(20);
  assert.is((await enrol("worker-02")).status, 200);
  ca.register.close();
});

/** A CA with its key in a file, and a retired one whose key is in the token. */
const openRetired = (uri: string, chain = "chain.pem", tokenTiming = timing) => {
  const retired = `[[ca.retired]]\nchain_pem = "${chain}"\nkey_pem = ${JSON.stringify(uri)}\n`;
  return open("key2.pem", "chain2.pem", retired, tokenTiming);
};

test("bug: a CA did not start while the token of a retired one was away", async () => {
  renameSync(file("tokens"), file("removed"));
  // Other times have another process, which has not seen the token.
  const fresh = { ...timing, answerMs: 5_001 };
  const ca = await Effect.runPromise(openRetired(token.uri("ca"), "chain.pem", fresh)).catch((error: unknown) => {
    renameSync(file("removed"), file("tokens"));
    throw error;
  });
  const health = () => Effect.runPromise(answer(ca, { ...request, path: "/healthz" }, at));
  assert.is(await Effect.runPromise(renewLists(ca, at, [ca])), "renewed");
  assert.is(String((await health()).body), "signer-unavailable: CN=CA, retired\n");
  renameSync(file("removed"), file("tokens"));
  while ((await health()).status !== 200) await setTimeout(20);
  const later = new Date(+at + 6 * dayMs);
  assert.is(await Effect.runPromise(renewLists(ca, later, ca.retired)), "renewed", "it signs when its token is back");
  ca.register.close();
});

test("bug: a CA did not start where the key file of a retired one was gone, and goes on when it is back", async () => {
  writeFileSync(
    file("another.pem"),
    generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" }),
    {
      mode: 0o600,
    },
  );
  renameSync(file("key2.pem"), file("key2.away"));
  const retired = `[[ca.retired]]\nchain_pem = "chain2.pem"\nkey_pem = "key2.pem"\n`;
  const ca = await Effect.runPromise(open(token.uri("ca"), "chain.pem", retired)).catch((error: unknown) => {
    renameSync(file("key2.away"), file("key2.pem"));
    throw error;
  });
  const [former] = ca.retired;
  const health = async () =>
    String((await Effect.runPromise(answer(ca, { ...request, path: "/healthz" }, at))).body).trim();
  const sign = () => former!.issuer.key.sign(Uint8Array.of(1)).then(() => "signed", String);
  await Effect.runPromise(renewLists(ca, at, [ca]));
  assert.is(await health(), "signer-unavailable: CN=CA 2, retired");
  assert.match(former!.keyFailure()?.message ?? "", /key2\.pem.*ENOENT/);
  assert.match(await sign(), /ENOENT/);
  renameSync(file("another.pem"), file("key2.pem"));
  assert.match(await sign(), /key2\.pem.*not the key of the retired CA's certificate/);
  assert.is(await health(), "signer-unavailable: CN=CA 2, retired");
  renameSync(file("key2.away"), file("key2.pem"));
  assert.is(await sign(), "signed");
  assert.not(await health().then((text) => text.startsWith("signer-unavailable")));
  ca.register.close();
});

const lost: [name: string, change: (uri: string) => string, said: RegExp][] = [
  ["is not in its token", (uri) => uri.replace("object=ca", "object=gone"), /\(key-missing\).*from the token's backup/],
  ["has a wrong PIN", (uri) => uri.replace(/&pin.*/, "&pin-value=4321"), /\(pin-wrong\)/],
];
for (const [name, change, said] of lost) {
  test(`bug: a CA did not start where the key of a retired one ${name}`, async () => {
    const ca = await Effect.runPromise(openRetired(change(token.uri("ca"))));
    const refused = await ca.retired[0]!.issuer.key.sign(Uint8Array.of(1)).catch(String);
    assert.match(ca.retired[0]!.keyFailure()?.message ?? "", said);
    assert.match(String(refused), said);
    await Effect.runPromise(renewLists(ca, at, [ca]));
    const health = await Effect.runPromise(answer(ca, { ...request, path: "/healthz" }, at));
    assert.is(String(health.body), "signer-unavailable: CN=CA, retired\n");
    ca.register.close();
  });
}

test("a retired CA whose URI is wrong, or names the key of another CA, ends the start", async () => {
  const uri = token.uri("ca");
  const refused: [uri: string, chain: string, said: RegExp][] = [
    [uri.replace(/\?.*/, ""), "chain.pem", /\(uri\).*module-path/],
    [uri, "chain2.pem", /not the key of the CA's certificate/],
  ];
  for (const [each, chain, said] of refused) {
    assert.match((await Effect.runPromise(Effect.flip(openRetired(each, chain)))).message, said);
  }
});

const wrong: [name: string, change: (uri: string) => string, said: RegExp, code: 1 | 2][] = [
  ["a wrong PIN", (uri) => uri.replace(/&pin.*/, "&pin-value=4321"), /\(pin-wrong\).*not tried again/, 2],
  ["a token that is not there", (uri) => uri.replace("acme", "b"), /\(token-missing\).*pkcs11-tool/, 1],
  ["a URI without a module", (uri) => uri.replace(/\?.*/, ""), /\(uri\).*module-path/, 2],
];
for (const [name, change, said, code] of wrong) {
  test(`${name} ends the start with one line, and with code ${code}`, async () => {
    const error = await Effect.runPromise(Effect.flip(open(change(token.uri("ca")))));
    assert.match(error.message, said);
    assert.not.match(error.message, /4321|\n/);
    assert.is(outcomeOf("hypha-ca", Exit.fail(error)).code, code);
  });
}

test("bug: a module that was not ready at the start ended the CA with code 2, so that it was not started again", async () => {
  const config = process.env["SOFTHSM2_CONF"]!;
  process.env["SOFTHSM2_CONF"] = file("none.conf");
  const uri = token.uri("ca").replace(/&pin.*/, "&pin-value=1234"); // a process of its own
  const error = await Effect.runPromise(Effect.flip(open(uri)));
  process.env["SOFTHSM2_CONF"] = config;
  assert.match(error.message, /\(module-failed\): C_Initialize returned CKR_GENERAL_ERROR/);
  assert.is(outcomeOf("hypha-ca", Exit.fail(error)).code, 1);
});

test.run();
