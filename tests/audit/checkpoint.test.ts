import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  auditKeyOf,
  formatAuditKey,
  openCheckpoint,
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
});

test("opens a checkpoint of the key, beside signatures of others", () => {
  assert.equal(openCheckpoint(note, key), head);
  const cosigned = note.replace(/(\n\n)(.*\n)$/s, `$1\u2014 witness.example AAAAAAAA\n$2`);
  assert.equal(openCheckpoint(cosigned, key), head);
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

test("takes no key but Ed25519, and no verifier key with another number", async () => {
  assert.is(auditKeyOf(origin, fileSigner((await makeSigningKey("ecdsa-p256")).keyPem)), undefined);
  const text = formatAuditKey(key);
  assert.equal(parseAuditKey(text), { name: origin, raw: Buffer.from(key.raw) });
  assert.is(parseAuditKey(text.replace(/\+[0-9a-f]{8}\+/, "+00000000+")), undefined);
  assert.is(parseAuditKey(text.slice(0, -4)), undefined);
});

test.run();
