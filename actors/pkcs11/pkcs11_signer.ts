/**
 * A key in a PKCS#11 token as a signer.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPublicKey, verify } from "node:crypto";
import { Result } from "effect";
import type { Signer } from "../../pki/issue/mod.ts";
import { parsePkcs11Uri, type Pkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { SignerError } from "./signer_error.ts";
import { type KeySelector, signedBytesMax, type TokenKeyAlgorithm } from "./token_messages.ts";
import { TokenProcess, type TokenTiming } from "./token_process.ts";

/** A signer whose key is in a token. */
export interface Pkcs11Signer extends Signer {
  /** Why it cannot sign now; undefined while it can, as far as is known. */
  readonly failure: () => SignerError | undefined;
  /** Number of the token's process, where one runs. */
  readonly pid: () => number | undefined;
  /** Gives the token back. Its process ends with its last signer. */
  readonly end: () => void;
}

/** How a token is opened. */
export interface TokenOptions {
  /** The PIN where the URI has none. */
  readonly pin?: string | undefined;
  /** Other time limits than those of {@linkcode TokenProcess}. */
  readonly timing?: TokenTiming | undefined;
  /** DER of the key's public half (SubjectPublicKeyInfo), where the key may be away: a signer is made all the same, and its `failure` says why it cannot sign. */
  readonly spki?: Uint8Array | undefined;
}

/**
 * Opens a key. Its token gets a process, which all keys of the token share.
 *
 * @param uri RFC 7512.
 * @throws {SignerError}
 */
export async function openPkcs11Signer(uri: string, options: TokenOptions = {}): Promise<Pkcs11Signer> {
  const held = holdToken(uri, options);
  try {
    return signerOf(held, await findKey(held, options.spki));
  } catch (error) {
    held.release();
    throw error;
  }
}

/**
 * Makes a key in a token: it cannot leave it. One that is there is not replaced.
 *
 * @returns DER of the public key (SubjectPublicKeyInfo).
 * @throws {SignerError} `key-exists` where a key has the label or the identifier.
 */
export async function generatePkcs11Key(
  uri: string,
  algorithm: TokenKeyAlgorithm,
  options: TokenOptions = {},
): Promise<Uint8Array> {
  const held = holdToken(uri, options);
  try {
    return await held.ask({ op: "generate", key: held.key, algorithm });
  } finally {
    held.release();
  }
}

/** Attributes of the URI's path that errors show. No second attribute hides in such a value, behind a wrong separator. */
const shownAttribute = /^(?:token|serial|slot-id|object|id|type)=[^=&,\s]+$/;

/** A key's URI as errors show it: what names the key. The rest may be the PIN, also where it stands in a wrong place. */
export function shownUri(uri: string): string {
  const [path] = uri.split("?", 1);
  const [, attributes = ""] = /^pkcs11:(.*)$/is.exec(path!) ?? [];
  const parts = attributes.split(";");
  const shown = parts.filter((part) => shownAttribute.test(part));
  return `pkcs11:${[...shown, ...(shown.length < parts.length ? ["…"] : [])].join(";").slice(0, 200)}`;
}

interface HeldToken {
  readonly process: TokenProcess;
  /** Asks; errors name this key, also where another key of the token came first. */
  readonly ask: TokenProcess["ask"];
  readonly named: (error: SignerError) => SignerError;
  readonly key: KeySelector;
  readonly release: () => void;
}

/** Processes by token, with the number of those who hold them. */
const tokens = new Map<string, { readonly process: TokenProcess; holders: number }>();

function holdToken(text: string, { pin, timing, spki }: TokenOptions): HeldToken {
  const name = shownUri(text);
  const uri = Result.getOrElse(parsePkcs11Uri(text), ({ detail }): Pkcs11Uri => {
    throw new SignerError({ code: "uri", key: name, detail });
  });
  const { module, token, object, id } = uri;
  const open = { op: "open", module, token, pin: uri.pin ?? (pin === undefined ? undefined : { value: pin }) } as const;
  const place = JSON.stringify([open, timing]);
  const entry = tokens.get(place) ??
    {
      process: new TokenProcess({ open, name, ...(timing && { timing }), mayBeAway: spki !== undefined }),
      holders: 0,
    };
  tokens.set(place, entry);
  entry.holders += 1;
  let holds = true;
  const release = () => {
    if (holds) entry.holders -= 1;
    holds = false;
    if (entry.holders > 0) return;
    entry.process.end();
    // A PIN that was refused stays refused: it is not presented again when the token is opened again.
    if (!entry.process.isFinal) tokens.delete(place);
  };
  const named = ({ code, detail }: SignerError) => new SignerError({ code, key: name, detail });
  const ask: HeldToken["ask"] = (request) =>
    entry.process.ask(request).catch((error: unknown) => {
      throw error instanceof SignerError ? named(error) : error;
    });
  return { process: entry.process, ask, named, key: { object, id }, release };
}

interface FoundKey {
  readonly spki: Buffer;
  /** Why the token did not find it. */
  readonly failure?: SignerError;
}

async function findKey({ ask, key }: HeldToken, expected: Uint8Array | undefined): Promise<FoundKey> {
  try {
    return { spki: await ask({ op: "find", key }) };
  } catch (error) {
    if (expected === undefined || !(error instanceof SignerError)) throw error;
    return { spki: Buffer.from(expected), failure: error };
  }
}

function signerOf({ process, ask, named, key, release }: HeldToken, { spki, failure: lost }: FoundKey): Pkcs11Signer {
  const publicKey = createPublicKey({ key: spki, format: "der", type: "spki" });
  /** Why the key was not found, or its last signature failed. Failures of the token as a whole are the process's: it tries the token again. */
  let failure = process.failure === undefined ? lost : undefined;
  const fail = (detail: string) => named(new SignerError({ code: "signer-unavailable", key: "", detail }));
  const digest = publicKey.asymmetricKeyType !== "ec"
    ? null
    : publicKey.asymmetricKeyDetails?.namedCurve === "secp384r1"
    ? "sha384"
    : "sha256";
  const signed = async (bytes: Uint8Array) => {
    if (bytes.length > signedBytesMax) throw fail(`more than ${signedBytesMax} octets are not signed at once`);
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const signature = await ask({ op: "sign", key, data: data.toString("base64") });
    // A token may have been exchanged for another with a key of the same name.
    if (verify(digest, data, publicKey, signature)) return signature;
    throw fail("the signature does not verify under the key's public part");
  };
  return {
    spki: () => spki,
    failure: () => process.failure === undefined ? failure : named(process.failure),
    pid: () => process.pid,
    end: release,
    sign: async (bytes) => {
      try {
        const signature = await signed(bytes);
        failure = undefined;
        return signature;
      } catch (error) {
        if (error instanceof SignerError && process.failure === undefined) failure = error;
        throw error;
      }
    },
  };
}
