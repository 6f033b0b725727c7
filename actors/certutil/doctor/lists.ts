/**
 * The doctor on a node's revocation lists (specification: "CRL Issues").
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../../pki/bytes.ts";
import type { Certificate } from "../../../pki/certificate.ts";
import { isSignedBy, parseCrl, type RevocationList } from "../../../pki/crl.ts";
import { parsePem } from "../../../pki/pem.ts";
import { isCrlDue } from "../../../pki/trust_warning.ts";
import { daysUntil, doubtful, type Finding, fine, wrong } from "./finding.ts";
import type { NodeFile } from "./node_file.ts";

/** From this many days before its next update on, a list counts as due: one for a few days in its last third, a root's list earlier. */
export const dueDays = 3;

const make = "hypha-certutil gen-crl --ca-cert CA-CERT.pem --ca-key CA-KEY.pem --out-crl";

/** Examines format, dates and whose the lists are. */
export function examineLists(
  { path, text }: Pick<NodeFile, "path" | "text">,
  { bundle, at, graceMs }: { readonly bundle: readonly Certificate[]; readonly at: Date; readonly graceMs: number },
): readonly Finding[] {
  const lists = readCrls(path, text);
  if (!Array.isArray(lists)) return [lists as Finding];
  const findings = (lists as readonly RevocationList[]).flatMap((list) => [
    dateFinding(path, list, { at, graceMs }),
    signerFinding(path, list, bundle),
  ]);
  return [fine("crl-format", path, `${lists.length} revocation lists`), ...findings];
}

function readCrls(path: string, text: string): readonly RevocationList[] | Finding {
  const refuse = (detail: string) => wrong("crl-format", path, detail, `${make} ${path}`);
  const blocks = parsePem(text);
  if (Result.isFailure(blocks)) return refuse(`line ${blocks.failure.line}: ${blocks.failure.detail}`);
  const lists: RevocationList[] = [];
  for (const { label, der, line } of blocks.success) {
    if (label !== "X509 CRL" && label !== "CRL") return refuse(`line ${line}: a block ${label}`);
    const parsed = parseCrl(der);
    if (Result.isFailure(parsed)) return refuse(`line ${line}: ${parsed.failure.detail}`);
    lists.push(parsed.success);
  }
  return lists.length === 0 ? refuse("there is no revocation list in it") : lists;
}

/** How old a list is, when the next one is due, and how long that is from now. */
export function dateFinding(
  path: string,
  { issuer, thisUpdate, nextUpdate }: Pick<RevocationList, "issuer" | "thisUpdate" | "nextUpdate">,
  { at, graceMs }: { readonly at: Date; readonly graceMs: number },
): Finding {
  const age = `the list of ${issuer.text} is ${Math.max(0, -daysUntil(thisUpdate, at) - 1)} days old`;
  const days = daysUntil(nextUpdate, at);
  const due = `due at ${nextUpdate.toISOString()}${days < 0 ? "" : `, in ${days} days`}`;
  if (thisUpdate > at) {
    return wrong(
      "crl-age",
      path,
      `the list of ${issuer.text} is of tomorrow`,
      "check this machine's clock: timedatectl",
    );
  }
  if (at.getTime() > nextUpdate.getTime() + graceMs) {
    return wrong("crl-age", path, `${age}, was ${due}, and the grace is over`, `${make} ${path}`);
  }
  if (at > nextUpdate) {
    return doubtful("crl-age", path, `${age}, was ${due}, and lives by its grace`, `${make} ${path}`);
  }
  const dueMs = Math.min(dueDays * 86_400_000, (+nextUpdate - +thisUpdate) / 3);
  if (+nextUpdate - +at < dueMs || isCrlDue({ thisUpdate, nextUpdate }, at) !== "no") {
    return doubtful("crl-age", path, `${age}, ${due}`, `${make} ${path}`);
  }
  return fine("crl-age", path, `${age}, ${due}`);
}

function signerFinding(path: string, list: RevocationList, bundle: readonly Certificate[]): Finding {
  const named = bundle.filter(({ subject }) => sameBytes(subject.der, list.issuer.der));
  if (named.some((ca) => isSignedBy(list, ca))) return fine("crl-issuer", path, `signed by ${list.issuer.text}`);
  if (named.length > 0) {
    return wrong("crl-issuer", path, `${list.issuer.text} did not sign the list in its name`, `${make} ${path}`);
  }
  const mend = "leave it out, or put its CA into the trust bundle: hypha-certutil bundle";
  return doubtful("crl-issuer", path, `the trust bundle has no CA ${list.issuer.text}`, mend);
}
