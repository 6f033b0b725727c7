/**
 * The sequence of the trust bundle: it grows with each change of the bundle's content (SPIFFE Trust Domain and Bundle, §4.1.1).
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { Certificate } from "../../pki/certificate.ts";
import type { RegisterRows } from "./register.ts";

/**
 * The sequence of a bundle with this content. For content that is new it is max(last + 1, seconds since 1970): also the register of
 * a backup gives none that was given before.
 */
export function bundleSequence(rows: RegisterRows, authorities: readonly Certificate[], at: Date): number {
  const fact = (name: string) => rows.first<{ value: string }>("SELECT value FROM facts WHERE name = ?", name)?.value;
  const fingerprints = authorities.map(({ fingerprint }) => fingerprint).toSorted();
  const content = createHash("sha256").update(fingerprints.join()).digest("hex");
  const last = Number(fact("bundle_sequence") ?? "0");
  if (fact("bundle_content") === content) return last;
  const next = Math.max(last + 1, Math.floor(+at / 1_000));
  const enter = "INSERT OR REPLACE INTO facts VALUES (?, ?)";
  rows.change(enter, "bundle_content", content);
  rows.change(enter, "bundle_sequence", String(next));
  return next;
}
