/** Keys in a token of SoftHSM. */
import { Buffer } from "node:buffer";
import { createPublicKey, verify } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generatePkcs11Key, openPkcs11Signer, type Pkcs11Signer, shownUri } from "../../actors/pkcs11/pkcs11_signer.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { signedBytesMax } from "../../actors/pkcs11/token_messages.ts";
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

/** A URI whose token no other test holds: the PIN's file has another name. */
let ownCount = 0;
function ownUri(object: string, pin = "1234"): string {
  const file = join(token.dir, `pin-${ownCount += 1}`);
  writeFileSync(file, pin);
  return token.uri(object).replace(token.pinFile, file);
}

test("the process of a token ends with its last signer, and each signer counts once", async () => {
  const uri = ownUri("ed25519");
  const second = uri.replace("object=ed25519", "object=ecdsa-p256");
  const holders = [await openPkcs11Signer(uri), await openPkcs11Signer(second), await openPkcs11Signer(uri)];
  const pid = holders[0]!.pid();
  assert.type(pid, "number");
  // Those who asked once hold nothing, whatever they got.
  assert.is(await codeOf(openPkcs11Signer(uri.replace("object=ed25519", "object=none"))), "key-missing");
  assert.is(await codeOf(generatePkcs11Key(uri, "ed25519")), "key-exists");
  for (const ended of [0, 0, 0, 1]) {
    holders[ended]!.end();
    assert.is(holders[2]!.pid(), pid);
  }
  assert.is((await holders[2]!.sign(Uint8Array.of(1))).length, 64);
  holders[2]!.end();
  assert.is(holders[2]!.pid(), undefined);
  const again = await openPkcs11Signer(uri);
  assert.ok(again.pid() !== undefined && again.pid() !== pid);
  again.end();
  assert.is(again.pid(), undefined);
});

test("an error names the key that it concerns, not the one that opened the token", async () => {
  const uri = ownUri("ed25519");
  const signer = await openPkcs11Signer(uri);
  const error = await openPkcs11Signer(uri.replace("object=ed25519", "object=none")).catch((cause) => cause);
  assert.is(error.key, "pkcs11:token=acme;object=none");
  signer.end();
});

test("the PIN of the options is used where the URI has none", async () => {
  const [uri, bare] = [token.uri("ed25519"), token.uri("ed25519").replace(/&pin.*/, "")];
  const opened = async (from: string, pin: string) => {
    const signer = await openPkcs11Signer(from, { pin });
    signer.end();
  };
  assert.is(await codeOf(opened(bare, "1234")), "done");
  assert.is(await codeOf(opened(bare, "4321")), "pin-wrong");
  assert.is(await codeOf(opened(uri, "4321")), "done");
});

test("a PIN that was refused is not presented again before the next start, also where its file has another one", async () => {
  const uri = ownUri("ed25519", "4321");
  assert.is(await codeOf(openPkcs11Signer(uri)), "pin-wrong");
  writeFileSync(join(token.dir, `pin-${ownCount}`), "1234");
  assert.is(await codeOf(openPkcs11Signer(uri)), "pin-wrong");
});

test("the time limits of the options hold", async () => {
  const fifo = join(token.dir, "fifo");
  execFileSync("mkfifo", [fifo]); // opening it without a writer never returns
  const uri = token.uri("ed25519").replace(/module-path=[^&]+/, `module-path=${fifo}`);
  const timing = { answerMs: 100, startMs: 1_000, tryAgainMs: 60_000 };
  const error = await openPkcs11Signer(uri, { timing }).catch((cause) => cause);
  assert.equal([error.code, error.detail], ["signer-unavailable", "it did not answer within 1100 ms"]);
});

const soon = { answerMs: 20_000, startMs: 20_000, tryAgainMs: 100 };
const tokensFolder = () => ["tokens", "away"].map((name) => join(token.dir, name)) as [string, string];
const remove = () => renameSync(...tokensFolder());
const insert = () => renameSync(...tokensFolder().reverse() as [string, string]);
const codeAndKey = (signer: Pkcs11Signer) => [signer.failure()?.code, signer.failure()?.key];

