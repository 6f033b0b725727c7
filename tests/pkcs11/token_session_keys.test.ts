/**
 * What a session asks of its token for a key: attributes, mechanisms and data, by the numbers of PKCS#11.
 *
 * The token of these tests keeps objects as the standard describes them, and refuses what it does not know. SoftHSM takes the same
 * questions in `pkcs11_signer.test.ts`; it has no key without an identifier, and no public point without its DER.
 */
import { Buffer } from "node:buffer";
import { createHash, generateKeyPairSync } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Attribute, type Cryptoki, CryptokiError } from "../../actors/pkcs11/cryptoki.ts";
import type { KeySelector, TokenKeyAlgorithm } from "../../actors/pkcs11/token_messages.ts";
import { TokenProblem, TokenSession } from "../../actors/pkcs11/token_session.ts";

const test = suite("keys of a TokenSession");

const hex = (text: string) => Buffer.from(text, "hex");
const [yes, no] = ["01", "00"];
/** A CK_ULONG in hexadecimal. */
const ulong = (value: number) => Buffer.from(new BigUint64Array([BigInt(value)]).buffer).toString("hex");

/** An object: values in hexadecimal by the names of their attributes. */
type Stored = Readonly<Partial<Record<keyof typeof cka, string>>>;
const cka = {
  class: 0x0,
  token: 0x1,
  private: 0x2,
  label: 0x3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  sign: 0x108,
  verify: 0x10a,
  extractable: 0x162,
  params: 0x180,
  point: 0x181,
} as const;
const nameOf = (type: number) =>
  Object.entries(cka).find(([, value]) => value === type)?.[0] ?? `0x${type.toString(16)}`;
const [publicKey, privateKey] = [ulong(2), ulong(3)];

interface Kind {
  readonly keyType: number;
  readonly params: string;
  readonly generation: number;
  readonly mechanism: number;
  readonly spki: Buffer;
  readonly point: Buffer;
}

/** A key of each type, as Node has it. */
function kindOf(algorithm: TokenKeyAlgorithm, numbers: Omit<Kind, "spki" | "point">, pointBytes: number): Kind {
  const made = algorithm === "ed25519"
    ? generateKeyPairSync("ed25519")
    : generateKeyPairSync("ec", { namedCurve: algorithm === "ecdsa-p256" ? "P-256" : "P-384" });
  const spki = made.publicKey.export({ format: "der", type: "spki" });
  return { ...numbers, spki, point: spki.subarray(spki.length - pointBytes) };
}

const ec = { keyType: 0x3, generation: 0x1040, mechanism: 0x1041 };
const kinds: Readonly<Record<TokenKeyAlgorithm, Kind>> = {
  "ed25519": kindOf(
    "ed25519",
    { keyType: 0x40, params: "130c656477617264733235353139", generation: 0x1055, mechanism: 0x1057 },
    32,
  ),
  "ecdsa-p256": kindOf("ecdsa-p256", { ...ec, params: "06082a8648ce3d030107" }, 65),
  "ecdsa-p384": kindOf("ecdsa-p384", { ...ec, params: "06052b81040022" }, 97),
};
const algorithms = Object.keys(kinds) as TokenKeyAlgorithm[];

/** The public point as an OCTET STRING of DER. */
const wrapped = (point: Buffer) => Buffer.concat([Buffer.of(4, point.length), point]).toString("hex");

const session = 70;
const handleOfFirst = 100;

/** A token with these objects. Attributes longer than 512 octets cannot be read. */
class StoredToken {
  readonly objects: Stored[];
  readonly searches: Stored[] = [];
  readonly signed: { readonly handle: number; readonly mechanism: number; readonly input: string }[] = [];
  /** Templates that were not released. */
  held = 0;
  signature = Buffer.alloc(64);
  readonly #templates = new Map<Buffer, readonly Attribute[]>();

  constructor(objects: readonly Stored[] = []) {
    this.objects = [...objects];
  }

