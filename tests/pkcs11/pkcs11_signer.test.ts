/** Keys in a token of SoftHSM. */
import { Buffer } from "node:buffer";
import { createPublicKey, verify } from "node:crypto";
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generatePkcs11Key, openPkcs11Signer, shownUri } from "../../actors/pkcs11/pkcs11_signer.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { needing } from "../support/prerequisites.ts";
import { initToken, makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("openPkcs11Signer()"), "softhsm2-util");

let token: SoftToken;
test.before(() => void (token = makeSoftToken()));
test.after(() => token.remove());

const codeOf = (asked: Promise<unknown>): Promise<string> =>
  asked.then(() => "done", (error) => error instanceof SignerError ? error.code : String(error));

const algorithms = [["ed25519", null], ["ecdsa-p256", "sha256"], ["ecdsa-p384", "sha384"]] as const;
for (const [algorithm, digest] of algorithms) {
  test(`a key of type ${algorithm} is made in the token, signs there, and is not replaced`, async () => {
    const uri = token.uri(algorithm);
    const spki = await generatePkcs11Key(uri, algorithm);
    const signer = await openPkcs11Signer(uri);
    assert.equal(Buffer.from(signer.spki()), Buffer.from(spki));
    const publicKey = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    // ECDSA's numbers have leading zeros now and then: each has its one form in DER.
    const signed = await Promise.all(Array.from({ length: 20 }, (_, index) => signer.sign(Uint8Array.of(index))));
    assert.ok(signed.every((signature, index) => verify(digest, Uint8Array.of(index), publicKey, signature)));
    assert.is(await codeOf(generatePkcs11Key(uri, algorithm)), "key-exists");
    assert.equal(Buffer.from((await openPkcs11Signer(uri)).spki()), Buffer.from(spki));
  });
}

test("keys of one token share its process", async () => {
  const [first, second] = [
    await openPkcs11Signer(token.uri("ed25519")),
    await openPkcs11Signer(token.uri("ecdsa-p256")),
  ];
  assert.ok(first.pid() !== undefined && first.pid() === second.pid());
});

test("an identifier selects a key, and a key is not made with that of another one", async () => {
  const named = (object: string) => token.uri(object).replace(";object", ";id=%01%02;object");
  const spki = await generatePkcs11Key(named("numbered"), "ed25519");
  const signer = await openPkcs11Signer(token.uri("x").replace("object=x", "id=%01%02"));
  assert.equal(Buffer.from(signer.spki()), Buffer.from(spki));
  assert.is(await codeOf(generatePkcs11Key(named("another"), "ed25519")), "key-exists");
});

test("bug: a key that its token lost, or that is another one now, was not shown as failing", async () => {
  const uri = token.uri("exchanged");
  await generatePkcs11Key(uri, "ed25519");
  const [signer, other] = [await openPkcs11Signer(uri), await openPkcs11Signer(token.uri("ed25519"))];
  const [tokens, first, second] = ["tokens", "first", "second"].map((name) => join(token.dir, name));
  /** Another token of the same name is there, and a process that has not seen the one before. */
  const exchange = (away: string, there: string) => {
    renameSync(tokens!, away);
    renameSync(there, tokens!);
    process.kill(signer.pid()!, "SIGKILL");
  };
  const failure = () => [signer.failure()?.code, signer.failure()?.detail];
  mkdirSync(second!);
  renameSync(tokens!, first!);
  renameSync(second!, tokens!);
  initToken();
  process.kill(signer.pid()!, "SIGKILL");
  assert.is(await codeOf(signer.sign(Uint8Array.of(1))), "key-missing");
  assert.equal(failure(), ["key-missing", "the token has no such private key"]);
  assert.is(other.failure(), undefined);

  await generatePkcs11Key(uri, "ed25519");
  assert.is(await codeOf(signer.sign(Uint8Array.of(1))), "signer-unavailable");
  assert.equal(failure(), ["signer-unavailable", "the signature does not verify under the key's public part"]);

  exchange(second!, first!);
  assert.is((await signer.sign(Uint8Array.of(1))).length, 64);
  assert.is(signer.failure(), undefined);
});

const wrong: [name: string, change: (uri: string) => string, code: string][] = [
  ["what is no URI", () => "pkcs11:object=a", "uri"],
  ["a missing module", (uri) => uri.replace(/module-path=[^&]+/, "module-path=/none/module.so"), "module-missing"],
  [
    "a library that is no module",
    (uri) => uri.replace(/module-path=[^&]+/, "module-path=/etc/hostname"),
    "module-missing",
  ],
  ["another token", (uri) => uri.replace("acme", "other"), "token-missing"],
  ["another serial", (uri) => uri.replace("token=acme", "token=acme;serial=0"), "token-missing"],
  ["no PIN", (uri) => uri.replace(/&pin.*/, ""), "pin-missing"],
  ["a PIN's file that is not there", (uri) => uri.replace(/&pin.*/, "&pin-source=/none/pin"), "pin-unreadable"],
  ["a PIN that is too long", (uri) => uri.replace(/&pin.*/, `&pin-value=${"1".repeat(256)}`), "pin-unreadable"],
  ["a wrong PIN", (uri) => uri.replace(/&pin.*/, "&pin-value=4321"), "pin-wrong"],
  ["a missing key", (uri) => uri.replace("object=ed25519", "object=none"), "key-missing"],
];
for (const [name, change, code] of wrong) {
  test(`${name}: ${code}, in one line without the PIN`, async () => {
    const uri = change(token.uri("ed25519"));
    const error = await openPkcs11Signer(uri).then(() => undefined, (cause) => cause);
    assert.ok(error instanceof SignerError);
    assert.is(error.code, code);
    assert.not.match(error.message, /4321|1111|\n/);
  });
}

const misplaced: [uri: string, shown: string][] = [
  ["pkcs11:token=acme;object=k;pin-value=0000?module-path=/m.so", "pkcs11:token=acme;object=k;…"],
  ["pkcs11:token=acme;object=k&pin-value=0000&module-path=/m.so", "pkcs11:token=acme;…"],
  ["pkcs11:token=acme;object=k,pin-value=0000", "pkcs11:token=acme;…"],
  ["pkcs11:pin-value=0000;0000?module-path=/m.so", "pkcs11:…"],
  [" pkcs11:token=acme;object=k?pin-value=0000", "pkcs11:…"],
  ["token=acme;object=k?pin-value=0000", "pkcs11:…"],
  ["pkcs11:slot-id=1;serial=2;id=%01;object=a%20b?pin-value=0000", "pkcs11:slot-id=1;serial=2;id=%01;object=a%20b"],
];
for (const [uri, shown] of misplaced) {
  test(`bug: a PIN in another place of the URI was shown: ${uri}`, async () => {
    assert.is(shownUri(uri), shown);
    const error = await openPkcs11Signer(uri).then(() => undefined, (cause) => cause);
    assert.ok(error instanceof SignerError && ["uri", "module-missing"].includes(error.code), String(error));
    assert.not.match(error.message, "0000");
  });
}

test.run();
