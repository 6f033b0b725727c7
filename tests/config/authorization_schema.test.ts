/** Operator's rules in a configuration: how they are read, and where each mistake is said to be. */
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ConfigOf } from "../../actors/config/load.ts";
import { parseConfig } from "../../actors/config/load.ts";
import { type ConfigError, describeProblem } from "../../actors/config/problem.ts";
import type { Surroundings } from "../../actors/config/sources.ts";
import { patternsMax, rulesMax } from "../../transport/authorization/rules.ts";

const head = `cert_pem = "c.pem"
key_pem = "k.pem"
trust_pem = "t.pem"
listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]
external_addresses = ["/dns4/gw.lab/tcp/4001"]
`;
const nothing: Surroundings = { environment: {}, flags: {} };

const parse = (rules: string, around = nothing): Result.Result<ConfigOf<"gateway">, ConfigError> =>
  parseConfig("gateway", { file: "g.toml", text: head + rules }, around);

function complaints(rules: string, around = nothing): readonly string[] {
  const parsed = parse(rules, around);
  return Result.isFailure(parsed) ? parsed.failure.problems.map(describeProblem) : [];
}

const rule = (lines: { readonly effect?: string; readonly acts?: string; readonly peers?: string }): string => {
  const { effect = '"deny"', acts = '["ping"]', peers = '["name:x"]' } = lines;
  return `[[authorization.rules]]\neffect = ${effect}\nacts = ${acts}\npeers = ${peers}\n`;
};

const test = suite("[[authorization.rules]]");

test("are read in their order; without them there is none", () => {
  const two = rule({ effect: '"allow"', acts: '["slice.pull", "ping"]', peers: '["spiffe://lab/data/*"]' }) + rule({});
  assert.equal(Result.getOrThrow(parse(two)).authorization, {
    rules: [
      { effect: "allow", acts: ["slice.pull", "ping"], peers: ["spiffe://lab/data/*"] },
      { effect: "deny", acts: ["ping"], peers: ["name:x"] },
    ],
  });
  assert.equal(Result.getOrThrow(parse("")).authorization, { rules: [] });
});

test("are read from the environment and a flag as JSON, in place of the file's", () => {
  const json = '[{"effect":"deny","acts":["kad.query"],"peers":["name:y"]}]';
  const rules = [{ effect: "deny", acts: ["kad.query"], peers: ["name:y"] }];
  const environment = { HYPHA_AUTHORIZATION__RULES: json };
  assert.equal(Result.getOrThrow(parse(rule({}), { ...nothing, environment })).authorization?.rules, rules);
  const flags = { "authorization-rules": json };
  assert.equal(Result.getOrThrow(parse(rule({}), { ...nothing, flags })).authorization?.rules, rules);
  const wrong = { HYPHA_AUTHORIZATION__RULES: json.replace("kad", "cat") };
  assert.match(complaints("", { ...nothing, environment: wrong })[0] ?? "", /^environment HYPHA_.*perhaps "kad.query"/);
});

test("bug: a longer name evaded a denial that ends in *, as the examples had it. It is a warning", () => {
  const peers = '["name:x", "spiffe://partner.example/scheduler/*", "spiffe://a.example/*/b", "spiffe://a.example/**"]';
  const { warnings } = Result.getOrThrow(parse(rule({}) + rule({ peers }) + rule({ effect: '"allow"', peers })));
  assert.equal(warnings?.map(({ event, keys }) => [event, keys]), [
    ["config.one-segment", ["authorization.rules[1].peers[1]"]],
  ]);
  assert.match(warnings?.[0]?.message ?? "", "spiffe://partner.example/scheduler/**");
  for (const file of ["docs/security.md", "docs/configuration.md", "scripts/program/init_text.ts"]) {
    assert.not.match(readFileSync(file, "utf8"), 'partner.example/scheduler/*"', file);
  }
  assert.match(complaints(rule({ peers: '["spiffe://lab"]' }))[0] ?? "", "all of its members with a URI name");
});

const wrong: [name: string, text: string, start: string, expected: RegExp][] = [
  [
    "an unknown act, with the nearest one",
    rule({ acts: '["ping", "job.dispach"]' }),
    "g.toml:8:17: authorization.rules[0].acts[1]: ",
    /is "job\.dispach", perhaps "job\.dispatch"; expected one of "lease\.renew", .*"dcutr"/,
  ],
  [
    "a bad pattern",
    rule({ peers: '["spiffe://lab/worker/w*"]' }),
    "g.toml:9:10: authorization.rules[0].peers[0]: ",
    /has "w\*": a \* stands for a whole segment; expected a pattern such as/,
  ],
  [
    "a PeerID that is none, in the second rule",
    rule({}) + rule({ peers: '["peer:12D3"]' }),
    "g.toml:13:10: authorization.rules[1].peers[0]: ",
    /has no PeerID behind peer:/,
  ],
  [
    "an allow of a closed act",
    rule({ effect: '"allow"', acts: '["ping", "gateway"]' }),
    "g.toml:8:17: authorization.rules[0].acts[1]: ",
    /"gateway" cannot be allowed by a rule/,
  ],
  ["another effect", rule({ effect: '"Deny"' }), "g.toml:7:10: authorization.rules[0].effect: ", /perhaps "deny"/],
  ["no act", rule({ acts: "[]" }), "g.toml:8:8: authorization.rules[0].acts: ", /not empty/],
  ["no pattern", rule({ peers: "[]" }), "g.toml:9:9: authorization.rules[0].peers: ", /1 to 1000 patterns/],
  [
    "too many patterns",
    rule({ peers: `[${'"name:x",'.repeat(patternsMax + 1)}]` }),
    "g.toml:9:9: authorization.rules[0].peers: ",
    /1 to 1000 patterns/,
  ],
  [
    "a misspelt key",
    rule({}).replace("peers", "peer"),
    "g.toml:9:1: authorization.rules[0].peer: ",
    /perhaps peers/,
  ],
  [
    "a misspelt table",
    rule({}).replace("rules", "rule"),
    "g.toml:6:1: authorization.rule: ",
    /perhaps rules/,
  ],
];
for (const [name, text, start, expected] of wrong) {
  test(`says where there is ${name}`, () => {
    const said = complaints(text);
    const line = said.find((each) => each.startsWith(start));
    assert.ok(line !== undefined, `${start} in ${said.join("\n")}`);
    assert.match(line, expected);
  });
}

test("a closed act may be denied", () => {
  assert.equal(complaints(rule({ acts: '["gateway", "relay.connect"]' })), []);
});

test("are at most a thousand, each with at most a thousand patterns", () => {
  const short = (count: number) =>
    `authorization = { rules = [${
      Array.from({ length: count }, () => '{ effect = "deny", acts = ["ping"], peers = ["name:x"] }').join(", ")
    }] }`;
  assert.equal(complaints(short(rulesMax)), []);
  assert.match(complaints(short(rulesMax + 1))[0] ?? "", /authorization\.rules: .*at most 1000 rules/);
  assert.equal(complaints(rule({ peers: `[${'"name:x",'.repeat(patternsMax)}]` })), []);
});

test.run();
