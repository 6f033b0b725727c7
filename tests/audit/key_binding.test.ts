import { Buffer } from "node:buffer";
import { sign } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bindKey, boundOrigin, type KeyBinding, originOfNames } from "../../actors/audit/key_binding.ts";
import { forge, type Forged, type ForgedAlgorithm } from "../support/forge.ts";

const test = suite("key_binding");
const san = ["URI:spiffe://acme.example/gateway/gateway-01"];
const origin = "acme.example/audit/gateway/gateway-01";
const key = "acme.example/audit/gateway/gateway-01+00000000+AAAA";

const identityOf = ({ der, key }: Forged) => ({
  chain: [der],
  keyPem: key.export({ format: "pem", type: "pkcs8" }) as string,
});

const bound = (certificate: Forged) => bindKey(identityOf(certificate), key)!;

for (const algorithm of ["ed25519", "p256", "p384", "rsa-2048"] as const satisfies readonly ForgedAlgorithm[]) {
  test(`a node with a key of ${algorithm} binds a key, and no other`, () => {
    const node = forge("gateway-01", { algorithm, san });
    const binding = bound(node);
    assert.equal([binding.key, binding.chain], [key, [node.der]]);
    assert.is(boundOrigin(binding), origin);
    assert.is(boundOrigin({ ...binding, key: `${key}A` }), undefined);
    const signature = Uint8Array.from(binding.signature);
    signature[signature.length - 1]! ^= 1;
    assert.is(boundOrigin({ ...binding, signature }), undefined);
    const other = forge("gateway-02", { algorithm, san });
    assert.is(boundOrigin({ ...binding, chain: [other.der] }), undefined);
  });
}

test("the signature is that of the key with its purpose, and no other text has it", () => {
  const node = forge("gateway-01", { san });
  const signed = (text: string): KeyBinding => ({
    ...{ key, chain: [node.der] },
    signature: sign(null, Buffer.from(text), node.key),
  });
  assert.is(boundOrigin(signed(`hypha-audit-key/1\n${key}\n`)), origin);
  assert.equal(signed(`hypha-audit-key/1\n${key}\n`).signature, bound(node).signature);
  for (const text of [key, `${key}\n`, `hypha-audit-key/1\n${key}`, `hypha-audit-key/2\n${key}\n`]) {
    assert.is(boundOrigin(signed(text)), undefined, JSON.stringify(text));
  }
});

test("the first certificate counts: without one, or with one that cannot be read, nothing is bound", () => {
  const [node, other] = [forge("gateway-01", { san }), forge("gateway-02", { san })];
  const binding = bound(node);
  assert.is(boundOrigin({ ...binding, chain: [node.der, other.der] }), origin);
  assert.is(boundOrigin({ ...binding, chain: [other.der, node.der] }), undefined);
  for (const chain of [[], [Buffer.from("no certificate")]]) {
    assert.is(boundOrigin({ ...binding, chain }), undefined);
    assert.is(bindKey({ ...identityOf(node), chain }, key), undefined);
  }
});

test("a key of a kind that certificates of the network do not have binds nothing", () => {
  for (const algorithm of ["ed448", "secp256k1"] as const) {
    const node = forge("gateway-01", { algorithm, san });
    assert.is(bindKey(identityOf(node), key), undefined, algorithm);
  }
  const node = forge("gateway-01", { algorithm: "secp256k1", san });
  const signature = sign("sha256", Buffer.from(`hypha-audit-key/1\n${key}\n`), node.key);
  assert.is(boundOrigin({ key, signature, chain: [node.der] }), undefined);
});

test("the origin is that of the certificate's only URI, which is a SPIFFE ID", () => {
  const of = (...names: string[]) => boundOrigin(bound(forge("gateway-01", { san: names })));
  assert.is(of(...san, "DNS:gateway-01", "IP:127.0.0.1"), origin);
  assert.is(of("DNS:gateway-01", ...san), origin);
  assert.is(of("DNS:gateway-01"), undefined);
  assert.is(of("URI:https://acme.example/gateway/gateway-01"), undefined);
  assert.is(of(...san, "URI:https://acme.example"), undefined);
  assert.is(of("URI:https://acme.example", ...san), undefined);
  assert.is(of(), undefined);
});

test("an identity's names give its origin", () => {
  assert.is(originOfNames(["DNS:a", ...san]), origin);
  assert.is(originOfNames([]), undefined);
  assert.is(originOfNames(["DNS:spiffe://acme.example/a"]), undefined);
  assert.is(originOfNames(["URI:urn:acme"]), undefined);
  assert.is(originOfNames([...san, ...san]), undefined);
});

test.run();
