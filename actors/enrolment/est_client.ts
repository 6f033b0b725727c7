/**
 * A client of EST (RFC 7030) and of the CA's own pages: requests of {@linkcode AskHttps}, answers read and bounded.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result, Schema } from "effect";
import type { Certificate } from "../../pki/certificate.ts";
import { enrolmentBodyType, enrolmentNonceCharactersMax } from "../../pki/enrolment_jws.ts";
import type { AskHttps, HttpsAnswer, HttpsAsk } from "./ask_https.ts";
import { readCertsOnly } from "./certs_only.ts";
import { EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** Where a CA is, how it is asked, and how its server is judged. */
export interface CaServer {
  readonly url: string;
  readonly ask: AskHttps;
  /** As {@linkcode HttpsAsk.judge}. */
  readonly judge: HttpsAsk["judge"];
}

/** A certificate with its chain, and its key (PEM). */
export type ShownPair = NonNullable<HttpsAsk["pair"]>;

/** How a node proves that it may ask. */
export type Credential = { readonly token: string } | { readonly pair: ShownPair };

/** What the CA says about its network. */
export interface NetworkDocument {
  readonly domain: string;
  /** Addresses of gateways. */
  readonly gateways: readonly string[];
  /** Addresses of those whose names the CA knows, by name. */
  readonly gatewayNames: Readonly<Record<string, string>>;
  /** Issuers whose certificates are to be renewed at once, by SHA-256 of the SPKI. */
  readonly retiredIssuers: readonly string[];
}

/** Octets of an answer with a nonce. */
const nonceBytesMax = 1_024;
const nonceSchema = Schema.Struct({ nonce: Schema.String.check(Schema.isMaxLength(enrolmentNonceCharactersMax)) });
/** Octets of the CA's answer about its network. */
const networkBytesMax = 65_536;
/** Bounds of a `Retry-After`, in milliseconds. */
const retryAfterMinMs = 1_000;
const retryAfterMaxMs = 3_600_000;
/** How long an approval that names no time is waited for, in milliseconds. */
const pendingMs = 10_000;

const address = Schema.String.check(Schema.isMaxLength(512));
const network = Schema.Struct({
  domain: Schema.String.check(Schema.isMaxLength(255)),
  gateways: Schema.Array(address).check(Schema.isMaxLength(100)),
  gateway_names: Schema.optionalKey(Schema.Record(Schema.String.check(Schema.isMaxLength(64)), address)),
  retired_issuers: Schema.Array(Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))).check(Schema.isMaxLength(64)),
});

/** The CA certificates that a CA offers. They prove nothing by themselves. */
export function askCaCertificates(ca: CaServer): Effect.Effect<readonly Certificate[], EnrolmentRefused> {
  return Effect.flatMap(
    send(ca, { path: "/.well-known/est/cacerts", method: "GET" }),
    ({ body }) => Effect.fromResult(readCertsOnly(body)),
  );
}

/**
 * Asks for a certificate.
 *
 * @param credential A token for the first one; the pair in force for the next one.
 * @param csr DER in base64, on one line.
 * @returns The certificate; `undefined` where an approval is awaited, with the time to ask again.
 */
export function askCertificate(
  ca: CaServer,
  credential: Credential,
  csr: string,
): Effect.Effect<Certificate | { readonly pendingMs: number }, EnrolmentRefused> {
  const path = "token" in credential ? "/.well-known/est/simpleenroll" : "/.well-known/est/simplereenroll";
  const headers = { "content-type": "application/pkcs10", "content-transfer-encoding": "base64" };
  return Effect.gen(function* () {
    const answer = yield* send(ca, { path, method: "POST", body: csr, ...shown(credential, headers) });
    if (answer.status === 202) return { pendingMs: retryAfterOf(answer) ?? pendingMs };
    return yield* oneCertificate(ca, answer);
  });
}

/** Asks for a nonce, with which the identity in hardware signs. */
export function askNonce(ca: CaServer): Effect.Effect<string, EnrolmentRefused> {
  return Effect.flatMap(send(ca, { path: "/.well-known/hypha/nonce", method: "GET" }), ({ body }) => {
    const text = body.length > nonceBytesMax ? "" : Buffer.from(body).toString("utf8");
    const read = Schema.decodeUnknownResult(Schema.fromJsonString(nonceSchema))(text);
    if (Result.isSuccess(read)) return Effect.succeed(read.success.nonce);
    return Effect.fail(enrolmentRefused("answer-malformed", `${ca.url} gives no readable nonce`));
  });
}

