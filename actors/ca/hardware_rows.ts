/**
 * Identities in hardware, in the register.
 *
 * The key in hardware has a certificate of its own, `spiffe://DOMAIN/identity/NAME`, whose token names the role. The certificates that
 * the node serves TLS with are those of `spiffe://DOMAIN/ROLE/NAME`, issued for the identity's signature. A later token for that name
 * without hardware ends this.
 *
 * @module
 */
import { type CertificateRow, type ListedRow, listedWhere, pageRows } from "./certificate_rows.ts";
import type { RegisterRows } from "./register.ts";

/** The part of a SPIFFE ID that stands where a role stands. */
export const identityPart = "identity";

/** The SPIFFE ID of an identity in hardware. */
export function hardwareIdentity(domain: string, name: string): string {
  return `spiffe://${domain}/${identityPart}/${name}`;
}

/** Whether a SPIFFE ID is that of an identity in hardware. */
export function isHardwareIdentity(identity: string): boolean {
  return partsOf(identity)?.role === identityPart;
}

function partsOf(
  identity: string,
): { readonly domain: string; readonly role: string; readonly name: string } | undefined {
  const [, domain, role, name] = /^spiffe:\/\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(identity) ?? [];
  return domain === undefined || role === undefined || name === undefined ? undefined : { domain, role, name };
}

/** The newest certificate that a token of an identity brought, of those that name a role. */
const newestOfTokens = `
SELECT max(c.rowid) AS newest FROM tokens t CROSS JOIN certificates c ON c.token = t.id WHERE t.identity = ?`;

const newest = (rows: RegisterRows, more: string, ...values: readonly string[]) =>
  rows.first<{ readonly newest: number | null }>(`${newestOfTokens}${more}`, ...values)?.newest ?? 0;

/**
 * The identity in hardware that the certificates of a node's SPIFFE ID need; undefined where they need none. Certificates of such a
 * name are not renewed with the key of TLS.
 */
export function boundTo(rows: RegisterRows, identity: string): string | undefined {
  const parts = partsOf(identity);
  if (parts === undefined || parts.role === identityPart) return undefined;
  const hardware = hardwareIdentity(parts.domain, parts.name);
  const bound = newest(rows, " AND t.role = ?", hardware, parts.role);
  return bound > newest(rows, "", identity) ? hardware : undefined;
}

/** The role that the token of an identity's first certificate names; a renewed one has it through those that it renews. */
function tokenRoleOf(rows: RegisterRows, fingerprint: string): string | undefined {
  const sql = `
WITH RECURSIVE line (predecessor, token) AS (
  SELECT predecessor, token FROM certificates WHERE fingerprint = ?
  UNION ALL SELECT c.predecessor, c.token FROM line CROSS JOIN certificates c ON c.fingerprint = line.predecessor
) SELECT t.role FROM line CROSS JOIN tokens t ON t.id = line.token`;
  return rows.first<{ readonly role: string }>(sql, fingerprint)?.role;
}

/** The SPIFFE ID that an identity in hardware gets TLS certificates for; undefined where a later token has ended this. */
export function tlsIdentityOf(
  rows: RegisterRows,
  { identity, fingerprint }: Pick<CertificateRow, "identity" | "fingerprint">,
): { readonly identity: string; readonly role: string } | undefined {
  const role = tokenRoleOf(rows, fingerprint);
  const parts = partsOf(identity);
  if (role === undefined || parts === undefined) return undefined;
  const named = `spiffe://${parts.domain}/${role}/${parts.name}`;
  return boundTo(rows, named) === identity ? { identity: named, role } : undefined;
}

/** The identities that are revoked together: one in hardware, and the nodes' names that it gets certificates for. */
export function linkedIdentities(rows: RegisterRows, identity: string): readonly string[] {
  const hardware = isHardwareIdentity(identity) ? identity : boundTo(rows, identity);
  const parts = partsOf(hardware ?? "");
  if (hardware === undefined || parts === undefined) return [identity];
  const sql = "SELECT DISTINCT role FROM tokens WHERE identity = ?";
  const named = rows.all<{ readonly role: string }>(sql, hardware).map(({ role }) =>
    `spiffe://${parts.domain}/${role}/${parts.name}`
  );
  return [hardware, ...named.filter((each) => boundTo(rows, each) === hardware)];
}

/** TLS certificates that are in force and that an identity's certificate, or one that renews it, got, {@linkcode pageRows} of them. */
export function enrolledBy(
  rows: RegisterRows,
  { identity, rowid, fingerprint }: ListedRow,
  at: Date,
): readonly ListedRow[] {
  const parts = partsOf(identity);
  if (parts?.role !== identityPart) return [];
  const role = tokenRoleOf(rows, fingerprint);
  if (role === undefined) return [];
  const next = "SELECT min(rowid) AS next FROM certificates WHERE identity = ? AND rowid > ? AND token IS NOT NULL";
  const end = rows.first<{ readonly next: number | null }>(next, identity, rowid)?.next ?? Number.MAX_SAFE_INTEGER;
  return rows.all(
    `${listedWhere} c.identity = ? AND c.rowid > ? AND c.rowid < ? AND c.token IS NULL AND c.predecessor IS NULL
    AND c.not_after >= ? AND r.revoked IS NULL ORDER BY c.rowid DESC LIMIT ${pageRows}`,
    `spiffe://${parts.domain}/${role}/${parts.name}`,
    rowid,
    end,
    +at,
  );
}
