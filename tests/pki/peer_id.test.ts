import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { publicKeyFromProtobuf } from "@libp2p/crypto/keys";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { base58btc } from "multiformats/bases/base58";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { inlineKeyOctetsMax, isPeerId, peerIdOf } from "../../pki/peer_id.ts";
import { forge } from "../support/forge.ts";

const test = suite("peerIdOf()");
const parse = (der: Uint8Array) => Result.getOrThrow(parseCertificate(der));

test("gives the existing node's PeerID", () => {
  const rows = JSON.parse(readFileSync(new URL("../vectors/wire/certs.json", import.meta.url), "utf8"));
  const row = rows.find(({ name }: { name: string }) => name === "node");
  assert.is(Result.getOrThrow(peerIdOf(parse(Buffer.from(row.hex, "hex")))), row.decoded.peer);
});

for (const [algorithm, type] of [["ed25519", 1], ["rsa-2048", 0]] as const) {
  test(`agrees with libp2p on a key of ${algorithm}`, () => {
    const certificate = parse(forge("node", { algorithm }).der);
    const { raw, spki } = certificate.publicKey;
    const data = algorithm === "ed25519" ? raw : spki;
    const size = data.length < 0x80 ? [data.length] : [(data.length & 0x7f) | 0x80, data.length >> 7];
    const key = publicKeyFromProtobuf(new Uint8Array([0x08, type, 0x12, ...size, ...data]));
    assert.is(Result.getOrThrow(peerIdOf(certificate)), peerIdFromPublicKey(key).toString());
  });
}

// libp2p in JavaScript cannot read the ECDSA keys that the specification describes, so these are computed by hand.
test("hashes an ECDSA key as the specification says", () => {
  const certificate = parse(forge("node", { algorithm: "p256" }).der);
  const message = Buffer.concat([Buffer.from("0803125b", "hex"), certificate.publicKey.spki]);
  const digest = createHash("sha256").update(message).digest();
  const expected = base58btc.baseEncode(Buffer.concat([Buffer.from("1220", "hex"), digest]));
  assert.is(Result.getOrThrow(peerIdOf(certificate)), expected);
});

test("keeps 42 octets inline and hashes more", () => {
  assert.is(inlineKeyOctetsMax, 42);
  const inline = base58btc.baseDecode(Result.getOrThrow(peerIdOf(parse(forge("node").der))));
  assert.equal([inline[0], inline[1], inline.length], [0x00, 36, 38]);
  const hashed = base58btc.baseDecode(Result.getOrThrow(peerIdOf(parse(forge("node", { algorithm: "p384" }).der))));
  assert.equal([hashed[0], hashed[1], hashed.length], [0x12, 32, 34]);
});

test("knows a PeerID in its one spelling", () => {
  const ids = [
    "12D3KooWHdfgoNvzJ4NgQYZFNsYZfxWRtbVHEBu8ZHmAYUcXrGvM",
    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
    "16Uiu2HAkykwoBxwyvoEbaEkuKMeKrmJDPZ2uKFPUKtqd2JbGHUNH",
    ...(["ed25519", "rsa-2048", "p256", "p384"] as const).map((algorithm) =>
      Result.getOrThrow(peerIdOf(parse(forge("node", { algorithm }).der)))
    ),
  ];
  for (const id of ids) assert.ok(isPeerId(id), id);
  const [id = ""] = ids;
  const octets = base58btc.baseDecode(id);
  const changed = (at: number, octet: number) => base58btc.baseEncode(octets.with(at, octet));
  const wrong = ["", "1", " ", id.slice(1), id.slice(0, -1), `${id}1`, `1${id}`, ` ${id}`, `${id} `, id.toLowerCase()];
  const forged = [changed(0, 0x11), changed(1, 35), changed(2, 0x0a), changed(4, 0x1a), changed(5, 31)];
  for (const text of [...wrong, ...forged, base58btc.encode(octets), "1".repeat(100_000)]) {
    assert.not.ok(isPeerId(text), text.slice(0, 80));
  }
});

test("refuses a key that libp2p has no type for", () => {
  const outcome = peerIdOf(parse(forge("node", { algorithm: "secp256k1" }).der));
  assert.ok(Result.isFailure(outcome));
  assert.is(outcome.failure.code, "unsupported-key-algorithm");
  assert.is(outcome.failure.algorithm, "ECDSA secp256k1");
});

test.run();