  get module(): Cryptoki {
    const module = {
      slots: () => [0],
      tokenInfo: () => ({ label: "acme", serial: "", flags: 0 }),
      openSession: () => session,
      call: (name: string, ...args: readonly unknown[]) => {
        if (name === "C_GenerateKeyPair") this.#generate(args);
      },
      find: (in_: number, attributes: readonly Attribute[], most: number) => {
        assert.is(in_, session);
        const wanted = readable(attributes);
        this.searches.push(wanted);
        const found = this.objects.flatMap((each, index) => matches(each, wanted) ? [handleOfFirst + index] : []);
        return found.slice(0, most);
      },
      attribute: (in_: number, object: number, type: number) => {
        assert.is(in_, session);
        const value = this.objects[object - handleOfFirst]?.[nameOf(type) as keyof Stored];
        return value === undefined || value.length > 1_024 ? undefined : hex(value);
      },
      template: (attributes: readonly Attribute[]) => {
        const bytes = Buffer.alloc(attributes.length * 24);
        this.#templates.set(bytes, attributes);
        this.held += 1;
        return { bytes, release: () => void (this.held -= 1) };
      },
      mechanism: (type: number) => Buffer.of(type >> 8, type & 0xff),
      sign: (in_: number, handle: number, mechanism: number, input: Uint8Array) => {
        assert.is(in_, session);
        this.signed.push({ handle, mechanism, input: Buffer.from(input).toString("hex") });
        return this.signature;
      },
    };
    return module as unknown as Cryptoki;
  }

  open(): TokenSession {
    return new TokenSession(this.module, { token: { label: "acme" }, pin: undefined }, () => {});
  }

  #generate(args: readonly unknown[]): void {
    const [in_, how, known, knownCount, secret, secretCount, ...handles] = args as [
      number,
      Buffer,
      Buffer,
      number,
      Buffer,
      number,
      Buffer,
      Buffer,
    ];
    const [ofPublic, ofPrivate] = [this.#templates.get(known)!, this.#templates.get(secret)!];
    assert.equal([in_, knownCount, secretCount, this.held], [session, ofPublic.length, ofPrivate.length, 2]);
    assert.equal(handles.map(({ length }) => length), [8, 8]);
    const [publicPart, privatePart] = [readable(ofPublic), readable(ofPrivate)];
    const kind = Object.values(kinds).find(({ params }) => params === publicPart.params);
    if (kind === undefined) throw new CryptokiError("C_GenerateKeyPair", 0x130);
    assert.is(how.toString("hex"), kind.generation.toString(16));
    this.objects.push({ ...publicPart, point: wrapped(kind.point) }, privatePart);
  }
}

function readable(attributes: readonly Attribute[]): Stored {
  return Object.fromEntries(attributes.map(([type, value]) => [nameOf(type), Buffer.from(value).toString("hex")]));
}

function matches(object: Stored, wanted: Stored): boolean {
  return Object.entries(wanted).every(([name, value]) => object[name as keyof Stored] === value);
}

/** Both objects of a key. */
function pairOf(algorithm: TokenKeyAlgorithm, named: Stored, changes: Stored = {}): Stored[] {
  const { keyType, params, point } = kinds[algorithm];
  const own = { keyType: ulong(keyType), ...named };
  return [
    { class: privateKey, ...own },
    withoutUndefined({ class: publicKey, ...own, params, point: wrapped(point), ...changes }),
  ];
}

function withoutUndefined(object: Readonly<Record<string, string | undefined>>): Stored {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Stored;
}

const labelled = (label: string) => Buffer.from(label).toString("hex");

/** The public key that a session finds, or the problem. */
function found(objects: readonly Stored[], selector: KeySelector = { object: "ca" }): string {
  try {
    return new StoredToken(objects).open().find(selector).toString("hex");
  } catch (error) {
    if (error instanceof TokenProblem) return error.problem;
    throw error;
  }
}
const spkiOf = (algorithm: TokenKeyAlgorithm) => kinds[algorithm].spki.toString("hex");

