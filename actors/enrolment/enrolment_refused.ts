/**
 * Why a node gets no certificate, with the command that helps.
 *
 * @module
 */
import { Data } from "effect";
import type { SignerProblem } from "../pkcs11/signer_error.ts";
import type { RefusalCode } from "../../pki/refusal.ts";

/** Why no certificate came. Codes of the CA (`docs/ca.md`) are passed on; the others are this node's own. */
export type EnrolmentCode = string;

interface Kind {
  readonly hint: string;
  /** Whether asking again can succeed. */
  readonly again: "later" | "never";
}

/** The codes that a node knows. An unknown code of a CA is asked again. */
export const enrolmentCodes = {
  "ca-unreachable": { hint: "Check that the CA runs and that its URL is right: curl -k URL/healthz", again: "later" },
  "ca-not-trusted": {
    hint: "Something else answers at the CA's address: check the name, the proxy and the CA's certificate.",
    again: "later",
  },
  "ca-foreign": {
    hint: "This CA is not the one that the token is from: check the address, or make a token there: hypha-ca token",
    again: "never",
  },
  "answer-malformed": { hint: "Look at what answers there: curl -k URL/.well-known/est/cacerts", again: "later" },
  "own-certificate-refused": {
    hint: "Peers would refuse the certificate: compare trust_pem with the CA's: hypha-ca status",
    again: "later",
  },
  "lists-missing": { hint: "The node fetches the CA's revocation lists first.", again: "later" },
  "files-unwritable": { hint: "Give the folder to the node's user.", again: "later" },
  "files-unreadable": { hint: "Let the node's user read the file.", again: "later" },
  "key-unreadable": { hint: "Put the node's key in its place, or join again with a new token.", again: "never" },
  "identity-missing": {
    hint: "Put it there, or join with a token for the key in hardware: hypha-ca token --identity",
    again: "never",
  },
  "identity-key-other": {
    hint: "Correct identity_key or identity_cert_pem, or join with a token for this key: hypha-ca token --identity",
    again: "never",
  },
  "identity-key-unusable": { hint: "Use a key of type Ed25519: hypha-certutil keygen 'pkcs11:…'", again: "never" },
  "identity-expired": {
    hint:
      "Make a token for the same key, move identity_cert_pem away and join again: hypha-ca token --identity --replace",
    again: "never",
  },
  "identity-required": {
    hint: "Set membership.identity_key, or join with a token: hypha-ca token --replace",
    again: "never",
  },
  "token-not-of-identity": { hint: "Make one for a key in hardware: hypha-ca token --identity", again: "never" },
  "token-malformed": { hint: "Copy the whole token again, or make a new one: hypha-ca token", again: "never" },
  "token-foreign": { hint: "Make a token at this CA: hypha-ca token", again: "never" },
  "token-unknown": {
    hint: "The token was changed on its way, or is void. Make a new one: hypha-ca token",
    again: "never",
  },
  "token-expired": { hint: "Make a new one: hypha-ca token", again: "never" },
  "token-used": {
    hint:
      "It belongs to another key. Find out who used it (hypha-ca nodes), then make a new one: hypha-ca token --replace",
    again: "never",
  },
  "token-role": {
    hint: "Make a token for this role, with --replace where the name is the same: hypha-ca token --role ROLE",
    again: "never",
  },
  "name-taken": {
    hint: "Revoke the certificate (hypha-ca revoke NAME), or make a token with --replace.",
    again: "never",
  },
  "name-locked": {
    hint:
      "Where two nodes have one key, decide which is the right one: hypha-ca revoke NAME, then token --replace. Where a revocation is not signed, repeat it",
    again: "never",
  },
  "csr-not-allowed": { hint: "Make a new key: remove the node's state and join with a new token.", again: "never" },
  "not-issued-here": { hint: "Join with a token of this CA: hypha-ca token", again: "never" },
  "certificate-revoked": { hint: "Join with a new token: hypha-ca token", again: "never" },
  "renewal-expired": { hint: "Join with a new token: hypha-ca token --replace", again: "never" },
  "renewal-forked": {
    hint: "Two nodes have this certificate: hypha-ca revoke NAME, then token --replace for the right one",
    again: "never",
  },
  "renewal-replaced": {
    hint: "The name belongs to a later certificate. Join with a new token: hypha-ca token",
    again: "never",
  },
} as const satisfies Record<string, Kind>;

/** Problems of a key in hardware that pass with the operator's help alone. What to do is in the detail. */
const hardwareMistakes: ReadonlySet<string> = new Set<SignerProblem>([
  "uri",
  "package-missing",
  "not-supported-here",
  "not-permitted",
  "pin-missing",
  "pin-wrong",
  "pin-locked",
  "login-failed",
  "key-missing",
  "key-ambiguous",
  "key-unsupported",
]);

/** No certificate came. */
export class EnrolmentRefused extends Data.TaggedError("EnrolmentRefused")<{
  readonly code: EnrolmentCode;
  /** What happened, in one line. */
  readonly detail: string;
  /** How long the CA wants to be left alone, in milliseconds. */
  readonly retryAfterMs?: number;
}> {
  /** What helps; empty where this node does not know the code. */
  get hint(): string {
    return kindOf(this.code)?.hint ?? "";
  }
  /** Whether asking again can succeed. */
  get again(): "later" | "never" {
    return kindOf(this.code)?.again ?? (hardwareMistakes.has(this.code) ? "never" : "later");
  }
  /** What happened and what helps, in one line. */
  override get message(): string {
    return `Cannot get certificate (${this.code}): ${this.detail}${this.hint === "" ? "" : `. ${this.hint}`}`;
  }
}

function kindOf(code: string): Kind | undefined {
  return Object.hasOwn(enrolmentCodes, code) ? (enrolmentCodes as Readonly<Record<string, Kind>>)[code] : undefined;
}

/** Whether a path is refused for want of a revocation list, not for what one says: the node fetches lists meanwhile. */
export const wantsList = (code: RefusalCode): boolean => code === "revocation-unknown" || code.startsWith("crl-");

/** A refusal of this node. */
export function enrolmentRefused(code: keyof typeof enrolmentCodes, detail: string): EnrolmentRefused {
  return new EnrolmentRefused({ code, detail });
}

/** The failure as the typed refusal, where an Effect died too. */
export function refusalOf(error: unknown): EnrolmentRefused {
  if (error instanceof EnrolmentRefused) return error;
  return new EnrolmentRefused({ code: "internal", detail: error instanceof Error ? error.message : String(error) });
}
