/**
 * Does the leaf carry the name that the caller looked for (RFC 9525)? Nodes look for PeerIDs and do not use this check.
 *
 * @module
 */
import * as Result from "effect/Result";
import { labelOf } from "../certificate.ts";
import { NameMismatch } from "../refusal.ts";
import type { Proof } from "./proof.ts";
import type { WellFormed } from "./well_formed.ts";

/** The name looked for: a host name (A-labels), an address in its usual notation, or a mailbox. */
export interface ExpectedName {
  /** The kind of name. */
  readonly type: "dns" | "ip" | "email";
  /** The name as the caller wrote it. */
  readonly value: string;
  /**
   * Whether a domain is a public suffix, under which everyone can register: a wildcard directly below such a domain matches
   * nothing. Without this function only top-level domains count as public suffixes.
   */
  readonly isPublicSuffix?: (domain: string) => boolean;
}

/** Proof that the leaf carries the expected name. Only {@linkcode checkName} makes one. */
export interface Named extends Proof<"Named"> {
  /** The name, as the caller wrote it. */
  readonly name: string;
}

/**
 * Checks that one of the leaf's alternative names is the expected one. The common name does not count (RFC 9525 §2). A
 * wildcard matches exactly one whole label, the leftmost, and no address.
 *
 * @returns Proof of the check, or `name-mismatch`.
 */
export function checkName({ leaf }: WellFormed, expected: ExpectedName): Result.Result<Named, NameMismatch> {
  const same = leaf.subjectAltNames.some(({ type, value }) => {
    if (type !== expected.type) return false;
    if (type === "dns") return isSameHost(value, expected);
    return type === "ip" ? addressKey(value) === addressKey(expected.value) : isSameMailbox(value, expected.value);
  });
  if (same) return Result.succeed({ name: expected.value } as unknown as Named);
  const names = leaf.subjectAltNames.map(({ type, value }) => `${type}:${value}`);
  return Result.fail(
    new NameMismatch({ certificate: labelOf(leaf), expected: `${expected.type}:${expected.value}`, names }),
  );
}

const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const hostName = new RegExp(`^(?=.{1,253}$)${label}(?:\\.${label})*$`);

function isSameHost(presented: string, { value, isPublicSuffix }: ExpectedName): boolean {
  const wanted = value.toLowerCase().replace(/\.$/, "");
  const name = presented.toLowerCase();
  if (!hostName.test(wanted)) return false;
  if (!name.startsWith("*.")) return name === wanted && hostName.test(name);
  const base = name.slice(2);
  const suffix = !base.includes(".") || isPublicSuffix?.(base) === true;
  if (!hostName.test(base) || suffix) return false;
  const dot = wanted.indexOf(".");
  return dot > 0 && wanted.slice(dot + 1) === base;
}

/** One text for all notations of an address; the value itself where it is not an address. */
function addressKey(value: string): string {
  if (/^\d+(\.\d+){3}$/.test(value)) return value;
  const lower = value.toLowerCase();
  if (!/^[0-9a-f:.]+$/.test(lower)) return value;
  const groups = (part: string) =>
    part === "" ? [] : part.split(":").flatMap((group) => {
      const four = group.split(".").map(Number);
      if (four.length !== 4) return [parseInt(group, 16)];
      return [four[0]! * 256 + four[1]!, four[2]! * 256 + four[3]!];
    });
  const [head, tail] = lower.split("::") as [string, string?];
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  return [...left, ...Array.from({ length: zeros }, () => 0), ...right].join(":");
}

/** The local part keeps its letter case (RFC 5280 §7.5). */
function isSameMailbox(presented: string, wanted: string): boolean {
  const split = (address: string) => {
    const at = address.lastIndexOf("@");
    return [address.slice(0, at), address.slice(at + 1).toLowerCase()] as const;
  };
  const [[local, host], [wantedLocal, wantedHost]] = [split(presented), split(wanted)];
  return local !== "" && local === wantedLocal && host === wantedHost;
}
