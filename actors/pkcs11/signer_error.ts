/**
 * Why a key in a token cannot be used.
 *
 * @module
 */
import { Data } from "effect";

/** How the public half of a key in a token gets into a file. */
export const publicHalfHint =
  "Write its public half: hypha-certutil csr --key 'pkcs11:…' --common-name x --out-csr KEY.csr; " +
  "openssl req -in KEY.csr -noout -pubkey -out KEY.pub.";

/** What an operator does about each problem. */
const remedies = {
  "uri":
    "Write it as pkcs11:token=LABEL;object=KEY?module-path=/PATH/TO/MODULE.so&pin-source=file:/PATH/TO/PIN (RFC 7512).",
  "package-missing":
    "Install the package koffi, which calls the token's module: npm install koffi; npm install -g koffi where hypha-runtime is installed with -g.",
  "not-supported-here": "Use the programs of the npm package hypha-runtime.",
  "not-permitted": "Give Deno this permission, or start the program on Node.",
  "module-missing": "Correct module-path: the library of the token's vendor, such as /usr/lib/softhsm/libsofthsm2.so.",
  "module-failed": "Look into the log of the token's module; try: pkcs11-tool --module MODULE --list-objects --login.",
  "token-missing":
    "Insert the token, or correct token=, serial= or slot-id=; list tokens: pkcs11-tool --module MODULE --list-slots.",
  "pin-missing": "Add &pin-source=file:/PATH/TO/PIN to the URI.",
  "pin-unreadable": "Correct pin-source: a file whose first line is the PIN, readable by this user.",
  "pin-wrong":
    "Correct the PIN before the next start: it is not tried again, because tokens lock after a few wrong ones.",
  "pin-locked":
    "Where one try is left, log in once with the right PIN, which resets the count: pkcs11-tool --module MODULE --login --list-objects. " +
    "A locked token is unlocked with its security officer's PIN, as its vendor describes. Then start again.",
  "login-failed":
    "The token may have counted a wrong PIN: it is not tried again before the next start. Log in once with the right PIN, which resets the count: " +
    "pkcs11-tool --module MODULE --login --list-objects. Then start again.",
  "key-missing":
    "Correct object= or id=; list keys: pkcs11-tool --list-objects --login. A key that has a certificate comes from the token's backup alone; " +
    "one that is new: hypha-certutil keygen 'pkcs11:…'.",
  "key-ambiguous": "Name the key by id= too.",
  "key-exists": `Choose another object= or id=: a key in a token is not replaced. Or keep it. ${publicHalfHint}`,
  "key-unsupported": "Use a key of type Ed25519, or ECDSA with P-256 or P-384.",
  "signing-refused":
    "Look at the value that the token returned: whether the key may sign, and how many octets the token signs at once. " +
    "It gets all that an Ed25519 key signs, and of what an ECDSA key signs the hash.",
  "signer-unavailable": "Check the token and its connection; signing goes on by itself when it answers again.",
} as const;

/** What identifies the problem. */
export type SignerProblem = keyof typeof remedies;

/** Whether a text from another process is a problem's name. */
export function isSignerProblem(text: string): text is SignerProblem {
  return Object.hasOwn(remedies, text);
}

/** A key in a token cannot be used. */
export class SignerError extends Data.TaggedError("SignerError")<{
  readonly code: SignerProblem;
  /** The key's URI without its query, which may hold the PIN. */
  readonly key: string;
  readonly detail: string;
}> {
  /** What the operator can do. */
  get hint(): string {
    return remedies[this.code];
  }
  override get message(): string {
    return `Cannot use key ${this.key} (${this.code}): ${this.detail}. ${this.hint}`;
  }
}
