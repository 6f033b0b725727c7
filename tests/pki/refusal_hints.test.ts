/**
 * The operator's view of each refusal: the line and the hint say what happened, to whom, and what to do, whatever words a
 * peer puts into its certificate.
 */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysOf } from "../../actors/config/keys.ts";
import { describeRefusal, type Refusal, refusalCodes } from "../../pki/refusal.ts";
import { formatLine, lineLimits, type LogFormat } from "../../scripts/program/log_line.ts";
import { refusalExamples, refusalPage } from "../support/refusal_examples.ts";

const test = suite("refusals as an operator reads them");

/** As the refusal log reports one. */
const lineOf = ({ code, message, hint }: Refusal, format: LogFormat = "text", name = "worker-07.acme.local") =>
  formatLine({
    time: "2026-03-01T03:00:00.000Z",
    node: "gateway-01.acme.local",
    level: "warn",
    event: "peer.refused",
    message,
    fields: { code, address: "/ip4/198.51.100.7/tcp/40112", direction: "inbound", name, peer: "12D3KooWx", hint },
  }, format);

/** What begins an instruction. */
const verbs =
  /(?:^|[.:;,] |, (?:then|or|and) |or |and )(?:If .*?, |For slow links |Otherwise |From .*?: )?(raise|block|point|update|check|set|look|have|issue|put|compare|add|generate|fetch|write|find out|read|report|please report|stop|end|allow)\b/i;

/** What a hint speaks of: a command, a key of the configuration, or a thing to go to. */
const things = (): RegExp => {
  const keys = (["gateway", "worker", "scheduler", "data"] as const).flatMap((role) => keysOf(role))
    .map(({ path }) => path[path.length - 1]);
  const words = [
    "hypha-",
    "openssl ",
    "timedatectl",
    "firewall",
    "log",
    "software",
    "\\[limits\\]",
    "the executor",
    "--version",
  ];
  return new RegExp([...new Set([...keys, ...words])].join("|"));
};
const hintCharactersMax = 240;
const examples = refusalExamples();

for (const code of refusalCodes) {
  test(`${code}: what happened, to whom, and what to do`, () => {
    const refusal = examples[code];
    assert.is(refusal.code, code);
    const { hint, message } = refusal;
    assert.match(hint, verbs, "it names an action");
    assert.match(hint, things(), "it names a command, a key, or where to go");
    assert.match(hint, /^[A-Z].*\.$/, "it is a sentence");
    assert.ok(hint.length <= hintCharactersMax, `${hint.length} characters`);
    assert.match(message, /^Cannot /);
    const line = lineOf(refusal);
    for (const said of [hint, message]) assert.not.match(said, /undefined|\[object|NaN|null/);
    assert.ok(line.includes(message) && line.includes(JSON.stringify(hint)), line);
    for (const who of [`code=${code}`, "worker-07.acme.local", "198.51.100.7"]) assert.ok(line.includes(who), who);
  });
}

test("every key that a hint names is a key", () => {
  const keys = (["gateway", "worker", "scheduler", "data"] as const).flatMap((role) => keysOf(role));
  const known = new Set(keys.flatMap(({ path }) => path));
  for (const { code, hint } of Object.values(examples)) {
    for (const [name] of hint.matchAll(/\b[a-z]+(?:_[a-z]+)+\b/g)) assert.ok(known.has(name), `${code}: ${name}`);
  }
});

test("every command that a hint names is one, with flags that it has", async () => {
  const { commandNames, flagsOf } = await import("../support/certutil_commands.ts");
  for (const { code, hint } of Object.values(examples)) {
    for (
      const [, command = "", rest = ""] of hint.matchAll(/hypha-certutil ([a-z-]+)((?: -{1,2}[a-z-]+ [^ ;:.,)]+)*)/g)
    ) {
      assert.ok(commandNames.includes(command), `${code}: hypha-certutil ${command}`);
      const flags = await flagsOf(command);
      for (const [flag] of rest.matchAll(/--[a-z-]+/g)) assert.ok(flags.includes(flag), `${code}: ${command} ${flag}`);
    }
  }
});

test("docs/refusals.md says what the program says", () => {
  const page = readFileSync(new URL("../../docs/refusals.md", import.meta.url), "utf8");
  const plain = (text: string) => text.replaceAll(/ +/g, " ").replaceAll(/-{3,}/g, "---").trim().split("\n");
  assert.equal(plain(page), plain(refusalPage()));
});

/** What a hostile certificate may have in its names. */
const hostile: readonly [what: string, text: string][] = [
  ["an end of line", 'CN=x"\n2026-03-01T03:00:00.000Z INFO  gateway-01  peer.established  Connected with mallory'],
  ["a terminal's escapes", "CN=\u001b[2K\u001b[1A\u001b]0;owned\u0007\u009b31m"],
  ["text from right to left", "CN=\u202egnp.exe\u2066\u200b"],
  ["other ends of line", "CN=a\u2028b\u0085c\r\vd"],
  ["a megabyte", `CN=${"x".repeat(1_000_000)}`],
];
for (const [what, text] of hostile) {
  test(`with ${what} in a certificate, every code is still one bounded line`, () => {
    const refusals = Object.values(refusalExamples(text));
    for (const refusal of refusals) {
      for (const format of ["text", "json"] as const) {
        const line = lineOf(refusal, format, text);
        assert.not.match(line, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u, refusal.code);
        assert.ok(line.length <= lineLimits.lineCharacters + 200, `${refusal.code}: ${line.length}`);
        if (format === "json") assert.is(JSON.parse(line).code, refusal.code);
      }
      assert.is(refusal.hint, examples[refusal.code].hint, "a hint has no word of a peer's");
      assert.is(describeRefusal(refusal)["hint"], refusal.hint);
    }
  });
}

test.run();
