/**
 * The CA's HTTP interface: one function from a request to an answer.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { caRefusals, CaRefused } from "./ca_refused.ts";
import { bundleSequence } from "./bundle_sequence.ts";
import { type CertificateAuthority, signersOf } from "./certificate_authority.ts";
import { type CrlKind, crlOf } from "./crl_rows.ts";
import { checkUnusedToken, enrol, type IssuedDer } from "./enrol.ts";
import { certsOnly, readCsrBody } from "./est_bodies.ts";
import { enrolIdentity } from "./identity_enrol.ts";
import { nonceLifetimeMs } from "./nonces.ts";
import { publishedCas } from "./published_cas.ts";
import { memberRow, reenrol } from "./reenrol.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { whyNotIssuing } from "./why_not_issuing.ts";

/** A request as the port hands it on. */
export interface CaRequest {
  readonly method: string;
  /** Path without its query. */
  readonly path: string;
  readonly authorization: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly body: Uint8Array;
  /** The leaf that the client showed, DER; TLS has proved that it has the key. */
  readonly certificate: Uint8Array | undefined;
  /** Whether the connection resumed a session: then its certificate was not shown again. */
  readonly session: "new" | "resumed";
  /** The sender's address, without its port. */
  readonly address: string;
}

/** An answer. */
export interface CaAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

/** How often readers of the bundle look for a new one, in seconds. */
export const bundleRefreshSeconds = 300;
/** When to ask again for a request that an operator decides, in seconds. */
export const pendingRetrySeconds = 60;
/** The part of a certificate's life after which a node renews it. */
export const renewAfterPart = 2 / 3;

type Route = (
  ca: CertificateAuthority,
  request: CaRequest,
  at: Date,
) => Effect.Effect<CaAnswer, CaRefused | RegisterFailure>;

const routes: Readonly<Record<string, { readonly method: "GET" | "POST"; readonly answer: Route }>> = {
  "/.well-known/est/cacerts": {
    method: "GET",
    answer: (ca, _request, at) =>
      Effect.map(
        Effect.fromResult(ca.register.read((rows) => publishedCas(ca, rows, at))),
        (published) => pkcs7([...published, ...ca.newWithOld].map(({ der }) => der)),
      ),
  },
  "/.well-known/est/simpleenroll": { method: "POST", answer: simpleEnrol },
  "/.well-known/est/simplereenroll": { method: "POST", answer: simpleReenrol },
  "/.well-known/hypha/nonce": { method: "GET", answer: nonce },
  "/.well-known/hypha/enrol": { method: "POST", answer: identityEnrol },
  "/.well-known/hypha/network": { method: "GET", answer: network },
  "/bundle.json": { method: "GET", answer: bundle },
  "/healthz": { method: "GET", answer: health },
};

/** Answers a request. Refusals are answers too. */
export function answer(ca: CertificateAuthority, request: CaRequest, at: Date): Effect.Effect<CaAnswer> {
  const { method, path, session } = request;
  if (session === "resumed") {
    return Effect.succeed(
      refusal(new CaRefused({ code: "session-resumed", detail: "the connection resumed a session" })),
    );
  }
  const list = /^\/crl\/([0-9a-f]{64})(?:-(base|delta))?\.crl$/.exec(path);
  const known = Object.hasOwn(routes, path) ? routes[path] : undefined;
  const route = list === null
    ? known
    : { method: "GET", answer: crl(list[1]!, (list[2] ?? "complete") as CrlKind) } as const;
  if (route === undefined) return Effect.succeed(text(404, "not found"));
  if (route.method !== method) return Effect.succeed(text(405, "not allowed", { allow: route.method }));
  return Effect.catch(route.answer(ca, request, at), (error) => Effect.succeed(refusal(error)));
}

function simpleEnrol(ca: CertificateAuthority, request: CaRequest, at: Date): ReturnType<Route> {
  return Effect.gen(function* () {
    const given = yield* Effect.fromResult(readCredentials(request.authorization));
    const csr = yield* Effect.fromResult(readCsrBody(request.body));
    return pkcs7([yield* enrol(ca, { ...given, csr, address: request.address }, at)]);
  });
}

function simpleReenrol(ca: CertificateAuthority, request: CaRequest, at: Date): ReturnType<Route> {
  return Effect.gen(function* () {
    const { certificate, address } = request;
    if (certificate === undefined) return yield* noCertificate();
    const csr = yield* Effect.fromResult(readCsrBody(request.body));
    return pkcs7([yield* reenrol(ca, { certificate, csr, address }, at)]);
  });
}

/** A nonce costs its client nothing and the CA no memory. */
function nonce(ca: CertificateAuthority, _request: CaRequest, at: Date): ReturnType<Route> {
  return Effect.sync(() => json({ nonce: ca.nonces.make(+at), lifetime_seconds: nonceLifetimeMs / 1_000 }));
}

function identityEnrol(ca: CertificateAuthority, { body, address }: CaRequest, at: Date): ReturnType<Route> {
  return Effect.map(enrolIdentity(ca, { body, address }, at), (der) => pkcs7([der]));
}

const noCertificate = () =>
  new CaRefused({ code: "no-client-certificate", detail: "the client showed no certificate" });