for (const algorithm of algorithms) {
  const { keyType, params } = kinds[algorithm];
  test(`a key of type ${algorithm} is made so that it stays in the token, and signs`, () => {
    const token = new StoredToken();
    assert.equal(token.open().generate({ object: "ca", id: "0102" }, algorithm), kinds[algorithm].spki);
    const own = { keyType: ulong(keyType), token: yes, label: labelled("ca"), id: "0102" };
    const [publicPart, privatePart] = token.objects;
    assert.equal(publicPart, {
      class: publicKey,
      ...own,
      verify: yes,
      params,
      point: wrapped(kinds[algorithm].point),
    });
    assert.equal(privatePart, {
      class: privateKey,
      ...own,
      private: yes,
      sensitive: yes,
      extractable: no,
      sign: yes,
    });
    assert.is(token.held, 0, "templates are released");
  });
}

test("a key without an identifier gets one of 16 octets by chance, and without a label the identifier as label", () => {
  const made = (selector: KeySelector) => {
    const token = new StoredToken();
    token.open().generate(selector, "ed25519");
    const { label, id } = token.objects[1]!;
    return { label: hex(label!).toString(), id: id! };
  };
  const [first, second] = [made({ object: "ca" }), made({ object: "ca" })];
  assert.is(first.label, "ca");
  assert.match(first.id, /^[0-9a-f]{32}$/);
  assert.is.not(first.id, second.id);
  assert.equal(made({ id: "0102" }), { label: "0102", id: "0102" });
  const { label, id } = made({});
  assert.is(label, id);
});

const existing: [name: string, object: Stored, message: string | undefined][] = [
  [
    "a private key with the label",
    { class: privateKey, label: labelled("ca") },
    'the token has a key with the label "ca"',
  ],
  [
    "a public key with the label",
    { class: publicKey, label: labelled("ca") },
    'the token has a key with the label "ca"',
  ],
  [
    "a private key with the identifier",
    { class: privateKey, id: "0102" },
    "the token has a key with the identifier 0102",
  ],
  [
    "a public key with the identifier",
    { class: publicKey, id: "0102" },
    "the token has a key with the identifier 0102",
  ],
  ["a certificate with both", { class: ulong(1), label: labelled("ca"), id: "0102" }, undefined],
  ["a private key of other names", { class: privateKey, label: labelled("ca2"), id: "01" }, undefined],
];
for (const [name, object, message] of existing) {
  test(`where ${name} is there, a key is ${message === undefined ? "made" : "not made"}`, () => {
    const token = new StoredToken([object]);
    let error: unknown;
    try {
      token.open().generate({ object: "ca", id: "0102" }, "ed25519");
    } catch (cause) {
      error = cause;
    }
    assert.is(token.objects.length, message === undefined ? 3 : 1);
    if (message === undefined) return assert.is(error, undefined);
    assert.ok(error instanceof TokenProblem, String(error));
    assert.equal([error.problem, error.message], ["key-exists", message]);
  });
}

test("after a failure the templates of a key are released too", () => {
  const token = new StoredToken();
  const { module } = token;
  const call = (name: string) => {
    if (name === "C_GenerateKeyPair") throw new CryptokiError(name, 0x30);
  };
  const open = { token: { label: "acme" }, pin: undefined };
  const failing = new TokenSession({ ...module, call } as unknown as Cryptoki, open, () => {});
  assert.throws(() => failing.generate({ object: "ca" }, "ed25519"), /CKR_DEVICE_ERROR/);
  assert.is(token.held, 0);
});

for (const algorithm of algorithms) {
  test(`a key of type ${algorithm} is found: its point is in DER, or bare`, () => {
    const named = { label: labelled("ca"), id: "0102" };
    assert.is(found(pairOf(algorithm, named)), spkiOf(algorithm));
    assert.is(found(pairOf(algorithm, named, { point: kinds[algorithm].point.toString("hex") })), spkiOf(algorithm));
  });
}

test("a key of type Ed25519 is found by the object identifier of its curve too", () => {
  assert.is(found(pairOf("ed25519", { label: labelled("ca") }, { params: "06032b6570" })), spkiOf("ed25519"));
});

test("a bare point that begins like DER is taken as it is", () => {
  const point = `0420${"11".repeat(30)}`;
  const expected = spkiOf("ed25519").slice(0, -64) + point;
  assert.is(found(pairOf("ed25519", { label: labelled("ca") }, { point })), expected);
});

