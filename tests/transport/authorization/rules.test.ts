/** Operator's rules: what patterns mean, and that random rules decide as a slow oracle does. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MemberRole, Role } from "../../../pki/certificate.ts";
import { type Act, actNames, type ActRow, acts, isAct, rowOf } from "../../../transport/authorization/acts.ts";
import { type ActingMember, authorize } from "../../../transport/authorization/authorize.ts";
import {
  makeRules,
  patternCharactersMax,
  patternsMax,
  readPattern,
  rulesMax,
  type RuleText,
  whyNotAllowed,
} from "../../../transport/authorization/rules.ts";

const peerA = "12D3KooWHdfgoNvzJ4NgQYZFNsYZfxWRtbVHEBu8ZHmAYUcXrGvM";
const peerB = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";

const member = (uri: string | undefined, more: Partial<ActingMember> = {}): ActingMember => ({
  peer: peerA,
  name: "node.acme.local",
  names: ["DNS:node.acme.local", ...(uri === undefined ? [] : [`URI:${uri}`])],
  role: undefined,
  ...more,
});

const fits = (pattern: string, of: ActingMember): boolean => {
  const [rule] = makeRules([{ effect: "deny", acts: ["ping"], peers: [pattern] }]);
  return rule!.fits(of);
};

const test = suite("operator's rules");

const matching: [pattern: string, uri: string, fits: boolean][] = [
  ["spiffe://acme.local/worker/w-1", "spiffe://acme.local/worker/w-1", true],
  ["spiffe://acme.local/worker/w-1", "spiffe://acme.local/worker/w-2", false],
  ["spiffe://acme.local/worker/w-1", "spiffe://acme.local/worker/W-1", false],
  ["spiffe://ACME.local/worker/w-1", "spiffe://acme.local/worker/w-1", true],
  ["spiffe://acme.local/worker/*", "spiffe://ACME.local/worker/w-1", true],
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/worker/w-1", true],
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/worker/w-1/x", false],
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/worker", false],
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/worker/", false],
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/workers/w-1", false],
  ["spiffe://acme.local/worker/*", "spiffe://evil.acme.local/worker/w-1", false],
  ["spiffe://acme.local/*/w-1", "spiffe://acme.local/data/w-1", true],
  ["spiffe://acme.local/*/*", "spiffe://acme.local/data/w-1", true],
  ["spiffe://acme.local/*/*", "spiffe://acme.local/data/a/b", false],
  ["spiffe://acme.local/**", "spiffe://acme.local/data", true],
  ["spiffe://acme.local/**", "spiffe://acme.local/data/a/b", true],
  ["spiffe://acme.local/**", "spiffe://acme.local", false],
  ["spiffe://acme.local/**", "spiffe://acme.local/", false],
  ["spiffe://acme.local/worker/**", "spiffe://acme.local/worker", false],
  ["spiffe://acme.local/worker/**", "spiffe://acme.local/worker/a/b/c", true],
  ["spiffe://acme.local/*/lab/**", "spiffe://acme.local/worker/lab/w", true],
  ["spiffe://acme.local/*/lab/**", "spiffe://acme.local/worker/lab", false],
  // Names that another reader would decode or resolve.
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/worker/%77", false],
  ["spiffe://acme.local/worker/*", "spiffe://acme.local/worker/..", false],
  ["spiffe://acme.local/**", "spiffe://acme.local/worker/../data", false],
  ["spiffe://acme.local/**", "spiffe://acme.local/worker/./w", false],
  ["spiffe://acme.local/**", "spiffe://acme.local/worker//w", false],
  ["spiffe://acme.local/**", "spiffe://acme.local/worker/w?x=1", false],
  ["spiffe://acme.local/**", "spiffe://acme.local:80/worker/w", false],
  ["spiffe://acme.local/**", "spiffe://u@acme.local/worker/w", false],
  ["spiffe://acme.local/**", "https://acme.local/worker/w", false],
];
for (const [pattern, uri, expected] of matching) {
  test(`${pattern} ${expected ? "fits" : "does not fit"} ${uri}`, () => {
    assert.is(fits(pattern, member(uri)), expected);
  });
}

test("a PeerID and a name fit exactly", () => {
  assert.ok(fits(`peer:${peerA}`, member(undefined)));
  assert.not.ok(fits(`peer:${peerB}`, member(undefined)));
  assert.ok(fits(`peer:${peerB}`, member(undefined, { peer: peerB })));
  assert.ok(fits("name:node.acme.local", member(undefined)));
  assert.not.ok(fits("name:Node.acme.local", member(undefined)));
  assert.not.ok(fits("name:other", member("spiffe://acme.local/worker/other")), "alternative names are others");
  assert.not.ok(fits("spiffe://acme.local/**", member(undefined)), "a certificate without a URI name");
  const alike = member(undefined, { names: ["DNS:spiffe://acme.local/worker/w", "DNS:123456789acme.local/worker/w"] });
  assert.not.ok(fits("spiffe://acme.local/**", alike), "a DNS name is no URI, whatever it holds");
});

