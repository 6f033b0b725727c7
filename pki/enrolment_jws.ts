/**
 * What a node sends to get a TLS certificate with its identity in hardware: a signing request, and a JWS about it that the identity's key
 * has signed (RFC 7515, compact serialization; Ed25519 as RFC 8037 §3.1 describes it).
 *
 * ```
 * body      {"csr": BASE64, "jws": HEADER.PAYLOAD.SIGNATURE}
 * header    {"alg": "EdDSA", "nonce": TEXT, "typ": "hypha-enrol+jws", "x5c": [BASE64]}
 * payload   {"csr_sha256": BASE64URL}
 * ```
 *
 * Each body has exactly one text: all JSON is canonical (RFC 8785) and no base64 has spare bits, so that no changed byte goes unnoticed.
 * Nothing of the header selects how a signature is verified: there is one algorithm.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import { sameBytes } from "./bytes.ts";
import { canonicalJson, isCanonical } from "./canonical_json.ts";
import type { Certificate } from "./certificate.ts";
import { verifySignature } from "./signature.ts";

/** Characters of a body: certificate and request of a node with a hundred names have 20 kB in base64. */
export const enrolmentBodyCharactersMax = 65_536;
/** Characters of a nonce. */
export const enrolmentNonceCharactersMax = 128;
/** Media type of the body. */
export const enrolmentBodyType = "application/json";
/** `typ` of the header (RFC 7515 §4.1.9): no other JWS of this key is one of these. */
const type = "hypha-enrol+jws";
/** The one `alg` (RFC 8037 §3.1). */
const algorithm = "EdDSA";
/** OID of Ed25519 in X.509 (RFC 8410 §3). */
const ed25519Oid = "1.3.101.112";

