/**
 * A session with a token: finds, makes and uses keys. Runs in the process of a token alone.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { type Attribute, type Cryptoki, CryptokiError, memory, ulong } from "./cryptoki.ts";
import type { SignerProblem } from "./signer_error.ts";
import type { KeySelector, OpenToken, TokenKeyAlgorithm } from "./token_messages.ts";

/** Longest PIN, in octets. */
const pinBytesMax = 255;
/** The most that is read of its file: the line has an end. */
const pinFileBytesMax = pinBytesMax + 2;
/** Tokens that an error names. */
const namedMax = 8;

// PKCS#11 3.0 §2 and §6: attributes, classes, types of keys, mechanisms, flags.
const cka = {
  class: 0,
  token: 1,
  private: 2,
  label: 3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  sign: 0x108,
} as const;
const [ckaVerify, ckaExtractable, ckaEcParams, ckaEcPoint] = [0x10a, 0x162, 0x180, 0x181];
const [ckoPublic, ckoPrivate] = [2, 3];
const [ckfRw, ckfSerial] = [2, 4];
const tokenFlags = { loginRequired: 0x4, finalTry: 0x20_000, locked: 0x40_000 } as const;

/** A type of key: how it is named, made and used. */
interface KeyKind {
  readonly keyType: number;
  /** DER of the curve, the forms that modules take. */
  readonly params: readonly Buffer[];
  readonly generation: number;
  readonly mechanism: number;
  readonly digest: "sha256" | "sha384" | undefined;
  /** Octets of the public point, and what stands before it in a SubjectPublicKeyInfo. */
  readonly pointBytes: number;
  readonly spkiPrefix: Buffer;
}

// PKCS#11 3.0 §5.1.6, §5.8: return values of C_SignInit and C_Sign about the data, the key or its mechanism. The token is there all the same.
const refusedToSign: ReadonlySet<number> = new Set([0x20, 0x21, 0x62, 0x63, 0x68, 0x70, 0x71, 0x200]);
// The same of C_GenerateKeyPair about the mechanism or the curve's form, for which SoftHSM has CKR_GENERAL_ERROR. No key was made.
const refusedKind: ReadonlySet<number> = new Set([0x05, 0x13, 0x70, 0xd1, 0x130, 0x140]);

// The same of C_Login where it ended before the token saw the PIN: values about the session, the user and the token at the call's beginning.
const notPresented: ReadonlySet<number> = new Set([0xb1, 0xb3, 0xb8, 0xe0, 0xe1, 0x102, 0x103, 0x104, 0x105, 0x190]);

const hex = (text: string) => Buffer.from(text, "hex");
const kinds: Readonly<Record<TokenKeyAlgorithm, KeyKind>> = {
  "ed25519": {
    keyType: 0x40,
    // PrintableString "edwards25519", and the OID of RFC 8410.
    params: [hex("130c656477617264733235353139"), hex("06032b6570")],
    generation: 0x1055,
    mechanism: 0x1057,
    digest: undefined,
    pointBytes: 32,
    spkiPrefix: hex("302a300506032b6570032100"),
  },
  "ecdsa-p256": {
    keyType: 0x3,
    params: [hex("06082a8648ce3d030107")],
    generation: 0x1040,
    mechanism: 0x1041,
    digest: "sha256",
    pointBytes: 65,
    spkiPrefix: hex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
  },
  "ecdsa-p384": {
    keyType: 0x3,
    params: [hex("06052b81040022")],
    generation: 0x1040,
    mechanism: 0x1041,
    digest: "sha384",
    pointBytes: 97,
    spkiPrefix: hex("3076301006072a8648ce3d020106052b81040022036200"),
  },
};

/** The token's process answers with this problem. */
export class TokenProblem extends Error {
  readonly problem: SignerProblem;
  constructor(problem: SignerProblem, detail: string) {
    super(detail);
    this.problem = problem;
  }
}

