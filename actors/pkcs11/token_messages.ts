/**
 * What the process of a token is asked, and what it answers: one line of JSON each, one question at a time.
 *
 * @module
 */
import type { PinSource, Pkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import type { SignerProblem } from "./signer_error.ts";

/** Begins the lines of the process: a module may print lines of its own. */
export const answerMark = "@token ";
/** The line before the answer of a process that begins to log in with a PIN that is not proven. */
export const loginMark = "@login";
/** Longest answer, in characters: no signature or public key of the supported types has 1 kB. */
export const answerCharactersMax = 16_384;
/** Most octets that are signed at once: a revocation list of a million entries has 53 MB. */
export const signedBytesMax = 64 * 1024 * 1024;
/** A process that is still at work after this is ended by the system, even where its parent is gone; in seconds. */
export const processAlarmSeconds = 30;

/** Algorithms of keys in tokens. */
export type TokenKeyAlgorithm = "ed25519" | "ecdsa-p256" | "ecdsa-p384";

/** A key within a token. */
export interface KeySelector {
  readonly object?: string | undefined;
  /** Hexadecimal. */
  readonly id?: string | undefined;
}

/** Opens a session: the first question. */
export interface OpenToken {
  readonly op: "open";
  readonly module: string;
  readonly token: Pkcs11Uri["token"];
  readonly pin: PinSource | undefined;
  /** Whether this PIN has logged in before: a login that fails has another reason then. */
  readonly isPinProven?: boolean;
}

/** Everything that is asked of an open token. Octets are in base64. */
export type TokenRequest =
  | { readonly op: "find"; readonly key: KeySelector }
  | { readonly op: "sign"; readonly key: KeySelector; readonly data: string }
  | { readonly op: "generate"; readonly key: KeySelector; readonly algorithm: TokenKeyAlgorithm };

/** The answer: a public key (DER of the SubjectPublicKeyInfo) or a signature as X.509 has it, or the problem. */
export type TokenAnswer =
  | { readonly bytes: string }
  | { readonly problem: SignerProblem; readonly detail: string };