const bad: [pattern: string, complaint: string][] = [
  ["", "does not begin with"],
  ["*", "does not begin with"],
  ["SPIFFE://acme.local/worker/w", "does not begin with"],
  ["spiffe://", "no trust domain"],
  ["spiffe:///worker/w", "no trust domain"],
  ["spiffe://acme.local", "a trust domain alone"],
  ["spiffe://acme.local/", "an empty segment"],
  ["spiffe://acme.local//w", "an empty segment"],
  ["spiffe://acme.local/worker/", "an empty segment"],
  ["spiffe://*/worker/w", "a * in its trust domain"],
  ["spiffe://*.local/worker/w", "a * in its trust domain"],
  ["spiffe://acme.local/work*", "a whole segment"],
  ["spiffe://acme.local/worker/***", "a whole segment"],
  ["spiffe://acme.local/**/w", "** before its end"],
  ["spiffe://acme.local/**/**", "** before its end"],
  ["spiffe://acme.local/worker/%2e", "which no name has"],
  ["spiffe://acme.local/worker/..", "which no name has"],
  ["spiffe://acme.local/./w", "which no name has"],
  ["spiffe://acme.local/worker/w ", "which no name has"],
  ["spiffe://acme.local/worker/w#x", "which no name has"],
  ["spiffe://acme.local:443/worker/w", "no trust domain"],
  [`spiffe://${"a".repeat(256)}/worker/w`, "no trust domain"],
  ["name:", "no name behind"],
  ["peer:", "no PeerID"],
  ["peer:*", "no PeerID"],
  [`peer:${peerA.slice(0, -1)}`, "no PeerID"],
  [`peer:${peerA} `, "no PeerID"],
  ["peer:bafzaajaiaejcbx2yw6xwu7h3ocjjxsjsn4hiptdpdcatsvxwsdlzhrqr2zvqzjtw", "no PeerID"],
  [`peer:${"1".repeat(1_000)}`, "no PeerID"],
  [`name:${"x".repeat(patternCharactersMax)}`, "longer than"],
];
for (const [pattern, complaint] of bad) {
  test(`refuses the pattern ${JSON.stringify(pattern.slice(0, 60))}`, () => {
    const read = readPattern(pattern);
    if (typeof read !== "string") throw new Error(`read as ${read.type}`);
    assert.match(read, complaint);
    assert.throws(
      () => makeRules([{ effect: "deny", acts: ["ping"], peers: [pattern] }]),
      /^Cannot make rule: the pattern /,
    );
  });
}

test("takes a pattern as long as the longest SPIFFE ID", () => {
  assert.is(patternCharactersMax, 2_048);
  const longest = `name:${"x".repeat(patternCharactersMax - "name:".length)}`;
  assert.is(typeof readPattern(longest), "object");
});

test("a complaint quotes at most the first 40 characters of a segment", () => {
  for (const wrong of ["*", "%"]) {
    const segment = `first${wrong}${"x".repeat(34)}`;
    const quoted = (text: string) => /has (?:the segment )?"(.*)"/.exec(String(readPattern(`spiffe://a/${text}`)))?.[1];
    assert.equal([segment.length, quoted(segment), quoted(`${segment}x`)], [40, segment, segment]);
  }
});

test("a refusal names the act, the member, its role and the rule or row that decides", () => {
  const refusalOf = (role: Role | undefined) => {
    const rules = makeRules([{ effect: "deny", acts: ["ping"], peers: ["name:node.acme.local"] }]);
    const decided = authorize("ping", member(undefined, { role }), { own: "worker", rules });
    if (Result.isSuccess(decided)) throw new Error(`allowed by ${decided.success}`);
    const { act, name, role: named, rule } = decided.failure;
    return { act, name, named, rule };
  };
  const refusal = { act: "ping", name: "node.acme.local", rule: "authorization.rules[0]" };
  assert.equal(refusalOf("data"), { ...refusal, named: "data" });
  assert.equal(refusalOf(undefined), { ...refusal, named: "none" });
});

test("closes to rules that allow exactly the acts whose role would be given away", () => {
  assert.equal(actNames.filter((act) => whyNotAllowed(act) !== undefined), ["relay.connect", "gateway"]);
});

/** Small numbers from a seed (mulberry32). */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

const roles: readonly (MemberRole | undefined)[] = ["gateway", "scheduler", "worker", "data", "ca", undefined];
const parts = ["worker", "scheduler", "data", "gateway", "w-1", "w-2", "lab"];
const domains = ["acme.local", "partner.example", "Acme.local"];

