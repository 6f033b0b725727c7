/**
 * Random and mutated bytes into every parser: each gives a typed refusal or a value, and none throws. The seed is
 * fixed, so that a failure can be run again; `PKI_SEED` takes another.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { parsePrivateKey } from "../../pki/key.ts";
import { seededRandom } from "../../actors/runtime/random.ts";
import { nameConstraints } from "../../pki/issue/extensions.ts";
import { verifyPath } from "../../pki/path.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { refusalCodes } from "../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, forge, forgeList, forgeListPem } from "../support/forge.ts";

const test = suite("hostile bytes");

const seed = Number(process.env["PKI_SEED"] ?? 20_261_125);
const next = seededRandom(seed);
const random = (below: number) => Math.floor(next() * below);

const root = forge("root", { ca: true });
const narrow = forge("ca", {
  ca: true,
  issuer: root,
  add: [nameConstraints([{ tag: 2, content: Buffer.from("a.example") }])],
});
const leaf = forge("leaf", { issuer: narrow, san: ["DNS:a.example", "IP:10.0.0.1", "URI:spiffe://a/worker/b"] });
const list = forgeList(root, { revoked: ["01", { serial: "02", reason: 1 }] });
const key = String(root.key.export({ format: "pem", type: "pkcs8" }));
const { snapshot } = Result.getOrThrow(
  makeTrustSnapshot({ trustPem: root.pem, crlsPem: forgeListPem(root), policy: defaultPolicy, generation: 1, at }),
);

const noise = () => new Uint8Array(random(200)).map(() => random(256));

/** One to four changes: a bit flipped, a byte set to something telling, a piece cut out, doubled or cut off. */
function mutate(bytes: Uint8Array): Uint8Array {
  let changed = Buffer.from(bytes);
  for (let changes = 1 + random(4); changes > 0; changes--) {
    const position = random(changed.length);
    const size = 1 + random(16);
    switch (random(5)) {
      case 0:
        changed[position]! ^= 1 << random(8);
        break;
      case 1:
        changed[position] = [0x00, 0x01, 0x7f, 0x80, 0x84, 0xff, 0x30, 0xa0][random(8)]!;
        break;
      case 2:
        changed = Buffer.concat([changed.subarray(0, position), changed.subarray(position + size)]);
        break;
      case 3:
        changed = Buffer.concat([changed.subarray(0, position + size), changed.subarray(position)]);
        break;
      default:
        changed = changed.subarray(0, position + 1);
    }
    if (changed.length === 0) return changed;
  }
  return changed;
}

type Outcome = Result.Result<unknown, { readonly _tag: string }>;
const parsers: Record<
  string,
  { rounds: number; make: () => Uint8Array; parse: (bytes: Uint8Array) => Outcome; tag: string }
> = {
  "certificates of noise": { rounds: 2_000, make: noise, parse: parseCertificate, tag: "MalformedCertificate" },
  "certificates, mutated": {
    rounds: 4_000,
    make: () => mutate(random(2) === 0 ? leaf.der : narrow.der),
    parse: (bytes) => parseCertificate(bytes),
    tag: "MalformedCertificate",
  },
  "lists of noise": { rounds: 2_000, make: noise, parse: parseCrl, tag: "CrlMalformed" },
  "lists, mutated": { rounds: 4_000, make: () => mutate(list), parse: parseCrl, tag: "CrlMalformed" },
  "PEM of noise": {
    rounds: 2_000,
    make: noise,
    parse: (bytes) => parsePem(`-----BEGIN X-----\n${Buffer.from(bytes).toString("latin1")}`),
    tag: "PemError",
  },
  "PEM, mutated": {
    rounds: 2_000,
    make: () => mutate(Buffer.from(root.pem)),
    parse: (bytes) => parsePem(Buffer.from(bytes).toString("latin1")),
    tag: "PemError",
  },
  "keys, mutated": {
    rounds: 1_000,
    make: () => mutate(Buffer.from(root.key.export({ format: "der", type: "pkcs8" }))),
    parse: (bytes) => parsePrivateKey(formatPem("PRIVATE KEY", bytes)),
    tag: "KeyError",
  },
  "key files, mutated": {
    rounds: 1_000,
    make: () => mutate(Buffer.from(key)),
    parse: (bytes) => parsePrivateKey(Buffer.from(bytes).toString("latin1")),
    tag: "KeyError",
  },
  "trust bundles, mutated": {
    rounds: 1_000,
    make: () => mutate(Buffer.from(root.pem)),
    parse: (bytes) =>
      makeTrustSnapshot({
        trustPem: Buffer.from(bytes).toString("latin1"),
        policy: defaultPolicy,
        generation: 1,
        at,
      }),
    tag: "TrustError",
  },
};

for (const [name, { rounds, make, parse, tag }] of Object.entries(parsers)) {
  test(`${name}: a value or ${tag}`, () => {
    let refused = 0;
    for (let round = 0; round < rounds; round++) {
      const bytes = make();
      const outcome = parse(bytes);
      if (Result.isSuccess(outcome)) continue;
      refused += 1;
      assert.is(outcome.failure._tag, tag, `seed ${seed}: ${Buffer.from(bytes).toString("hex")}`);
    }
    assert.ok(refused > rounds / 5, `only ${refused} of ${rounds} were refused: the input is not hostile`);
  });
}

test("chains, mutated: no other leaf than the one that was signed is accepted", () => {
  const codes = new Map<string, number>();
  for (let round = 0; round < 4_000; round++) {
    const chain = [leaf.der, narrow.der];
    chain[random(2)] = mutate(chain[random(2)]!);
    const outcome = verifyPath(chain, { ...snapshot, revocation: undefined }, { at });
    if (Result.isSuccess(outcome)) {
      const accepted = outcome.success.path[0].der;
      assert.is(Buffer.compare(accepted, leaf.der), 0, `seed ${seed}: ${Buffer.from(accepted).toString("hex")}`);
    } else {
      assert.ok(refusalCodes.includes(outcome.failure.code));
      codes.set(outcome.failure.code, 1 + (codes.get(outcome.failure.code) ?? 0));
    }
  }
  assert.ok((codes.get("malformed-certificate") ?? 0) > 100 && (codes.get("bad-signature") ?? 0) > 20, "too tame");
  assert.not.ok(codes.has("internal"));
});

test.run();