/** Waits until a signer can sign, as far as it knows; not for ever, where a defect keeps it from that. */
async function usable(signer: Pkcs11Signer): Promise<boolean> {
  for (const end = Date.now() + 20_000; signer.failure() !== undefined && Date.now() < end;) await setTimeout(5);
  return signer.failure() === undefined;
}

test("a key whose token is away has a signer, which fails until the token is there", async () => {
  const uri = ownUri("ed25519");
  const known = await openPkcs11Signer(uri);
  const spki = known.spki();
  known.end();
  remove();
  const signer = await openPkcs11Signer(uri, { spki, timing: soon });
  assert.equal(Buffer.from(signer.spki()), Buffer.from(spki));
  assert.equal(codeAndKey(signer), ["signer-unavailable", "pkcs11:token=acme;object=ed25519"]);
  assert.is(await codeOf(signer.sign(Uint8Array.of(1))), "signer-unavailable");
  insert();
  assert.ok(await usable(signer), "without a signature");
  assert.is((await signer.sign(Uint8Array.of(1))).length, 64);
  signer.end();
});

test("a key that is not in its token has a signer where its public half is known, and that says so", async () => {
  const uri = ownUri("none");
  const known = await openPkcs11Signer(token.uri("ed25519"));
  const signer = await openPkcs11Signer(uri, { spki: known.spki() });
  assert.equal(codeAndKey(signer), ["key-missing", "pkcs11:token=acme;object=none"]);
  signer.end();
});

test("a token that was opened as one that may be away, and is opened as one that is there, is missing", async () => {
  const uri = ownUri("ed25519");
  const known = await openPkcs11Signer(token.uri("ed25519"));
  const away = uri.replace("token=acme", "token=none");
  const signer = await openPkcs11Signer(away, { spki: known.spki() });
  assert.is(signer.failure()?.code, "signer-unavailable");
  signer.end();
  assert.is(await codeOf(openPkcs11Signer(away)), "token-missing");
});

test("a token that is removed and inserted fails for all its keys, and for none afterwards", async () => {
  const uri = ownUri("ed25519");
  const signer = await openPkcs11Signer(uri, { timing: soon });
  const other = await openPkcs11Signer(uri.replace("object=ed25519", "object=ecdsa-p256"), { timing: soon });
  remove();
  process.kill(signer.pid()!, "SIGKILL");
  assert.is(await codeOf(other.sign(Uint8Array.of(1))), "signer-unavailable");
  assert.equal(codeAndKey(signer), ["signer-unavailable", "pkcs11:token=acme;object=ed25519"]);
  assert.equal(codeAndKey(other), ["signer-unavailable", "pkcs11:token=acme;object=ecdsa-p256"]);
  insert();
  assert.ok(await usable(signer) && await usable(other), "without a signature");
  signer.end();
  other.end();
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

test("a call that cannot be made says nothing about the key", async () => {
  const signer = await openPkcs11Signer(token.uri("ed25519"));
  const bytes = Uint8Array.of(1);
  structuredClone(bytes, { transfer: [bytes.buffer] });
  assert.match(await codeOf(signer.sign(bytes)), /^TypeError/);
  assert.is(signer.failure(), undefined);
  signer.end();
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

test("200 characters of a URI are shown", () => {
  const uri = `pkcs11:token=${"t".repeat(194)}`;
  assert.is(uri.length - "pkcs11:".length, 200);
  assert.equal([shownUri(uri), shownUri(`${uri}t`)], [uri, uri]);
});

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

test("bug: 16 MiB to be signed crashed the token's process; as many octets as the limit allows are signed, and one more is refused", async () => {
  const signer = await openPkcs11Signer(ownUri("ecdsa-p256"), {
    timing: { answerMs: 60_000, startMs: 20_000, tryAgainMs: 60_000 },
  });
  const bytes = new Uint8Array(signedBytesMax + 1);
  const error = await signer.sign(bytes).catch((cause) => cause);
  assert.equal([error.code, error.key], ["signer-unavailable", "pkcs11:token=acme;object=ecdsa-p256"]);
  assert.match(error.detail, "67108864 octets");
  assert.is(await codeOf(signer.sign(bytes.subarray(1))), "done");
  signer.end();
});

test.run();
