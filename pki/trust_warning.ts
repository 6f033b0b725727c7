/**
 * Findings about a trust snapshot that an operator should see before peers are refused.
 *
 * @module
 */
import { isListOf } from "./bundle_revocation.ts";
import { sameBytes } from "./bytes.ts";
import type { Certificate } from "./certificate.ts";
import { type HeldCrl, inForceFrom } from "./crl.ts";
import type { CrlEquivocation, CrlRollback } from "./refusal.ts";
import type { TrustDomain } from "./trust.ts";

const dayMs = 24 * 60 * 60 * 1_000;
/** How long before its next update a list counts as due: a day, or a fifth of its period where that is shorter. */
export const crlDueMs = dayMs;
/** A list for so long is a root's, made by hand with a key that is offline: it counts as due a month before, and is warned about earlier. */
const longPeriodMs = 180 * dayMs;
export const longCrlDueMs = 30 * dayMs;
export const longCrlEndsMs = 120 * dayMs;

/** Whether it is time to make the next list: `soon` where a root's list still has some months. */
export function isCrlDue(
  { thisUpdate, nextUpdate }: { readonly thisUpdate: Date; readonly nextUpdate: Date },
  at: Date,
): "no" | "soon" | "due" {
  const [left, period] = [+nextUpdate - +at, +nextUpdate - +thisUpdate];
  if (period < longPeriodMs) return left < Math.min(crlDueMs, period / 5) ? "due" : "no";
  return left < longCrlDueMs ? "due" : left < longCrlEndsMs ? "soon" : "no";
}

/** One finding. `level` is the log's. */
export interface TrustWarning {
  /** What it is about; never changes. */
  readonly code:
    | "no-lists-configured"
    | "list-ends"
    | "list-due"
    | "list-overdue"
    | "list-expired"
    | "list-not-yet-valid"
    | "list-unverified"
    | "list-lacks-delta"
    | "no-list-for-anchor"
    | "anchor-expired"
    | "anchor-revoked"
    | "anchor-unclear"
    | "anchor-foreign"
    | "no-anchors"
    | "leaf-in-bundle"
    | "crl-rollback"
    | "crl-equivocation";
  /** How serious it is. */
  readonly level: "error" | "warn" | "debug";
  /** The certificate's subject, the list's issuer or the domain's name; undefined where it is about the own bundle as a whole. */
  readonly subject: string | undefined;
  /** For people, in one line. */
  readonly message: string;
  /** The trust domain whose file it is about, and the line in it; undefined: the node's own, or no file's. */
  readonly domain?: string | undefined;
  /** The line of the input that it is about, from 1, where there is one. */
  readonly line?: number | undefined;
  /** The refusal with its data, where a list was not taken in place of another. */
  readonly refusal?: CrlRollback | CrlEquivocation;
}

/**
 * Finds problems of a snapshot, present and near.
 *
 * @param domain A snapshot (its own bundle), or one of its other domains.
 * @param omitted What the snapshot leaves out: certificates that are no CA's, revoked CAs; and the time to compare dates with.
 */
export function readWarnings(
  domain: Omit<TrustDomain, "name"> & { readonly name?: string | undefined },
  omitted: { readonly leaves: readonly Certificate[]; readonly revoked: readonly Certificate[]; readonly at: Date },
): readonly TrustWarning[] {
  const { name, anchors, revocation, policy } = domain;
  const of = (key: string) => name === undefined ? key : `${key} of trust domain ${name}`;
  const warnings: TrustWarning[] = [];
  const add = (code: TrustWarning["code"], subject: string | undefined, message: string, level?: "debug") =>
    warnings.push({ code, level: level ?? "warn", subject, domain: name, message });
  for (const { subject: { text } } of omitted.leaves) {
    add("leaf-in-bundle", text, `${text} is no CA's certificate, so it is no anchor`, "debug");
  }
  for (const { subject: { text } } of omitted.revoked) {
    add("anchor-revoked", text, `${text} is revoked by its issuer's list, so it is no anchor`);
  }
  if (anchors.length === 0) {
    const whose = name === undefined ? "trust_pem" : `trust domain ${name}`;
    add("no-anchors", name, `no CA of ${whose} is known, or all are revoked: all its peers are refused`);
  }
  for (const { subject: { text }, period: { notAfter } } of anchors) {
    if (omitted.at > notAfter) add("anchor-expired", text, `${text} expired ${notAfter.toISOString()}`);
  }
  if (revocation === undefined) {
    add("no-lists-configured", name, `${of("crls_pem")} is not configured: revoked certificates are accepted`);
    return warnings;
  }
  const isRequired = revocation.requirement !== "optional";
  for (const { subject } of isRequired ? anchors : []) {
    if (revocation.lists.some((list) => sameBytes(list.issuer.der, subject.der))) continue;
    add("no-list-for-anchor", subject.text, `no list of ${subject.text}: certificates that it issued are refused`);
  }
  for (const list of revocation.lists) {
    const text = list.issuer.text;
    // Names and keys first: checking a signature of a long list is expensive.
    const named = anchors.filter(({ subject }) => sameBytes(subject.der, list.issuer.der));
    if (!named.some((anchor) => isListOf(list, anchor))) {
      add("list-unverified", text, `the list of ${text} is checked when a peer sends its issuer`, "debug");
    }
    const due = readDates(list, { graceMs: policy.crlGraceMs, at: omitted.at, isRequired });
    if (due !== undefined) add(due[0], text, `the list of ${text} ${due[1]}`);
  }
  return warnings;
}

function readDates(
  list: HeldCrl,
  { graceMs, at, isRequired }: { readonly graceMs: number; readonly at: Date; readonly isRequired: boolean },
): readonly [TrustWarning["code"], string] | undefined {
  const { nextUpdate } = list;
  const thisUpdate = inForceFrom(list);
  const left = nextUpdate.getTime() - at.getTime();
  if (at < thisUpdate) return ["list-not-yet-valid", `is valid from ${thisUpdate.toISOString()} only`];
  if (!isRequired) {
    const text =
      `was due ${nextUpdate.toISOString()}: what was revoked since is not known, and no certificate is refused for that`;
    return left < 0 ? ["list-overdue", text] : undefined;
  }
  if (list.isBase === true && list.delta === undefined) {
    return ["list-lacks-delta", "needs a delta list, and there is none: its certificates are refused"];
  }
  if (left < -graceMs) return ["list-expired", `was due ${nextUpdate.toISOString()}: its certificates are refused`];
  if (left < 0) {
    const end = new Date(nextUpdate.getTime() + graceMs);
    return [
      "list-overdue",
      `was due ${nextUpdate.toISOString()}: its certificates are refused from ${end.toISOString()}`,
    ];
  }
  const due = isCrlDue({ thisUpdate, nextUpdate }, at);
  if (due === "no") return undefined;
  const when = `is due ${nextUpdate.toISOString()}, in ${Math.floor(left / dayMs)} days`;
  return due === "due"
    ? ["list-due", when]
    : ["list-ends", `${when}: its CA makes the next one by hand, and then runs hypha-ca root-list`];
}
