/**
 * Reports of the trust store: what it read, and the warnings that time brings, each once.
 *
 * @module
 */
import { ownDomain } from "../../pki/crl_marks.ts";
import { crlsOf, domainsOf } from "../../pki/trust.ts";
import { readWarnings, type TrustWarning } from "../../pki/trust_warning.ts";
import type { LoadError } from "../files/load_error.ts";
import type { TrustLoaded } from "./load_trust.ts";
import type { Ports } from "../runtime/ports.ts";
import type { TrustStoreContext } from "./trust_store.ts";

/** How often the store checks the dates of the lists for warnings, in milliseconds. */
export const reviewEveryMs = 60_000;

/** Whether a list's grace ended since the snapshot was announced, in any trust domain; also where the clock was ahead then, and was set right. */
export function ranOut({ snapshot, announcedAt, ports }: TrustStoreContext): boolean {
  const now = ports.now();
  return (snapshot === undefined ? [] : domainsOf(snapshot)).some(({ revocation, policy }) =>
    (revocation?.requirement === "optional" ? [] : revocation?.lists ?? []).some(({ nextUpdate }) => {
      const end = nextUpdate.getTime() + policy.crlGraceMs;
      return (announcedAt <= end || announcedAt > now) && end < now;
    })
  );
}

/** Reports the warnings that are new, and returns all current ones. */
export function warn({ warned, ports }: TrustStoreContext, warnings: readonly TrustWarning[]): ReadonlySet<string> {
  const keyOf = ({ code, domain, subject }: TrustWarning) => `${code} ${domain ?? ownDomain} ${subject ?? ""}`;
  for (const warning of warnings.filter((each) => !warned.has(keyOf(each)))) {
    const { code, level, subject, message, refusal } = warning;
    ports.report({ level, event: "trust.warning", message, fields: { code, subject, ...dataOf(refusal) } });
  }
  return new Set(warnings.map(keyOf));
}

/** What a refusal is about: issuer and number of a list, with the number or the hashes that it was compared with. */
function dataOf(refusal: TrustWarning["refusal"]): Readonly<Record<string, unknown>> {
  if (refusal === undefined) return {};
  const { issuer, number } = refusal;
  return refusal.code === "crl-rollback"
    ? { issuer, number, seen: refusal.seen }
    : { issuer, number, sha256: refusal.sha256 };
}

/** Whether the dates are to be looked at for warnings. The clock may have been ahead at the last look, and was set right. */
export function isReviewDue({ ports, reviewedAt }: TrustStoreContext): boolean {
  return Math.abs(ports.now() - reviewedAt) >= reviewEveryMs;
}

/** Warnings that time brings. Those about content that did not get into the snapshot were reported when it was loaded. */
export function review(context: TrustStoreContext): Partial<TrustStoreContext> {
  if (context.snapshot === undefined || !isReviewDue(context)) return {};
  const now = context.ports.now();
  const loadedNow = { leaves: [], revoked: [], at: new Date(now) };
  const warnings = domainsOf(context.snapshot).flatMap((domain) => readWarnings(domain, loadedNow));
  const lasting = [...context.warned].filter((key) =>
    /^(leaf-in-bundle|anchor-(revoked|unclear|foreign)|crl-\w+) /.test(key)
  );
  return { warned: new Set([...warn(context, warnings), ...lasting]), reviewedAt: now };
}

export function reportLoaded(
  { ports, paths }: TrustStoreContext,
  { snapshot, broken, reports, sources }: TrustLoaded,
): void {
  const { generation } = snapshot;
  for (const report of reports) ports.report(report);
  const anchors = domainsOf(snapshot).flatMap((domain) => domain.anchors);
  const lists = crlsOf(snapshot).length;
  ports.report({
    level: "info",
    event: "trust.loaded",
    message: `Loaded trust snapshot ${generation}: ${anchors.length} anchors, ${lists} revocation lists`,
    fields: { generation, anchors: anchors.length, lists, trustPem: paths.trustPem, crlsPem: paths.crlsPem },
  });
  for (const error of broken) {
    const isKept = sources.bundles.has(error.file) || sources.lists.has(error.file);
    reportKept(ports, `${isKept ? "Keeping the previous content of" : "Going on without"} ${error.file}`, error);
  }
}

export function reportBroken({ ports, snapshot }: TrustStoreContext, error: unknown): void {
  reportKept(ports, `Keeping trust snapshot ${snapshot?.generation ?? 0}`, error);
}

function reportKept(ports: Ports, kept: string, error: unknown): void {
  const place = error instanceof Object && "file" in error
    ? { file: (error as LoadError).file, line: (error as LoadError).line, problem: (error as LoadError).problem }
    : {};
  const message = error instanceof Error ? error.message : String(error);
  ports.report({
    level: "warn",
    event: "trust.broken",
    message: `${kept} until the file is corrected: ${message}`,
    fields: place,
  });
}
