/**
 * SPIFFE bundles: a trust domain's CA certificates as a JWK set (SPIFFE Trust Domain and Bundle, §4), in and out.
 *
 * @module
 */
import { createPublicKey } from "node:crypto";
import { Buffer } from "node:buffer";
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import { type Certificate, parseCertificate } from "./certificate.ts";

/** Characters of one bundle: a thousand CA certificates of a kilobyte, in base64, with their keys. */
export const bundleCharactersMax = 16 * 1024 * 1024;
/** Keys of one bundle. */
export const bundleKeysMax = 1_000;

/** A trust domain's bundle. */
export interface SpiffeBundle {
  /** CA certificates, one a key. */
  readonly authorities: readonly Certificate[];
  /** Grows with each change of the bundle; undefined where it carries none. */
  readonly sequence: number | undefined;
  /** How often to look for a new bundle, in seconds; undefined where the bundle has no hint. */
  readonly refreshHintSeconds: number | undefined;
}

/** Text that is no SPIFFE bundle. */
export class SpiffeBundleError extends Data.TaggedError("SpiffeBundleError")<{ readonly detail: string }> {
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot read SPIFFE bundle: ${this.detail}`;
  }
}

/**
 * Reads a bundle. Keys for other uses than X.509 (`jwt-svid`), and those without a use, are passed over, as the
 * specification requires; each other key has one certificate (`x5c`) with the same key in it.
 *
 * @param text The JSON.
 * @returns The CA certificates, or why it is no bundle.
 */
export function parseSpiffeBundle(text: string): Result.Result<SpiffeBundle, SpiffeBundleError> {
  return Result.gen(function* () {
    if (text.length > bundleCharactersMax) return yield* refuse(`it has more than ${bundleCharactersMax} characters`);
    const set = yield* parseJson(text);
    const { keys, spiffe_sequence: sequence, spiffe_refresh_hint: hint } = set;
    if (!Array.isArray(keys)) return yield* refuse("it has no list of keys");
    if (keys.length > bundleKeysMax) return yield* refuse(`it has more than ${bundleKeysMax} keys`);
    const authorities: Certificate[] = [];
    for (const [index, key] of (keys as readonly unknown[]).entries()) {
      if (isRecord(key) && key["use"] === "x509-svid") authorities.push(yield* readAuthority(key, index));
    }
    return {
      authorities,
      sequence: yield* readCount(sequence, "spiffe_sequence"),
      refreshHintSeconds: yield* readCount(hint, "spiffe_refresh_hint"),
    };
  });
}

/** Writes a bundle, a key for each CA certificate. */
export function formatSpiffeBundle(
  authorities: readonly Certificate[],
  options: { readonly sequence?: number | undefined; readonly refreshHintSeconds?: number | undefined } = {},
): string {
  const keys = authorities.map(({ der, publicKey }) => ({
    use: "x509-svid",
    ...jwkOf(publicKey.spki),
    x5c: [Buffer.from(der).toString("base64")],
  }));
  const { sequence, refreshHintSeconds } = options;
  const set = {
    keys,
    ...(sequence === undefined ? {} : { spiffe_sequence: sequence }),
    ...(refreshHintSeconds === undefined ? {} : { spiffe_refresh_hint: refreshHintSeconds }),
  };
  return `${JSON.stringify(set, undefined, 2)}\n`;
}

function readAuthority(
  { x5c, ...jwk }: Record<string, unknown>,
  index: number,
): Result.Result<Certificate, SpiffeBundleError> {
  const [text] = Array.isArray(x5c) ? x5c as readonly unknown[] : [];
  if (!Array.isArray(x5c) || x5c.length !== 1 || typeof text !== "string") {
    return refuse(`key ${index} does not have exactly one certificate in x5c`);
  }
  const der = Uint8Array.from(Buffer.from(text, "base64"));
  if (Buffer.from(der).toString("base64") !== text) return refuse(`x5c of key ${index} is not base64`);
  const parsed = parseCertificate(der, index);
  if (Result.isFailure(parsed)) return refuse(`key ${index}: ${parsed.failure.message}`);
  const certificate = parsed.success;
  if (certificate.basicConstraints?.ca !== true) return refuse(`the certificate of key ${index} is not a CA's`);
  // A reader of the key and a reader of the certificate must trust the same CA.
  const own = Result.getOrUndefined(Result.try(() => jwkOf(certificate.publicKey.spki) as Record<string, unknown>));
  if (own === undefined) return refuse(`the certificate of key ${index} has a key that cannot be read`);
  const differs = Object.keys(own).find((field) => own[field] !== jwk[field]);
  if (differs !== undefined) return refuse(`key ${index} is not the key of its certificate (${differs})`);
  return Result.succeed(certificate);
}

function jwkOf(spki: Uint8Array): object {
  return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }).export({ format: "jwk" });
}

function parseJson(text: string): Result.Result<Record<string, unknown>, SpiffeBundleError> {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? Result.succeed(value) : refuse("it is not a JSON object");
  } catch (error) {
    return refuse(`it is not JSON (${(error as Error).message})`);
  }
}

function readCount(value: unknown, name: string): Result.Result<number | undefined, SpiffeBundleError> {
  if (value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0)) {
    return Result.succeed(value as number | undefined);
  }
  return refuse(`${name} is not a whole number`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(detail: string): Result.Result<never, SpiffeBundleError> {
  return Result.fail(new SpiffeBundleError({ detail }));
}
