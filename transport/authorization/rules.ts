/**
 * An operator's rules, from their text to {@linkcode Rule}s. Rules come from a configuration; nothing here reads files.
 *
 * A pattern names members:
 *
 * - `spiffe://partner.example/scheduler/**`: the one URI name of their certificates. `*` stands for exactly one whole segment, a
 *   last `**` for the rest, one segment or more. Domains compare in lower case, segments exactly. A name that the SPIFFE-ID
 *   specification does not spell (an encoded segment, `.` or `..`) fits no pattern.
 * - `peer:12D3KooW…`: the PeerID of their key.
 * - `name:worker-07.acme.local`: their certificate's name. Each CA that is trusted can give that name.
 *
 * No regular expression is made of a pattern. A member is compared once with each pattern that is not exact, in time linear in
 * the pattern; exact ones are looked up.
 *
 * @module
 */
import { isPeerId } from "../../pki/peer_id.ts";
import { type Act, rowOf } from "./acts.ts";
import type { ActingMember, Rule } from "./authorize.ts";

/** A rule as an operator writes it. */
export interface RuleText {
  readonly effect: "deny" | "allow";
  readonly acts: readonly Act[];
  /** Patterns that {@linkcode readPattern} accepts. */
  readonly peers: readonly string[];
}

/** Most rules. Each act of a member looks at those of the act. */
export const rulesMax = 1_000;
/** Most patterns in one rule. */
export const patternsMax = 1_000;
/** Longest pattern, in characters: the longest SPIFFE ID (SPIFFE-ID specification, §2.3). */
export const patternCharactersMax = 2_048;

/** A pattern of names: `*` among the segments stands for one. */
interface NamePattern {
  readonly type: "spiffe";
  readonly domain: string;
  readonly segments: readonly string[];
  /** Whether one segment or more may follow. */
  readonly isOpen: boolean;
}

/** What a pattern names. */
export type Pattern =
  | NamePattern
  | { readonly type: "peer"; readonly peer: string }
  | { readonly type: "name"; readonly name: string };

/**
 * Reads a pattern.
 *
 * @returns The pattern, or a complaint that continues the sentence "the pattern …".
 */
export function readPattern(text: string): Pattern | string {
  if (text.length > patternCharactersMax) return `is longer than ${patternCharactersMax} characters`;
  if (text.startsWith("peer:")) {
    const peer = text.slice("peer:".length);
    return isPeerId(peer) ? { type: "peer", peer } : "has no PeerID behind peer: (base58btc text, as 12D3KooW…)";
  }
  if (text.startsWith("name:")) {
    const name = text.slice("name:".length);
    return name === "" ? "has no name behind name:" : { type: "name", name };
  }
  if (text.startsWith(scheme)) return readNamePattern(text.slice(scheme.length));
  return "does not begin with spiffe://, peer: or name:";
}

const scheme = "spiffe://";
const domainSpelling = /^[a-z0-9._-]{1,255}$/;
const segmentSpelling = /^[a-zA-Z0-9._-]+$/;

/** Whether a segment is spelt as SPIFFE-ID §2.2 has it. Readers that resolve `.` and `..` would find another name. */
const isSegment = (text: string): boolean => segmentSpelling.test(text) && text !== "." && text !== "..";

function readNamePattern(text: string): NamePattern | string {
  const [domainText = "", ...segments] = text.split("/");
  const domain = domainText.toLowerCase();
  if (domainText.includes("*")) return "has a * in its trust domain, which must be named";
  if (!domainSpelling.test(domain)) return "has no trust domain behind spiffe://";
  if (segments.length === 0) {
    return "names a trust domain alone: write /** behind it for all of its members with a URI name";
  }
  const isOpen = segments[segments.length - 1] === "**";
  const fixed = isOpen ? segments.slice(0, -1) : segments;
  for (const segment of fixed) {
    if (segment === "*") continue;
    if (segment === "**") return "has ** before its end";
    if (segment.includes("*")) return `has ${JSON.stringify(segment.slice(0, 40))}: a * stands for a whole segment`;
    if (segment === "") return "has an empty segment";
    if (!isSegment(segment)) return `has the segment ${JSON.stringify(segment.slice(0, 40))}, which no name has`;
  }
  return { type: "spiffe", domain, segments: fixed, isOpen };
}

/**
 * Whether a rule that allows an act would be without effect, or worse: the act is closed to rules. A complaint that continues the
 * sentence "the act …", or undefined.
 */
export function whyNotAllowed(act: Act): string | undefined {
  return rowOf(act).closed === true
    ? "cannot be allowed by a rule: its role exists for it (a rule may deny it)"
    : undefined;
}

/**
 * Makes rules of their texts, which `readPattern` and `whyNotAllowed` accepted.
 *
 * Throws where a pattern is bad: its callers check an operator's texts before, and report them with their place.
 */
export function makeRules(texts: readonly RuleText[]): readonly Rule[] {
  return texts.map(({ effect, acts, peers }, index) => ({
    label: `authorization.rules[${index}]`,
    effect,
    acts,
    fits: makeFits(peers),
  }));
}

/** Patterns of names with a wildcard are tried one by one; all others are looked up. */
function makeFits(peers: readonly string[]): Rule["fits"] {
  const exact = { peers: new Set<string>(), names: new Set<string>(), spiffe: new Set<string>() };
  const wild: NamePattern[] = [];
  for (const text of peers) {
    const pattern = readPattern(text);
    if (typeof pattern === "string") throw new Error(`Cannot make rule: the pattern ${text.slice(0, 80)} ${pattern}`);
    if (pattern.type === "peer") exact.peers.add(pattern.peer);
    else if (pattern.type === "name") exact.names.add(pattern.name);
    else if (pattern.isOpen || pattern.segments.includes("*")) wild.push(pattern);
    else exact.spiffe.add(keyOf(pattern.domain, pattern.segments));
  }
  return (member) =>
    exact.peers.has(member.peer) || exact.names.has(member.name) ||
    spiffeNamesOf(member).some(({ domain, segments, key }) =>
      exact.spiffe.has(key) || wild.some((pattern) => fitsName(pattern, domain, segments))
    );
}

function fitsName({ domain, segments: wanted, isOpen }: NamePattern, of: string, segments: readonly string[]): boolean {
  if (domain !== of) return false;
  const isLong = isOpen ? segments.length > wanted.length : segments.length === wanted.length;
  return isLong && wanted.every((segment, at) => segment === "*" || segment === segments[at]);
}

/** A certificate's URI name, split. */
interface SpiffeName {
  readonly domain: string;
  readonly segments: readonly string[];
  readonly key: string;
}

const keyOf = (domain: string, segments: readonly string[]): string => `${domain}/${segments.join("/")}`;

/** Names split so far: an identity lives as long as its gate, and each of its acts asks every rule. */
const splitNames = new WeakMap<ActingMember, readonly SpiffeName[]>();

function spiffeNamesOf(member: ActingMember): readonly SpiffeName[] {
  const known = splitNames.get(member);
  if (known !== undefined) return known;
  const prefix = `URI:${scheme}`;
  const split = member.names.filter((name) => name.startsWith(prefix))
    .flatMap((name) => splitName(name.slice(prefix.length)));
  splitNames.set(member, split);
  return split;
}

function splitName(text: string): readonly SpiffeName[] {
  const [domainText = "", ...segments] = text.split("/");
  const domain = domainText.toLowerCase();
  if (!segments.every(isSegment)) return []; // what else is misspelt equals no pattern
  return [{ domain, segments, key: keyOf(domain, segments) }];
}
