/**
 * The refusals of a CA, with their codes.
 *
 * @module
 */
import { Data } from "effect";

interface RefusalKind {
  /** Status of the HTTP answer. */
  readonly status: number;
  /** What the operator or the node can do. */
  readonly hint: string;
}

/** All refusals of the CA. A code never changes. */
export const caRefusals = {
  "token-malformed": { status: 401, hint: "Copy the whole token: it has five parts with dots between." },
  "token-foreign": { status: 401, hint: "Use a token that this CA made." },
  "token-unknown": { status: 401, hint: "Make a token: hypha-ca token." },
  "token-expired": { status: 401, hint: "Make a new token: hypha-ca token." },
  "token-used": { status: 403, hint: "Find out who used the token, then make a new one." },
  "request-pending": { status: 202, hint: "Ask again later: an operator decides (hypha-ca requests)." },
  "request-denied": { status: 403, hint: "Ask the operator of the CA, who has denied the request." },
  "request-unknown": { status: 404, hint: "List the requests that wait: hypha-ca requests." },
  "approvals-required": {
    status: 409,
    hint: "Have approvers sign it: hypha-ca requests, then hypha-ca approve ID --key FILE.",
  },
  "approval-refused": { status: 403, hint: "Approve the request as it is now: hypha-ca approve ID --key FILE." },
  "approvers-refused": {
    status: 400,
    hint: "Change the approvers with hypha-ca change-approvers: the present ones approve it.",
  },
  "too-many-requests": { status: 429, hint: "Approve or deny the requests that wait: hypha-ca requests." },
  "too-many-certificates": { status: 409, hint: "Revoke fewer names at once; a single one never waits for approvals." },
  "too-many-failures": { status: 429, hint: "Wait a minute." },
  "csr-malformed": { status: 400, hint: "Send a PKCS#10 request in base64, signed by the key that it is about." },
  "csr-not-allowed": { status: 403, hint: "Leave subject and names out of the request." },
  "name-not-allowed": { status: 403, hint: "Choose another name." },
  "name-taken": { status: 409, hint: "Revoke the certificate, or make a token with --replace." },
  "name-locked": {
    status: 403,
    hint:
      "Where two nodes have one key, decide which is the right one: hypha-ca revoke NAME, then token --replace. Where a revocation is not signed, repeat it.",
  },
  "name-unknown": { status: 404, hint: "List the nodes: hypha-ca nodes." },
  "no-client-certificate": { status: 401, hint: "Show the certificate that is to be renewed." },
  "session-resumed": { status: 403, hint: "Connect without resuming a session." },
  "not-issued-here": { status: 403, hint: "Enrol with a token of this CA." },
  "certificate-revoked": { status: 403, hint: "Enrol with a new token." },
  "renewal-expired": { status: 403, hint: "Enrol with a new token." },
  "renewal-forked": {
    status: 403,
    hint: "Two nodes renew one certificate: hypha-ca revoke NAME, then token --replace for the right one.",
  },
  "renewal-replaced": { status: 403, hint: "Enrol with a new token: the name belongs to a later certificate." },
  "renewed-too-often": { status: 429, hint: "Wait an hour, and renew after two thirds of a certificate's life." },
  "jws-malformed": { status: 400, hint: "Compose the request as docs/ca.md describes it: canonical JSON, one JWS." },
  "jws-algorithm": { status: 400, hint: "Sign with Ed25519: alg is EdDSA." },
  "jws-signature": { status: 403, hint: "Sign with the key of the certificate in x5c." },
  "jws-other-request": { status: 403, hint: "Sign the SHA-256 of the request that is sent." },
  "nonce-unknown": { status: 403, hint: "Fetch a nonce of this CA: GET /.well-known/hypha/nonce." },
  "nonce-used": { status: 403, hint: "Fetch another nonce: each is good for one request." },
  "nonce-expired": { status: 403, hint: "Fetch another nonce: it is good for two minutes." },
  "identity-required": {
    status: 403,
    hint:
      "The name's identity is in hardware: renew with it (POST /.well-known/hypha/enrol), or make a token with --replace.",
  },
  "identity-expired": { status: 403, hint: "Make a new token for the key: hypha-ca token --identity --replace." },
  "list-not-allowed": { status: 400, hint: "Give the newest revocation list of the root, made with its key." },
  "issuer-ended": { status: 503, hint: "Make a new intermediate CA." },
  "signer-unavailable": { status: 503, hint: "Look at the CA's key: the file, or the token that it is in." },
  "busy": { status: 503, hint: "Try again in a few seconds." },
} as const satisfies Record<string, RefusalKind>;

/** What identifies a refusal. */
export type CaRefusalCode = keyof typeof caRefusals;

/** The CA issues nothing. */
export class CaRefused extends Data.TaggedError("CaRefused")<{
  readonly code: CaRefusalCode;
  readonly detail: string;
  /** What helps here, where that is not what helps with the code in general. */
  readonly remedy?: string | undefined;
}> {
  /** What the operator or the node can do. */
  get hint(): string {
    return this.remedy ?? caRefusals[this.code].hint;
  }
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot issue (${this.code}): ${this.detail}`;
  }
}
