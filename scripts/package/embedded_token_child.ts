/**
 * `actors/pkcs11/start_token_child.ts` of the single executable: koffi is a native module, which it has no place for.
 *
 * @module
 */
import { SignerError } from "../../actors/pkcs11/signer_error.ts";

/** Refuses. */
export function startTokenChild(): never {
  throw new SignerError({
    code: "not-supported-here",
    key: "",
    detail: "the single executable cannot load the package koffi",
  });
}
