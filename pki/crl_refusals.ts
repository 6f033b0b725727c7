/**
 * The refusals of revocation lists: rows of `refusal_table.ts`.
 *
 * @module
 */
import type { RefusalRow } from "./refusal_row.ts";

type Detail = { readonly detail: string };

/** Rows of the table, by code. */
export const crlRefusals = {
  "crl-malformed": {
    tag: "CrlMalformed",
    phase: "trust files",
    tried: true,
    hint:
      "Look at crls_pem with: openssl crl -in CRLS.pem -noout -text; then generate it again: hypha-certutil gen-crl.",
    message: ({ detail }: Detail) => `Cannot parse revocation list: ${detail}`,
  },
  "crl-signature": {
    tag: "CrlSignature",
    phase: "revocation",
    tried: true,
    hint:
      "Generate the list with the key of the CA it names: hypha-certutil gen-crl. If that was done, trust_pem holds a namesake of that CA with another key.",
    message: ({ issuer, detail }: { readonly issuer: string; readonly detail: string }) =>
      `Cannot accept revocation list of ${issuer}: ${detail}`,
  },
  "crl-not-yet-valid": {
    tag: "CrlNotYetValid",
    phase: "revocation",
    tried: true,
    hint:
      "Check the clocks of this node and of the CA (timedatectl); if the list was dated wrongly, generate it again: hypha-certutil gen-crl.",
    message: ({ issuer, at, thisUpdate }: { readonly issuer: string; readonly at: Date; readonly thisUpdate: Date }) =>
      `Cannot use revocation list of ${issuer} at ${at.toISOString()}: valid from ${thisUpdate.toISOString()}`,
  },
  "crl-expired": {
    tag: "CrlExpired",
    phase: "revocation",
    tried: true,
    hint:
      "Generate a new list and put it into crls_pem on every node: hypha-certutil gen-crl; it is taken up without a restart. Until then everybody below this CA is refused.",
    message: ({ issuer, at, nextUpdate }: { readonly issuer: string; readonly at: Date; readonly nextUpdate: Date }) =>
      `Cannot use revocation list of ${issuer} at ${at.toISOString()}: next update was due ${nextUpdate.toISOString()}`,
  },
  "crl-rollback": {
    tag: "CrlRollback",
    phase: "revocation",
    tried: true,
    hint:
      "An old list was put back, perhaps to undo a revocation: fetch the newest one from the CA, or generate one there (hypha-certutil gen-crl), and find out who put it there.",
    message: ({ issuer, number, seen }: { readonly issuer: string; readonly number: string; readonly seen: string }) =>
      `Cannot accept revocation list of ${issuer}: number ${number} is older than ${seen}`,
  },
  "crl-equivocation": {
    tag: "CrlEquivocation",
    phase: "trust files",
    hint:
      "Find out at the CA which list is right, and generate a list with a higher number there: hypha-certutil gen-crl.",
    message: ({ issuer, number, sha256: [first, other] }: {
      readonly issuer: string;
      readonly number: string;
      /** SHA-256 of both lists, hexadecimal: of the one that was in force first, and of the other. */
      readonly sha256: readonly [first: string, other: string];
    }) =>
      `Cannot accept one list of ${issuer} in place of another with the same number ${number} (SHA-256 ${first} and ${other}): what either revokes is refused`,
  },
} as const satisfies Readonly<Record<string, RefusalRow>>;
