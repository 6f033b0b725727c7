/**
 * The key of a node's identity in hardware, as enrolment uses it: opened, used and closed, so that no process holds the PIN between
 * two renewals.
 *
 * @module
 */
import { Effect } from "effect";
import { IssueError, type Signer } from "../../pki/issue/mod.ts";
import { openPkcs11Signer, type TokenOptions } from "../pkcs11/pkcs11_signer.ts";
import { SignerError } from "../pkcs11/signer_error.ts";
import { EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** The port: {@linkcode tokenKey}, or a simulated one. */
export interface HardwareKey {
  /** Lets a task use the key. */
  readonly use: <A>(task: (signer: Signer) => Promise<A>) => Effect.Effect<A, EnrolmentRefused>;
}

/**
 * A key in a PKCS#11 token.
 *
 * @param uri RFC 7512.
 */
export function tokenKey(uri: string, options?: TokenOptions): HardwareKey {
  return {
    use: (task) =>
      Effect.tryPromise({
        try: async () => {
          const signer = await openPkcs11Signer(uri, options);
          try {
            return await task(signer);
          } finally {
            signer.end();
          }
        },
        catch: refusalOfKey,
      }),
  };
}

/** What keeps a key from signing, with what to do. */
export function refusalOfKey(error: unknown): EnrolmentRefused {
  if (error instanceof EnrolmentRefused) return error;
  if (error instanceof SignerError) {
    const { code, key, detail, hint } = error;
    return new EnrolmentRefused({ code, detail: `identity_key ${key}: ${detail}. ${hint.replace(/\.$/, "")}` });
  }
  if (error instanceof IssueError) return enrolmentRefused("identity-key-unusable", error.detail);
  return enrolmentRefused("identity-key-unusable", error instanceof Error ? error.message : String(error));
}