interface FoundKey {
  readonly handle: number;
  readonly kind: KeyKind;
  readonly spki: Buffer;
}

/** An open session. */
export class TokenSession {
  readonly #module: Cryptoki;
  readonly #session: number;
  readonly #found = new Map<string, FoundKey>();

  /**
   * Finds the token and logs in. The PIN is presented once.
   *
   * @param onLogin Called before a PIN is presented that is not proven.
   */
  constructor(
    module: Cryptoki,
    { token, pin, isPinProven = false }: Pick<OpenToken, "token" | "pin" | "isPinProven">,
    onLogin: () => void,
  ) {
    this.#module = module;
    module.call("C_Initialize", null);
    const { slot, flags } = findToken(module, token);
    if ((flags & tokenFlags.locked) !== 0) throw new TokenProblem("pin-locked", "the token's PIN is locked");
    if ((flags & tokenFlags.finalTry) !== 0) {
      throw new TokenProblem("pin-locked", "one more wrong PIN would lock the token, so that none is tried");
    }
    const secret = pin === undefined ? undefined : readPin(pin);
    if (secret === undefined && (flags & tokenFlags.loginRequired) !== 0) {
      throw new TokenProblem("pin-missing", "the token requires a PIN");
    }
    this.#session = module.openSession(slot, ckfSerial | ckfRw);
    if (secret === undefined) return;
    if (!isPinProven) onLogin();
    login(module, this.#session, { secret, isPinProven });
  }

  /** DER of a key's public part. */
  find(selector: KeySelector): Buffer {
    return this.#find(selector).spki;
  }

  /** Signs with a key: the signature as X.509 has it. */
  sign(selector: KeySelector, data: Uint8Array): Buffer {
    const { handle, kind } = this.#find(selector);
    const input = kind.digest === undefined ? data : createHash(kind.digest).update(data).digest();
    const signature = this.#sign(handle, kind.mechanism, input);
    return kind.digest === undefined ? Buffer.from(signature) : derOfEcdsa(signature);
  }

  #sign(handle: number, mechanism: number, input: Uint8Array): Buffer {
    try {
      return this.#module.sign(this.#session, handle, mechanism, input);
    } catch (error) {
      if (!(error instanceof CryptokiError) || !refusedToSign.has(error.value)) throw error;
      throw new TokenProblem("signing-refused", `${error.message} for ${input.length} octets`);
    }
  }

  /** Makes a key that cannot leave the token. Refuses where one has the label or the identifier already. */
  generate(selector: KeySelector, algorithm: TokenKeyAlgorithm): Buffer {
    const id = selector.id === undefined ? randomBytes(16) : hex(selector.id);
    const label = selector.object === undefined ? id.toString("hex") : selector.object;
    const named: readonly Attribute[] = [[cka.label, Buffer.from(label)], [cka.id, id]];
    for (const keyClass of [ckoPublic, ckoPrivate]) {
      for (const name of named) {
        if (this.#module.find(this.#session, [[cka.class, ulong(keyClass)], name], 1).length === 0) continue;
        const which = name[0] === cka.label
          ? `the label ${JSON.stringify(label)}`
          : `the identifier ${id.toString("hex")}`;
        throw new TokenProblem("key-exists", `the token has a key with ${which}`);
      }
    }
    this.#generate(kinds[algorithm], named);
    return this.find({ object: label, id: id.toString("hex") });
  }

  #generate(kind: KeyKind, named: readonly Attribute[]): void {
    const [yes, no] = [Buffer.of(1), Buffer.of(0)];
    const own: readonly Attribute[] = [[cka.keyType, ulong(kind.keyType)], [cka.token, yes], ...named];
    const secret: readonly Attribute[] = [
      [cka.class, ulong(ckoPrivate)],
      ...own,
      [cka.private, yes],
      [cka.sensitive, yes],
      [ckaExtractable, no],
      [cka.sign, yes],
    ];
    const known: readonly Attribute[] = [[cka.class, ulong(ckoPublic)], ...own, [ckaVerify, yes]];
    let refusal = "";
    for (const params of kind.params) {
      try {
        return this.#generatePair(kind.generation, [...known, [ckaEcParams, params]], secret);
      } catch (error) {
        // After another value the key may have been made.
        if (!(error instanceof CryptokiError) || !refusedKind.has(error.value)) throw error;
        refusal = error.message;
      }
    }
    throw new TokenProblem("key-unsupported", `the token makes no key of this type (${refusal})`);
  }