const label = { label: labelled("ca") };
const unsupported: [name: string, pair: Stored[]][] = [
  ["another type with a known curve", pairOf("ed25519", label, { keyType: ulong(0) })],
  ["a known type with another curve", pairOf("ecdsa-p256", label, { params: "06052b8104000a" })],
  ["a known type with a curve of another one", pairOf("ecdsa-p256", label, { params: kinds["ed25519"].params })],
  ["no type", pairOf("ed25519", label, { keyType: undefined! })],
  ["no curve", pairOf("ed25519", label, { params: undefined! })],
  ["no point", pairOf("ed25519", label, { point: undefined! })],
  ["a point that is too short", pairOf("ed25519", label, { point: "11".repeat(31) })],
  ["a point that is too long", pairOf("ed25519", label, { point: "11".repeat(33) })],
  ["a point in another type of DER", pairOf("ed25519", label, { point: `0520${"11".repeat(32)}` })],
  ["a point in DER that is too short", pairOf("ed25519", label, { point: `041f${"11".repeat(31)}` })],
  ["a point in DER that is too long", pairOf("ed25519", label, { point: `0421${"11".repeat(33)}` })],
];
for (const [name, pair] of unsupported) {
  test(`a key with ${name} is not supported`, () => assert.is(found(pair), "key-unsupported"));
}

test("a key is selected by label, by identifier, or by both", () => {
  const objects = [
    ...pairOf("ed25519", { label: labelled("ca"), id: "01" }),
    ...pairOf("ecdsa-p256", { label: labelled("ca"), id: "02" }),
    ...pairOf("ecdsa-p384", { label: labelled("leaf"), id: "03" }),
  ];
  const cases: [selector: KeySelector, expected: string][] = [
    [{ object: "leaf" }, spkiOf("ecdsa-p384")],
    [{ id: "02" }, spkiOf("ecdsa-p256")],
    [{ object: "ca", id: "01" }, spkiOf("ed25519")],
    [{ object: "ca" }, "key-ambiguous"],
    [{ object: "leaf", id: "01" }, "key-missing"],
    [{ object: "none" }, "key-missing"],
    [{ id: "04" }, "key-missing"],
  ];
  for (const [selector, expected] of cases) assert.is(found(objects, selector), expected, JSON.stringify(selector));
});

test("the public half has the private key's identifier, also of one octet, and then not its label", () => {
  const [secret, known] = pairOf("ed25519", { label: labelled("ca"), id: "01" });
  const [, other] = pairOf("ecdsa-p256", { label: labelled("ca"), id: "02" });
  assert.is(found([secret!, other!, known!]), spkiOf("ed25519"));
  assert.is(found([secret!, other!]), "key-missing");
  assert.is(found([secret!, known!, { ...other, id: "01" }]), "key-ambiguous");
  assert.is(found([secret!, known!, { ...other, id: "01" }, { ...other, id: "01" }]), "key-ambiguous");
});

for (const id of [undefined, ""]) {
  test(`the public half of a key ${id === undefined ? "without an" : "with an empty"} identifier has its label`, () => {
    const named = (name: string) => withoutUndefined({ label: labelled(name), id });
    const objects = [...pairOf("ecdsa-p256", named("other")), ...pairOf("ed25519", named("ca"))];
    assert.is(found(objects), spkiOf("ed25519"));
  });
}

test("no public key is taken for one whose private half has no name that can be read", () => {
  const long = "x".repeat(600);
  const [secret] = pairOf("ed25519", { label: labelled(long) });
  const [, other] = pairOf("ecdsa-p256", { label: labelled("other") });
  assert.is(found([secret!, other!], { object: long }), "key-missing");
});

test("a public key without its private half is no key, also one without a name", () => {
  const [, known] = pairOf("ed25519", { label: labelled("ca") });
  assert.is(found([known!]), "key-missing");
  assert.is(found([{ ...known, label: "" }]), "key-missing");
});

test("several private keys of a name are ambiguous, three as two", () => {
  const [secret, known] = pairOf("ed25519", { label: labelled("ca"), id: "01" });
  assert.is(found([secret!, known!, { ...secret, id: "02" }]), "key-ambiguous");
  assert.is(found([secret!, known!, { ...secret, id: "02" }, { ...secret, id: "03" }]), "key-ambiguous");
});