/** The token, as Basic password with its name for a user, or as Bearer. */
function readCredentials(authorization = ""): Result.Result<{ token: string; name?: string }, CaRefused> {
  const [scheme = "", value = ""] = authorization.split(" ", 2);
  if (/^bearer$/i.test(scheme)) return Result.succeed({ token: value });
  const [, name = "", token] = /^basic$/i.test(scheme)
    ? /^([^:]*):(.*)$/s.exec(Buffer.from(value, "base64").toString("utf8")) ?? []
    : [];
  if (token === undefined) {
    return Result.fail(new CaRefused({ code: "token-malformed", detail: "the request carries no token" }));
  }
  return Result.succeed({ token, name });
}

/** What a member, or a node with a token, may know about the network. */
function network(ca: CertificateAuthority, request: CaRequest, at: Date): ReturnType<Route> {
  return Effect.gen(function* () {
    const { certificate, authorization, address } = request;
    if (authorization !== undefined) {
      yield* checkUnusedToken(ca, { ...(yield* Effect.fromResult(readCredentials(authorization))), address }, at);
    } else {
      if (certificate === undefined) return yield* noCertificate();
      const terms = { ...ca, renewAfterExpiryMs: 0 };
      yield* Effect.fromResult(ca.register.transaction((rows) => memberRow(terms, rows, certificate, at)));
    }
    return json({
      domain: ca.domain,
      gateways: ca.gateways,
      gateway_names: ca.gatewayNames ?? {},
      renewal: { after: renewAfterPart, late_seconds: ca.renewAfterExpiryMs / 1_000 },
      retired_issuers: retiredIssuers(ca),
    });
  });
}

/** Issuers whose certificates are to be renewed at once. */
function retiredIssuers(ca: CertificateAuthority): readonly string[] {
  return [...new Set([...ca.retiredIssuers, ...signersOf(ca).slice(1).map(({ issuerId }) => issuerId)])];
}

function bundle(ca: CertificateAuthority, _request: CaRequest, at: Date): ReturnType<Route> {
  return Effect.map(
    Effect.fromResult(ca.register.read((rows) => {
      const authorities = publishedCas(ca, rows, at);
      return { authorities, sequence: bundleSequence(rows, authorities, at) };
    })),
    ({ authorities, sequence }) => ({
      status: 200,
      headers: { "content-type": "application/json" },
      body: formatSpiffeBundle(authorities, { sequence, refreshHintSeconds: bundleRefreshSeconds }),
    }),
  );
}

/** Lists are signed: any client may have them. */
function crl(issuer: string, kind: CrlKind): Route {
  return (ca, { ifNoneMatch }) =>
    Effect.gen(function* () {
      const row = yield* Effect.fromResult(ca.register.read((rows) => crlOf(rows, issuer, kind)));
      if (row === undefined) return text(404, "no such list");
      const etag = `"${row.sha256}"`;
      const headers = { etag, "last-modified": new Date(row.this_update).toUTCString() };
      const has = ifNoneMatch?.split(",").map((each) => each.trim()).some((each) => each === etag || each === "*");
      if (has === true) return { status: 304, headers, body: "" };
      const body = yield* Effect.promise(() => ca.published.read(row));
      if (body === undefined) return yield* new CaRefused({ code: "busy", detail: "a newer list is being entered" });
      return { status: 200, headers: { ...headers, "content-type": "application/pkix-crl" }, body };
    });
}

/** Whether the CA can issue, and if not, one reason. */
function health(ca: CertificateAuthority, _request: CaRequest, at: Date): ReturnType<Route> {
  return Effect.map(
    Effect.fromResult(ca.register.read((rows) => crlOf(rows, ca.issuerId, "complete"))),
    (list) => {
      const reason = whyNotIssuing(ca, list, at);
      return reason === undefined ? text(200, "ok") : text(503, reason);
    },
  );
}

function pkcs7(certificates: readonly IssuedDer[]): CaAnswer {
  return {
    status: 200,
    headers: {
      "content-type": "application/pkcs7-mime; smime-type=certs-only",
      "content-transfer-encoding": "base64",
    },
    body: certsOnly(certificates),
  };
}

function json(value: unknown): CaAnswer {
  return { status: 200, headers: { "content-type": "application/json" }, body: `${JSON.stringify(value)}\n` };
}

function text(status: number, line: string, headers: Readonly<Record<string, string>> = {}): CaAnswer {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body: `${line}\n` };
}

/** A refusal's code, what happened and what helps. Of the register's failures strangers learn the kind alone. */
function refusal(error: CaRefused | RegisterFailure): CaAnswer {
  if (error._tag === "RegisterFailure") return text(503, `register-${error.problem}`, { "retry-after": "30" });
  const { status } = caRefusals[error.code];
  const headers = {
    ...(status === 401 ? { "www-authenticate": 'Basic realm="hypha-ca"' } : {}),
    ...(status === 202 ? { "retry-after": String(pendingRetrySeconds) } : {}),
    ...(status === 429 ? { "retry-after": "60" } : {}),
    ...(status === 503 ? { "retry-after": "30" } : {}),
  };
  return text(status, `${error.code}: ${error.detail}\n${error.hint}`, headers);
}