  #generatePair(mechanism: number, known: readonly Attribute[], secret: readonly Attribute[]): void {
    const templates = [known, secret].map((each) => this.#module.template(each));
    const [knownBytes, secretBytes] = templates.map(({ bytes }) => bytes);
    const how = this.#module.mechanism(mechanism);
    const pair = [knownBytes, known.length, secretBytes, secret.length];
    try {
      this.#module.call("C_GenerateKeyPair", this.#session, how, ...pair, memory(8), memory(8));
    } finally {
      for (const { release } of templates) release();
    }
  }

  #find(selector: KeySelector): FoundKey {
    const name = JSON.stringify([selector.object, selector.id]);
    const known = this.#found.get(name);
    if (known !== undefined) return known;
    const [handle, ...more] = this.#module.find(this.#session, attributesOf(ckoPrivate, selector), 2);
    if (handle === undefined) throw new TokenProblem("key-missing", "the token has no such private key");
    if (more.length > 0) throw new TokenProblem("key-ambiguous", "the token has several private keys of this name");
    const found = { handle, ...this.#publicPart(handle) };
    this.#found.set(name, found);
    return found;
  }

  /** The public key is an object of its own, with the private key's identifier; where that is empty, with its label. */
  #publicPart(handle: number): Omit<FoundKey, "handle"> {
    const read = (object: number, type: number) => this.#module.attribute(this.#session, object, type);
    const [id, label] = [read(handle, cka.id), read(handle, cka.label)];
    const selector = id !== undefined && id.length > 0
      ? { id: id.toString("hex") }
      : { object: label?.toString("utf8") ?? "" };
    const [object, ...more] = this.#module.find(this.#session, attributesOf(ckoPublic, selector), 2);
    if (object === undefined) throw new TokenProblem("key-missing", "the token has no public key for the private one");
    if (more.length > 0) {
      throw new TokenProblem("key-ambiguous", "the token has several public keys for the private one");
    }
    const [type, params, point] = [cka.keyType, ckaEcParams, ckaEcPoint].map((each) => read(object, each));
    const kind = Object.values(kinds).find((each) =>
      type !== undefined && params !== undefined && each.keyType === Number(type.readBigUInt64LE()) &&
      each.params.some((form) => form.equals(params))
    );
    if (kind === undefined || point === undefined) throw new TokenProblem("key-unsupported", "its type is another one");
    // DER of an OCTET STRING (PKCS#11 3.0 §6.3.3), or the bare octets, as some modules have it.
    const raw = point.length === kind.pointBytes + 2 && point[0] === 4 ? point.subarray(2) : point;
    if (raw.length !== kind.pointBytes) {
      throw new TokenProblem("key-unsupported", "its public point has another length");
    }
    return { kind, spki: Buffer.concat([kind.spkiPrefix, raw]) };
  }
}

function attributesOf(keyClass: number, { object, id }: KeySelector): readonly Attribute[] {
  return [
    [cka.class, ulong(keyClass)],
    ...(object === undefined ? [] : [[cka.label, Buffer.from(object)] as const]),
    ...(id === undefined ? [] : [[cka.id, hex(id)] as const]),
  ];
}