/** Why a body is refused. */
export class EnrolmentJwsRefused extends Data.TaggedError("EnrolmentJwsRefused")<{
  readonly problem: "malformed" | "algorithm" | "signature" | "other-request";
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot use JWS (${this.problem}): ${this.detail}`;
  }
}

/** What a body claims; nothing of it is proved before {@linkcode verifyEnrolment}. */
export interface EnrolmentClaim {
  /** The signing request, DER. */
  readonly csr: Uint8Array;
  /** The identity's certificate, DER. */
  readonly certificate: Uint8Array;
  /** The server's nonce. */
  readonly nonce: string;
  /** SHA-256 of the request that was signed for. */
  readonly csrSha256: Uint8Array;
  /** What was signed (RFC 7515 §5.1), and the signature. */
  readonly signed: { readonly data: Uint8Array; readonly signature: Uint8Array };
}

/** What a body is made of. */
export interface EnrolmentParts extends Pick<EnrolmentClaim, "csr" | "certificate" | "nonce"> {
  /** Signs with the identity's key, Ed25519. */
  readonly sign: (bytes: Uint8Array) => Promise<Uint8Array>;
}

/** Makes a body (RFC 7515 §5.1). Rejects when the key cannot sign. */
export async function composeEnrolment({ csr, certificate, nonce, sign }: EnrolmentParts): Promise<string> {
  const x5c = [Buffer.from(certificate).toString("base64")];
  const header = encode(canonicalJson({ alg: algorithm, nonce, typ: type, x5c }));
  const payload = encode(canonicalJson({ csr_sha256: sha256(csr).toString("base64url") }));
  const input = `${header}.${payload}`;
  const signature = Buffer.from(await sign(Buffer.from(input, "ascii"))).toString("base64url");
  return canonicalJson({ csr: Buffer.from(csr).toString("base64"), jws: `${input}.${signature}` });
}

/** Reads a body (RFC 7515 §5.2, steps 1 to 7). Header parameters that are not known are refused, `crit` among them (§4.1.11). */
export function readEnrolment(body: string): Result.Result<EnrolmentClaim, EnrolmentJwsRefused> {
  return Result.gen(function* () {
    if (body.length > enrolmentBodyCharactersMax) {
      return yield* refuse("malformed", `the body has more than ${enrolmentBodyCharactersMax} characters`);
    }
    const outer = yield* readObject(body, "the body", ["csr", "jws"]);
    const csr = decode(outer["csr"], "base64");
    if (csr === undefined) return yield* refuse("malformed", "csr is not base64 in its one form");
    const parts = typeof outer["jws"] === "string" ? outer["jws"].split(".") : [];
    const [header, payload, signature] = parts.map((part) => decode(part, "base64url"));
    if (parts.length !== 3 || header === undefined || payload === undefined) {
      return yield* refuse("malformed", "jws does not have the three parts of one, each base64url in its one form");
    }
    const { alg, nonce, typ, x5c } = yield* readHeader(header);
    if (alg !== algorithm) return yield* refuse("algorithm", `alg is ${shown(alg)}, not "${algorithm}"`);
    if (typ !== type) return yield* refuse("malformed", `typ is ${shown(typ)}, not "${type}"`);
    if (signature?.length !== 64) return yield* refuse("malformed", "the signature does not have 64 octets");
    if (typeof nonce !== "string" || nonce.length > enrolmentNonceCharactersMax) {
      return yield* refuse("malformed", `nonce is not a text of at most ${enrolmentNonceCharactersMax} characters`);
    }
    const certificate = Array.isArray(x5c) && x5c.length === 1 ? decode(x5c[0], "base64") : undefined;
    if (certificate === undefined) return yield* refuse("malformed", "x5c is not the one certificate, in base64");
    const { csr_sha256 } = yield* readObject(textOf(payload), "the payload", ["csr_sha256"]);
    const csrSha256 = decode(csr_sha256, "base64url");
    if (csrSha256?.length !== 32) return yield* refuse("malformed", "csr_sha256 is not a SHA-256 in base64url");
    const data = Buffer.from(parts.slice(0, 2).join("."), "ascii");
    return { csr, certificate, nonce, csrSha256, signed: { data, signature } };
  });
}

/**
 * Checks that the key of a certificate has signed a claim, and that the claim is about the request that came with it (RFC 7515 §5.2,
 * step 8). Whether the certificate counts is the caller's decision.
 */
export function verifyEnrolment(
  { csr, csrSha256, signed }: EnrolmentClaim,
  { publicKey }: Pick<Certificate, "publicKey">,
): Result.Result<void, EnrolmentJwsRefused> {
  if (!verifySignature({ ...signed, algorithm: ed25519Oid }, publicKey)) {
    return refuse("signature", "the signature does not verify under the key of the certificate in x5c");
  }
  if (sameBytes(sha256(csr), csrSha256)) return Result.void;
  return refuse("other-request", "the signature is about another signing request than the one that came with it");
}

function refuse(problem: EnrolmentJwsRefused["problem"], detail: string): Result.Result<never, EnrolmentJwsRefused> {
  return Result.fail(new EnrolmentJwsRefused({ problem, detail }));
}

const encode = (text: string) => Buffer.from(text, "utf8").toString("base64url");
const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 40) ?? "missing";

/** Octets of a text; undefined for one that encoding them again does not give. */
function decode(text: unknown, form: "base64" | "base64url"): Uint8Array | undefined {
  if (typeof text !== "string") return undefined;
  const bytes = Buffer.from(text, form);
  return bytes.toString(form) === text ? Uint8Array.from(bytes) : undefined;
}

/** The text of octets; one that is no canonical JSON where they are not UTF-8. */
function textOf(octets: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    return "";
  }
}

/** A header with another `alg` is named as such, whatever else it holds: `none` needs no certificate. */
function readHeader(octets: Uint8Array): Result.Result<Readonly<Record<string, unknown>>, EnrolmentJwsRefused> {
  return Result.flatMap(readObject(textOf(octets), "the header"), (header) => {
    if (header["alg"] !== algorithm || hasExactly(header, ["alg", "nonce", "typ", "x5c"])) {
      return Result.succeed(header);
    }
    return refuse("malformed", "the header does not have exactly alg, nonce, typ and x5c");
  });
}

function readObject(
  text: string,
  what: string,
  names?: readonly string[],
): Result.Result<Readonly<Record<string, unknown>>, EnrolmentJwsRefused> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuse("malformed", `${what} is not JSON`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return refuse("malformed", `${what} is not a JSON object`);
  }
  if (!isCanonical(value, text)) return refuse("malformed", `${what} is not canonical JSON (RFC 8785)`);
  const fields = value as Readonly<Record<string, unknown>>;
  if (names === undefined || hasExactly(fields, names)) return Result.succeed(fields);
  return refuse("malformed", `${what} does not have exactly ${names.join(" and ")}`);
}

function hasExactly(value: Readonly<Record<string, unknown>>, names: readonly string[]): boolean {
  return Object.keys(value).length === names.length && names.every((name) => Object.hasOwn(value, name));
}
