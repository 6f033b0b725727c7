import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  auditKeyOf,
  composeCheckpoint,
  formatAuditKey,
  openCheckpoint,
  openSignedHead,
  originOf,
  parseAuditKey,
  signCheckpoint,
} from "../../actors/audit/checkpoint.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import { fileSigner } from "../../pki/issue/signer.ts";

const test = suite("checkpoints");
const origin = originOf("spiffe://acme.example/gateway/gateway-01");
const signer = fileSigner((await makeSigningKey()).keyPem);
const key = auditKeyOf(origin, signer)!;
const head = { origin, size: 4_711, root: Buffer.alloc(32, 7) };
const note = await signCheckpoint(head, key, signer);

test("names the log after its node", () => {
  assert.is(origin, "acme.example/audit/gateway/gateway-01");
  assert.is(originOf("Gateway 01+b"), "audit/Gateway%2001%2Bb");
  assert.is(originOf("a\ud800"), "audit/a%EF%BF%BD");
  assert.is(originOf("n".repeat(3_000)), `audit/${"n".repeat(2_042)}`);
});

test("opens a checkpoint of the key, beside signatures of others", () => {
  assert.equal(openCheckpoint(note, key), head);
  const cosigned = note.replace(/(\n\n)(.*\n)$/s, `$1\u2014 witness.example AAAAAAAA\n$2`);
  assert.equal(openCheckpoint(cosigned, key), head);
  assert.equal(openSignedHead(cosigned, key), { ...head, note });
  const cosignedBehind = `${note}\u2014 witness.example AAAAAAAA\n`;
  assert.equal(openSignedHead(cosignedBehind, key), { ...head, note });
});

test("opens the example key and checkpoint of the public specification of signed notes", () => {
  // Go's documentation of golang.org/x/mod/sumdb/note.
  const peter = parseAuditKey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")!;
  assert.is(peter.name, "PeterNeumann");
  assert.is(formatAuditKey(peter), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
});

test("opens no other text: each byte counts", () => {
  for (let index = 0; index < note.length; index++) {
    const changed = `${note.slice(0, index)}${note[index] === "A" ? "B" : "A"}${note.slice(index + 1)}`;
    assert.type(openCheckpoint(changed, key), "string", `character ${index}`);
  }
  assert.is(openCheckpoint("", key), "malformed");
  assert.is(openCheckpoint(note.repeat(100), key), "malformed");
});

test("bug: a character with unused bits could be another one: base64 has one text for each value", () => {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (const padded of note.matchAll(/[^=\n]={1,2}\n/g)) {
    const value = alphabet.indexOf(padded[0][0] as string);
    const changed = `${note.slice(0, padded.index)}${alphabet[value + 1]}${note.slice(padded.index + 1)}`;
    assert.type(openCheckpoint(changed, key), "string", `character ${padded.index}`);
  }
});

test("tells an unsigned checkpoint from a forged one", async () => {
  const other = fileSigner((await makeSigningKey()).keyPem);
  const otherKey = auditKeyOf(origin, other)!;
  assert.is(openCheckpoint(await signCheckpoint(head, otherKey, other), key), "unsigned");
  assert.is(openCheckpoint(await signCheckpoint(head, key, other), key), "forged");
});

test("passes over a signature of another name, whose key has the number of this one", () => {
  const renamed = note.replace(`\u2014 ${origin} `, "\u2014 other.example ");
  assert.is(openCheckpoint(renamed, key), "unsigned");
  assert.equal(openCheckpoint(`${note}${renamed.split("\n\n")[1]}`, key), head);
});

test("a signature of a key that is none is forged", () => {
  const short = { name: origin, raw: key.raw.subarray(1) };
  assert.is(openCheckpoint(composeCheckpoint(head, short, () => Buffer.alloc(64)), short), "forged");
});

test("takes no key but Ed25519, and no verifier key with another number", async () => {
  assert.is(auditKeyOf(origin, fileSigner((await makeSigningKey("ecdsa-p256")).keyPem)), undefined);
  const text = formatAuditKey(key);
  assert.equal(parseAuditKey(text), { name: origin, raw: Buffer.from(key.raw) });
  assert.is(parseAuditKey(text.replace(/\+[0-9a-f]{8}\+/, "+00000000+")), undefined);
  assert.is(parseAuditKey(text.slice(0, -4)), undefined);
  assert.is(parseAuditKey(""), undefined);
});

test("takes no key whose octets are not those of Ed25519, though their number is", () => {
  const of = (spki: Uint8Array) => auditKeyOf(origin, { spki: () => Buffer.from(spki) });
  const spki = Buffer.from(signer.spki());
  assert.ok(of(spki) !== undefined);
  assert.is(of(spki.with(8, 0x71)), undefined, "X448, by its number");
  assert.is(of(Buffer.concat([spki, Buffer.of(0)])), undefined);
  const id = (algorithm: number) => hash("sha256", Buffer.concat([Buffer.from("x\n"), Buffer.of(algorithm), key.raw]));
  const text = (algorithm: number) =>
    `x+${id(algorithm).slice(0, 8)}+${Buffer.concat([Buffer.of(algorithm), key.raw]).toString("base64")}`;
  assert.is(parseAuditKey(text(1))?.name, "x");
  assert.is(parseAuditKey(text(4)), undefined, "a cosignature's key");
  assert.is(
    parseAuditKey(text(4).replace(id(4).slice(0, 8), id(1).slice(0, 8))),
    undefined,
    "with a number of Ed25519",
  );
  const short = Buffer.concat([Buffer.of(1), key.raw.subarray(1)]);
  const shortId = hash("sha256", Buffer.concat([Buffer.from("x\n"), short])).slice(0, 8);
  assert.is(parseAuditKey(`x+${shortId}+${short.toString("base64")}`), undefined);
});

test("opens a note of 8,192 characters, and no longer one", () => {
  const filled = (length: number) => {
    const filling = length - note.length - "\u2014 w \n".length;
    return `${note}\u2014 w ${"A".repeat(filling)}\n`;
  };
  assert.equal(openCheckpoint(filled(8_192), key), head);
  assert.is(openCheckpoint(filled(8_193), key), "malformed");
});

test("a size that is no safe integer is malformed, also where its signature is right", async () => {
  const odd = { ...head, size: 9_007_199_254_740_992 };
  assert.is(openCheckpoint(await signCheckpoint(odd, key, signer), key), "malformed");
  const safe = { ...head, size: Number.MAX_SAFE_INTEGER };
  assert.equal(openCheckpoint(await signCheckpoint(safe, key, signer), key), safe);
});

test("a note of other parts is malformed, though its text is signed", async () => {
  const whole = Buffer.from(head.root).toString("base64");
  for (
    const [from, to] of [[`${whole}\n`, `${whole}\nextension\n`], [`${origin}\n`, "\n"], ["4711\n", "04711\n"]] as const
  ) {
    const text = note.slice(0, note.indexOf("\n\n") + 1).replace(from, to);
    const sign = await signer.sign(Buffer.from(text));
    const id = Buffer.from(formatAuditKey(key).split("+")[1]!, "hex");
    const signed = `${text}\n\u2014 ${key.name} ${Buffer.concat([id, sign]).toString("base64")}\n`;
    assert.is(openCheckpoint(signed, key), "malformed", to);
  }
});

test.run();