function findToken(module: Cryptoki, { label, serial, slotId }: OpenToken["token"]) {
  const seen = module.slots().map((slot) => readToken(module, slot));
  const tokens = seen.filter((each) => "label" in each);
  const [token, ...more] = tokens.filter((each) =>
    (label === undefined || each.label === label) && (serial === undefined || each.serial === serial) &&
    (slotId === undefined || each.slot === slotId)
  );
  if (more.length > 0) throw new TokenProblem("token-missing", "several tokens have this name: add serial=");
  if (token !== undefined) return token;
  const names = tokens.map((each) => JSON.stringify(each.label)).slice(0, namedMax);
  const present = names.length === 0 ? "no token is present" : `these tokens are present: ${names.join(", ")}`;
  const unread = seen.flatMap((each) =>
    "refusal" in each ? [`slot ${each.slot} cannot be read (${each.refusal})`] : []
  );
  // The token may be in such a slot, and readable later.
  const problem = unread.length === 0 ? "token-missing" : "signer-unavailable";
  throw new TokenProblem(problem, ["the token is not present", present, ...unread.slice(0, namedMax)].join("; "));
}

/** A token, or why it cannot be read: a blank card, one that another program holds. */
function readToken(module: Cryptoki, slot: number) {
  try {
    return { slot, ...module.tokenInfo(slot) };
  } catch (error) {
    if (error instanceof CryptokiError) return { slot, refusal: error.message };
    throw error;
  }
}

function readPin(pin: NonNullable<OpenToken["pin"]>): Buffer {
  const text = "value" in pin ? pin.value : firstLineOf(pin.file);
  const secret = Buffer.from(text, "utf8");
  if (secret.length > 0 && secret.length <= pinBytesMax) return secret;
  throw new TokenProblem("pin-unreadable", `the PIN has not 1 to ${pinBytesMax} octets`);
}

function firstLineOf(file: string): string {
  try {
    return readStart(file).toString("utf8").split(/\r?\n/, 1)[0]!;
  } catch (error) {
    throw new TokenProblem("pin-unreadable", `pin-source: ${(error as Error).message}`);
  }
}

function readStart(file: string): Buffer {
  const bytes = Buffer.alloc(pinFileBytesMax);
  const opened = openSync(file, "r");
  try {
    let length = 0;
    for (let read = -1; read !== 0 && length < bytes.length; length += read) {
      read = readSync(opened, bytes, length, bytes.length - length, null);
    }
    return bytes.subarray(0, length);
  } finally {
    closeSync(opened);
  }
}

interface Login {
  readonly secret: Buffer;
  readonly isPinProven: boolean;
}

function login(module: Cryptoki, session: number, { secret, isPinProven }: Login): void {
  const pin = memory(secret.length);
  pin.set(secret);
  try {
    module.call("C_Login", session, 1, pin, pin.length);
  } catch (error) {
    const value = error instanceof CryptokiError ? error.value : undefined;
    if (value === 0x100) return;
    if (value === 0xa4) throw new TokenProblem("pin-locked", "the token's PIN is locked");
    if (value !== undefined && value >= 0xa0 && value <= 0xa3) {
      throw new TokenProblem("pin-wrong", "the token refused the PIN");
    }
    if (isPinProven || (value !== undefined && notPresented.has(value))) throw error;
    throw new TokenProblem("login-failed", (error as Error).message);
  } finally {
    pin.fill(0);
  }
}

/** ECDSA's two numbers, side by side in PKCS#11, as DER (RFC 3279 §2.2.3). */
function derOfEcdsa(signature: Buffer): Buffer {
  const half = signature.length / 2;
  const numbers = [signature.subarray(0, half), signature.subarray(half)].map((octets) => {
    // Without leading zeros. Of zero the last octet is left: findIndex() is -1.
    const short = octets.subarray(octets.findIndex((octet) => octet !== 0));
    const value = short[0]! >= 0x80 ? Buffer.concat([Buffer.of(0), short]) : short;
    return Buffer.concat([Buffer.of(0x02, value.length), value]);
  });
  const content = Buffer.concat(numbers);
  // At most 2 × (2 + 49) octets: one octet has the length.
  return Buffer.concat([Buffer.of(0x30, content.length), content]);
}
