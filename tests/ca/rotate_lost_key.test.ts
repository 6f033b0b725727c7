/** A rotation where the key of a CA that was published, or retired, is lost. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import { keyHash } from "../../actors/ca/certificate_authority.ts";
import { initCa } from "../../actors/ca/init_ca.ts";
import { rotate, type RotateRequest } from "../../actors/ca/rotate.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { issueIntermediate } from "../../pki/issue/mod.ts";
import { parsePem } from "../../pki/pem.ts";

const test = suite("a rotation with a lost key");
const at = new Date();
let folder = "";
test.before.each(async () => {
  folder = mkdtempSync(join(tmpdir(), "hypha-rotate-"));
  const names = { domain: "acme.example", url: "https://ca.acme.example", name: "ca-01", gateways: [] };
  await Effect.runPromise(initCa({ ...names, folder: file("") }, at).pipe(Effect.provide(realServices)));
});
test.after.each(() => rmSync(folder, { recursive: true }));
const file = (name: string) => join(folder, "ca", name);
const text = (name: string) => readFileSync(file(name), "utf8");

/** What a step did, or why it was refused. */
async function step(more: Partial<RotateRequest> = {}): Promise<string> {
  const request = { config: file("ca.toml"), next: undefined, isRevoked: () => Effect.succeed(false), ...more };
  const turn = Effect.result(rotate({ permit: () => Effect.void, ...request }));
  return Result.match(await Effect.runPromise(turn.pipe(Effect.provide(realServices))), {
    onSuccess: ({ step, subject }) => `${step} ${subject}`,
    onFailure: ({ message }) => message,
  });
}

/** Makes a CA below the root; its key's hash, and its files. */
async function made(name: string) {
  const issuer = { certPem: text("root-cert.pem"), keyPem: text("root-key.pem") };
  const period = { notBefore: at, notAfter: new Date(+at + 24 * 3_600_000) };
  const { certPem, keyPem } = await issueIntermediate({ commonName: name, issuer, ...period });
  const next = { cert: file(`${name}-cert.pem`), key: file(`${name}-key.pem`) };
  writeFileSync(next.cert, certPem);
  writeFileSync(next.key, keyPem, { mode: 0o600 });
  const certificate = Result.getOrThrow(parseCertificate(Result.getOrThrow(parsePem(certPem))[0]!.der));
  return { next, id: keyHash(certificate.publicKey.spki) };
}

test("bug: a published CA whose key was lost could be neither used nor replaced", async () => {
  const [second, third] = [await made("ca2"), await made("ca3")];
  assert.is(await step(second), "published CN=ca2");
  assert.match(await step(third), /under way/, "its key is there");
  rmSync(second.next.key);
  const before = [text("ca.toml"), readdirSync(file(""))];
  assert.match(await step(), /^Cannot rotate: .*ca2-key\.pem.* another CA in its place: hypha-ca rotate --cert FILE/);
  assert.equal([text("ca.toml"), readdirSync(file(""))], before, "nothing is written");
  assert.is(await step(third), "published CN=ca3");
  const { next } = await Effect.runPromise(loadCaConfig(file("ca.toml")));
  assert.is(next?.keyPem, third.next.key);
  assert.is(await step(), "issuing CN=ca3");
  assert.equal(text("ca.toml").match(/next_/g), null);
});

test("a rotation begins without the state's folder, as after the loss of a disk", async () => {
  rmSync(file("state"), { recursive: true });
  assert.is(await step(await made("ca2")), "published CN=ca2");
});

test("bug: a retired CA that the root had revoked was not taken out before those that were retired earlier", async () => {
  for (const name of ["ca2", "ca3"]) {
    assert.is(await step(await made(name)), `published CN=${name}`);
    assert.is(await step(), `issuing CN=${name}`);
  }
  assert.match(await step(), /none of CN=Issuing CA.*; CN=ca2 is revoked/);
  const { id, next } = await made("ca4");
  assert.is(await step({ next }), "published CN=ca4");
  assert.is(await step(), "issuing CN=ca4");
  assert.is(await step({ next: (await made("ca5")).next }), "published CN=ca5");
  assert.is(await step(), "issuing CN=ca5");
  const permitted: (readonly string[])[] = [];
  const permit: RotateRequest["permit"] = ({ retired }) => Effect.sync(() => void permitted.push(retired));
  assert.is(await step({ isRevoked: (each) => Effect.succeed(each === id), permit }), "removed CN=ca4");
  const [before, after] = permitted;
  assert.equal([before?.length, after], [4, before?.filter((each) => each !== id)]);
  const { retired } = await Effect.runPromise(loadCaConfig(file("ca.toml")));
  assert.equal(retired.map(({ keyPem }) => keyPem), ["ca-key.pem", "ca2-key.pem", "ca3-key.pem"].map(file));
});

test.run();
