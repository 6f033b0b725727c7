/**
 * The lists of a simulated CA, composed in this process: a run could not wait for a thread, which virtual time does not know.
 *
 * @module
 */
import { Result } from "effect";
import type { Signer } from "../../../pki/issue/mod.ts";
import type { CertificateAuthority } from "../../ca/certificate_authority.ts";
import { composeLists } from "../../ca/compose_lists.ts";
import type { RevocationRow } from "../../ca/crl_rows.ts";
import type { ListWork } from "../../ca/list_thread.ts";

/** Composes lists in a thread's place. */
export function listsHere({ issuer, register }: CertificateAuthority, { sign }: Signer) {
  return async ({ added, ...plan }: ListWork) => {
    const sql = "SELECT * FROM revocations WHERE issuer = ? ORDER BY position";
    const known = Result.getOrThrow(register.read((rows) => rows.all<RevocationRow>(sql, plan.issuerId)));
    const entries = [...known, ...added].map(({ position, serial, revoked, reason, not_after: notAfter }) => ({
      ...{ position, serial, date: new Date(revoked), reason, notAfter },
    }));
    return {
      type: "made",
      lists: await composeLists({ ...plan, issuer: { ...issuer, key: { ...issuer.key, sign } }, entries }),
    };
  };
}
