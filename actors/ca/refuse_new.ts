/**
 * Why a token gives no certificate now.
 *
 * @module
 */
import { CaRefused } from "./ca_refused.ts";
import { isCompromisedKey } from "./certificate_rows.ts";
import type { RegisterRows } from "./register.ts";
import { refuseTaken, type TokenRow } from "./token_rows.ts";

/** The reason; undefined where it gives one. `key` is the SHA-256 of the SPKI. */
export function refuseNew(
  rows: RegisterRows,
  { row, key }: { readonly row: TokenRow; readonly key: string },
  at: Date,
): CaRefused | undefined {
  const taken = row.replaces === 1 ? undefined : refuseTaken(rows, row, at);
  if (taken !== undefined || !isCompromisedKey(rows, key)) return taken;
  return new CaRefused({ code: "csr-not-allowed", detail: "the request's key is compromised" });
}