test("a key is looked for once, each name by itself", () => {
  const token = new StoredToken([
    ...pairOf("ed25519", { label: labelled("ca"), id: "01" }),
    ...pairOf("ecdsa-p256", { label: labelled("leaf"), id: "02" }),
  ]);
  const open = token.open();
  const selectors: KeySelector[] = [{ object: "ca" }, { object: "leaf" }, { id: "01" }, { id: "02" }];
  const first = selectors.map((selector) => open.find(selector).toString("hex"));
  assert.equal(
    first,
    ["ed25519", "ecdsa-p256", "ed25519", "ecdsa-p256"].map((each) => spkiOf(each as TokenKeyAlgorithm)),
  );
  assert.is(token.searches.length, 8, "the private key and the public one");
  assert.equal(selectors.map((selector) => open.find(selector).toString("hex")), first);
  open.sign({ object: "ca" }, Uint8Array.of(1));
  assert.is(token.searches.length, 8);
});

const digests = { "ed25519": undefined, "ecdsa-p256": "sha256", "ecdsa-p384": "sha384" } as const;
for (const algorithm of algorithms) {
  const digest = digests[algorithm];
  test(`a key of type ${algorithm} signs ${digest === undefined ? "the data" : `the data's ${digest}`}`, () => {
    const token = new StoredToken(pairOf(algorithm, { label: labelled("ca") }));
    token.open().sign({ object: "ca" }, Buffer.from("data"));
    const input = digest === undefined ? Buffer.from("data") : createHash(digest).update("data").digest();
    const { mechanism } = kinds[algorithm];
    assert.equal(token.signed, [{ handle: handleOfFirst, mechanism, input: input.toString("hex") }]);
  });
}

test("an Ed25519 signature is the token's 64 octets", () => {
  const token = new StoredToken(pairOf("ed25519", { label: labelled("ca") }));
  token.signature = Buffer.from(Array.from({ length: 64 }, (_, index) => index));
  assert.equal(token.open().sign({ object: "ca" }, Uint8Array.of(1)), token.signature);
});

const zeros = (count: number) => "00".repeat(count);
const numbers: [name: string, octets: string, der: string][] = [
  ["without a leading bit has all its octets", `7f${"aa".repeat(31)}`, `02207f${"aa".repeat(31)}`],
  ["with a leading bit gets a zero before it", `80${"aa".repeat(31)}`, `02210080${"aa".repeat(31)}`],
  ["of 1 and a leading bit after it gets none", `01${"ff".repeat(31)}`, `022001${"ff".repeat(31)}`],
  ["loses its leading zeros", `${zeros(2)}01${"aa".repeat(29)}`, `021e01${"aa".repeat(29)}`],
  [
    "loses all but one of its zeros before a leading bit",
    `${zeros(3)}ff${"aa".repeat(28)}`,
    `021e00ff${"aa".repeat(28)}`,
  ],
  ["of one octet has one", `${zeros(31)}05`, "020105"],
  ["that is zero has one octet", zeros(32), "020100"],
];
for (const [name, octets, der] of numbers) {
  test(`an ECDSA signature's number ${name}`, () => {
    const token = new StoredToken(pairOf("ecdsa-p256", { label: labelled("ca") }));
    const other = `11${"22".repeat(31)}`;
    const derOf = (signature: string) => {
      token.signature = hex(signature);
      return token.open().sign({ object: "ca" }, Uint8Array.of(1)).toString("hex");
    };
    const sequence = (content: string) => `30${(content.length / 2).toString(16).padStart(2, "0")}${content}`;
    assert.is(derOf(octets + other), sequence(`${der}0220${other}`));
    assert.is(derOf(other + octets), sequence(`0220${other}${der}`));
  });
}

test("the longest ECDSA signature, of P-384, has its length in one octet", () => {
  const token = new StoredToken(pairOf("ecdsa-p384", { label: labelled("ca") }));
  token.signature = hex("ff".repeat(96));
  const number = `023100${"ff".repeat(48)}`;
  assert.is(token.open().sign({ object: "ca" }, Uint8Array.of(1)).toString("hex"), `3066${number}${number}`);
});

test.run();