/**
 * Asks for a certificate with the signature of an identity in hardware.
 *
 * @param body As `pki/enrolment_jws.ts` composes it.
 */
export function askWithIdentity(ca: CaServer, body: string): Effect.Effect<Certificate, EnrolmentRefused> {
  const headers = { "content-type": enrolmentBodyType };
  return Effect.flatMap(
    send(ca, { path: "/.well-known/hypha/enrol", method: "POST", body, headers }),
    (answer) => oneCertificate(ca, answer),
  );
}

function oneCertificate({ url }: CaServer, { body }: HttpsAnswer): Effect.Effect<Certificate, EnrolmentRefused> {
  return Effect.flatMap(Effect.fromResult(readCertsOnly(body)), ([certificate, ...more]) => {
    if (certificate !== undefined && more.length === 0) return Effect.succeed(certificate);
    return Effect.fail(enrolmentRefused("answer-malformed", `${url} answered with ${more.length + 1} certificates`));
  });
}

/** Asks what the CA says about its network. */
export function askNetwork(ca: CaServer, credential: Credential): Effect.Effect<NetworkDocument, EnrolmentRefused> {
  const malformed = enrolmentRefused("answer-malformed", `${ca.url} says nothing readable about its network`);
  return Effect.gen(function* () {
    const { body } = yield* send(ca, { path: "/.well-known/hypha/network", method: "GET", ...shown(credential, {}) });
    if (body.length > networkBytesMax) return yield* malformed;
    const value = yield* Effect.try({
      try: (): unknown => JSON.parse(Buffer.from(body).toString("utf8")),
      catch: () => malformed,
    });
    const read = Schema.decodeUnknownResult(network)(value);
    if (Result.isFailure(read)) return yield* malformed;
    const { domain, gateways, gateway_names: gatewayNames = {}, retired_issuers: retiredIssuers } = read.success;
    return { domain, gateways, gatewayNames, retiredIssuers };
  });
}

/**
 * Asks for the complete revocation list of an issuer. Lists are signed: the server need not be judged.
 *
 * @param issuer SHA-256 of the issuer's SPKI, hexadecimal.
 * @returns DER; undefined where the CA has no such list.
 */
export function askList(ca: CaServer, issuer: string): Effect.Effect<Uint8Array | undefined, EnrolmentRefused> {
  return Effect.map(
    send(ca, { path: `/crl/${issuer}.crl`, method: "GET", isLarge: true }, [404]),
    ({ status, body }) => status === 404 ? undefined : body,
  );
}

function shown(credential: Credential, headers: Readonly<Record<string, string>>): Partial<HttpsAsk> {
  if ("pair" in credential) return { headers, pair: credential.pair };
  return { headers: { ...headers, authorization: `Bearer ${credential.token}` } };
}

function send(
  { url, ask, judge }: CaServer,
  asked: Omit<HttpsAsk, "url" | "judge">,
  expected: readonly number[] = [],
): Effect.Effect<HttpsAnswer, EnrolmentRefused> {
  return Effect.flatMap(ask({ url, judge, ...asked }), (answer) => {
    const { status } = answer;
    if (status === 200 || status === 202 || expected.includes(status)) return Effect.succeed(answer);
    return Effect.fail(refusalOf(url, answer));
  });
}

/** A refusal of our CA is `code: detail` on its first line; of others the status counts. */
function refusalOf(url: string, answer: HttpsAnswer): EnrolmentRefused {
  const [line = ""] = Buffer.from(answer.body.subarray(0, 1_024)).toString("utf8").split("\n", 1);
  const [, code, said] = /^([a-z][a-z-]{2,40}): (.{1,400})$/.exec(line) ?? [];
  const detail = code === undefined ? `${url} answered ${answer.status}` : `${url} refused: ${said}`;
  const retryAfterMs = retryAfterOf(answer);
  return new EnrolmentRefused({
    code: code ?? `http-${answer.status}`,
    detail,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** Seconds alone: a date would need the CA's clock. */
function retryAfterOf({ headers }: HttpsAnswer): number | undefined {
  const value = headers["retry-after"];
  if (typeof value !== "string" || !/^\d{1,9}$/.test(value)) return undefined;
  return Math.min(Math.max(Number(value) * 1_000, retryAfterMinMs), retryAfterMaxMs);
}