/** Decides by the page's words: no table of rules that fit, no early end, regular expressions in place of segments. */
function oracle(act: Act, of: ActingMember, own: MemberRole, rules: readonly RuleText[]): string {
  const row: ActRow = acts[act];
  if (row.receivedBy !== "all" && !row.receivedBy.includes(own)) return `denied by row ${act}`;
  const labels = { deny: [] as string[], allow: [] as string[] };
  for (const [index, { effect, acts: named, peers }] of rules.entries()) {
    const fitting = peers.some((pattern) => {
      if (pattern === `peer:${of.peer}` || pattern === `name:${of.name}`) return true;
      if (!pattern.startsWith("spiffe://")) return false;
      const [, domain = "", path = ""] = /^spiffe:\/\/([^/]+)(\/.*)$/.exec(pattern) ?? [];
      const source = path.replaceAll(/[.-]/g, "\\$&").replace(/\/\*\*$/, "(?:/[\\w.-]+)+")
        .replaceAll(/\/\*(?=\/|$|\()/g, "/[\\w.-]+");
      return of.names.some((name) => {
        const [, host = "", rest = ""] = /^URI:spiffe:\/\/([^/]+)(\/.*)$/.exec(name) ?? [];
        return host.toLowerCase() === domain.toLowerCase() && new RegExp(`^${source}$`).test(rest);
      });
    });
    if (fitting && named.some((each) => each === act)) labels[effect].push(`authorization.rules[${index}]`);
  }
  if (labels.deny.length > 0) return `denied by ${labels.deny[0]}`;
  const isByRow = row.allowedTo === "member" || of.role === undefined || row.allowedTo.includes(of.role);
  if (isByRow) return `allowed by row ${act}`;
  if (labels.allow.length > 0 && row.closed !== true) return `allowed by ${labels.allow[0]}`;
  return `denied by row ${act}`;
}

test("random rules decide as the oracle does, a deny wins whatever the order, and nothing opens a closed act", () => {
  const counts: Record<string, number> = {};
  for (let seed = 0; seed < 4_000; seed++) {
    const random = makeRandom(seed);
    const pick = <T>(from: readonly T[]): T => from[random(from.length)]!;
    const role = pick(roles);
    const tail = Array.from({ length: 1 + random(2) }, () => pick(parts));
    const uri = role === undefined ? undefined : `spiffe://${pick(domains).toLowerCase()}/${role}/${tail.join("/")}`;
    const of = member(uri, { role, peer: pick([peerA, peerB]), name: pick(["a", "b"]) });
    const pattern = () => {
      if (random(5) === 0) return pick([`peer:${peerA}`, `peer:${peerB}`, "name:a", "name:b"]);
      const drawn = Array.from({ length: 1 + random(3) }, () => pick([...parts, "*", "*"]));
      const segments = random(2) === 0 ? drawn : [pick([role ?? "*", "*"]), ...tail.map((part) => pick([part, "*"]))];
      if (random(3) === 0) segments[segments.length - 1] = "**";
      return `spiffe://${pick(domains)}/${segments.join("/")}`;
    };
    const subject = pick(actNames);
    const rules = Array.from({ length: random(5) }, (): RuleText => ({
      effect: pick(["deny", "allow", "allow"]),
      acts: Array.from({ length: 1 + random(3) }, () => pick([subject, ...actNames])),
      peers: Array.from({ length: 1 + random(3) }, pattern),
    }));
    const { receivedBy } = rowOf(subject);
    const anyRole = roles.filter((each) => each !== undefined);
    const own = pick(receivedBy === "all" || random(4) === 0 ? anyRole : receivedBy);
    const decide = (texts: readonly RuleText[]) =>
      Result.match(authorize(subject, of, { own, rules: makeRules(texts) }), {
        onSuccess: (by) => `allowed by ${by}`,
        onFailure: ({ rule }) => `denied by ${rule}`,
      });
    const decided = decide(rules);
    assert.is(decided, oracle(subject, of, own, rules), `seed ${seed}: ${JSON.stringify({ subject, of, own, rules })}`);
    const verdict = (text: string) => text.split(" ")[0];
    assert.is(verdict(decide(rules.toReversed())), verdict(decided), `seed ${seed}, reversed`);
    if (rowOf(subject).closed === true) assert.not.match(decided, "allowed by authorization");
    const kind = decided.replace(/(row|authorization).*/, "$1");
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  for (const kind of ["allowed by row", "denied by row", "allowed by authorization", "denied by authorization"]) {
    assert.ok((counts[kind] ?? 0) > 100, `${kind}: ${counts[kind]}`);
  }
});

test("the largest set of rules is compared in linear time", () => {
  assert.equal([rulesMax, patternsMax], [1_000, 1_000]);
  const peers = Array.from({ length: 200 }, (_, index) => `spiffe://acme.local/*/${index}/*/${"x".repeat(100)}/**`);
  const rules = makeRules(Array.from({ length: rulesMax }, () => ({ effect: "allow", acts: ["slice.pull"], peers })));
  const of = member(`spiffe://acme.local/data/${"y/".repeat(20_000)}z`, { role: "data" });
  const began = performance.now();
  assert.ok(Result.isFailure(authorize("slice.pull", of, { own: "data", rules })));
  const tookMs = performance.now() - began;
  assert.ok(tookMs < 1_000, `${tookMs} ms for 200,000 patterns`);
});

test("knows its acts", () => {
  assert.ok(actNames.every(isAct));
  assert.not.ok(isAct("constructor"));
});

test.run();
