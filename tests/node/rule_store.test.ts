import { chmod, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readConfig } from "../../actors/config/load.ts";
import type { Surroundings } from "../../actors/config/sources.ts";
import { ruleStoreMachine } from "../../actors/node/rule_store.ts";
import type { Rule } from "../../transport/authorization/authorize.ts";
import type { RuleText } from "../../transport/authorization/rules.ts";
import { type Host, host } from "../support/child_host.ts";

const test = suite("ruleStoreMachine");
const folder = await mkdtemp(join(tmpdir(), "hypha-rules-"));
const hosts: Host[] = [];
let files = 0;

const head = `cert_pem = "c.pem"
key_pem = "k.pem"
trust_pem = "t.pem"
listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]
external_addresses = ["/dns4/gw.lab/tcp/4001"]
`;
const rule = (act: string, peers = "name:x"): string =>
  `[[authorization.rules]]\neffect = "deny"\nacts = ["${act}"]\npeers = ["${peers}"]\n`;
const ping: RuleText = { effect: "deny", acts: ["ping"], peers: ["name:x"] };
const query: RuleText = { ...ping, acts: ["kad.query"] };

interface Started {
  readonly text?: string;
  readonly rules?: readonly RuleText[];
  readonly around?: Surroundings;
  readonly removalMs?: number;
}

async function start({ text = head + rule("ping"), rules = [ping], around, removalMs = 20 }: Started = {}) {
  const file = join(folder, `${++files}.toml`);
  await writeFile(file, text);
  let count = 0;
  const read = Effect.suspend(() => {
    count += 1;
    return readConfig("gateway", file, around ?? { environment: {}, flags: {} });
  }).pipe(Effect.map(({ reading }) => reading));
  const started = await Effect.runPromise(Effect.provide(read, NodeFileSystem.layer));
  const timing = { settleMs: 10, pollMs: 100, patienceMs: 150, removalMs };
  const store = host(ruleStoreMachine, { source: { file, read, started }, rules, timing });
  hosts.push(store);
  const put = async (content: string) => {
    await writeFile(`${file}.new`, content);
    await rename(`${file}.new`, file);
  };
  return { file, store, put, readings: () => count };
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, "it did not come");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The acts of the rules that were sent so far, one list for each time. */
const sent = ({ said }: Host): readonly (readonly string[])[] =>
  said.filter(({ type }) => type === "rules.changed")
    .map(({ rules }) => (rules as readonly Rule[]).flatMap(({ acts }) => acts));

test.after.each(async () => {
  await Promise.all(hosts.splice(0).map((each) => each.stop()));
});
test.after(() => rm(folder, { recursive: true, force: true }));

test("takes the rules of a changed file within a second, and says nothing while they stay", async () => {
  const { store, put } = await start();
  await put(`${head}# a comment\n${rule("ping")}`);
  await put(`${head}${rule("ping")}${rule("kad.query")}`);
  const { rules } = await store.hear("rules.changed", 1, 1_000);
  const [, second] = rules as readonly Rule[];
  assert.is(second?.label, "authorization.rules[1]");
  const member = { peer: "p", name: "x", names: [], role: undefined };
  assert.is(second?.fits(member), true, "the rules are made, ready for the gates");
  await put(head);
  await store.hear("rules.changed", 2, 1_000);
  assert.equal(sent(store), [["ping", "kad.query"], []]);
  assert.equal(store.reports.map(({ event, level }) => [event, level]), [
    ["rules.loaded", "info"],
    ["rules.loaded", "warn"],
  ]);
  assert.match(store.reports[1]?.message ?? "", "Loaded 0 rules of authorization in place of 2");
});

test("bug: a file whose writing had stopped in the middle lost its denials at once", async () => {
  const { file, store } = await start({
    text: head + rule("ping") + rule("kad.query"),
    rules: [ping, query],
    removalMs: 2_000,
  });
  // In place, in pieces: what is there loads as it stands.
  await writeFile(file, head);
  await new Promise((resolve) => setTimeout(resolve, 250));
  await writeFile(file, head + rule("ping"));
  await new Promise((resolve) => setTimeout(resolve, 250));
  assert.equal(sent(store), [], "neither was missing for long");
  await store.hear("rules.changed");
  assert.equal(sent(store), [["ping"]], "it stayed");
  assert.match((await store.see("rules.loaded")).message, "Loaded 1 rules of authorization in place of 2");
});

test("bug: a half line at the end counted. Denials stay until the last line has its end", async () => {
  const { file, store } = await start({ rules: [ping], removalMs: 50 });
  await writeFile(file, `${head}# half a comm`);
  const { level, message } = await store.see("rules.kept");
  assert.is(level, "warn");
  assert.match(message, "Keeping 1 rules that deny");
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(sent(store), []);
  await writeFile(file, `${head}# half a comment\n`);
  await store.hear("rules.changed");
  assert.equal(sent(store), [[]]);
  assert.is(store.reports.filter(({ event }) => event === "rules.kept").length, 1);
});

test("takes further rules at once, while it keeps what a file no longer denies", async () => {
  const { store, put } = await start({ rules: [ping], removalMs: 300 });
  await put(head + rule("kad.query"));
  await store.hear("rules.changed", 2);
  assert.equal(sent(store), [["kad.query", "ping"], ["kad.query"]]);
});

test("finds a change that was made before it began to watch", async () => {
  const { store } = await start({ rules: [] });
  await store.hear("rules.changed");
  assert.equal(sent(store), [["ping"]]);
});

const broken: [name: string, text: string, line: number | undefined, reason: RegExp][] = [
  ["an unknown act", `${head}${rule("pong")}`, 8, /acts\[0\]: is "pong", perhaps "ping"/],
  ["a bad pattern", `${head}${rule("kad.query", "spiffe://lab")}`, 9, /a trust domain alone/],
  ["no TOML", `${head}[[authorization.rules]\n`, 6, /is not TOML/],
  ["another key that is wrong", `${head}require_roles = 1\n${rule("kad.query")}`, 6, /require_roles: is 1/],
  ["no key in it", "", undefined, /has no key in it/],
];
for (const [name, text, line, reason] of broken) {
  test(`keeps the rules before where the file has ${name}, and raises the alarm once, with the place`, async () => {
    const { file, store, put } = await start();
    await put(text);
    const { level, fields, message } = await store.see("rules.broken");
    assert.is(level, "error");
    assert.is(fields?.["line"], line);
    assert.is(fields?.["file"], file);
    assert.match(String(fields?.["reason"]), reason);
    assert.match(message, "Keeping the 1 rules");
    store.send({ type: "rules.reload" });
    await put(`${head}${rule("ping")}${rule("identify")}`);
    await store.hear("rules.changed");
    assert.equal(sent(store), [["ping", "identify"]], "the file that was mended, and none before");
    const alarms = store.reports.filter(({ event }) => event === "rules.broken");
    assert.ok(alarms.length <= 2, "once for each time that it was asked to read");
  });
}

test("keeps the rules of a file that is gone or may not be read, and takes them when it is back", async () => {
  const { file, store, put } = await start();
  await rm(file);
  assert.match((await store.see("rules.broken")).message, "there is no such file");
  await put(`${head}${rule("ping")}${rule("kad.query")}`);
  await store.hear("rules.changed");
  if (process.getuid?.() !== 0) {
    await chmod(file, 0o000);
    await store.see("rules.broken", 2);
    await chmod(file, 0o600);
  }
  assert.equal(sent(store), [["ping", "kad.query"]]);
});

test("reads the file again when it is told to, changed or not", async () => {
  const { store, put, readings } = await start({ rules: [] });
  store.send({ type: "rules.reload" });
  await store.hear("rules.changed");
  const before = readings();
  store.send({ type: "rules.reload" });
  await until(() => readings() > before);
  await put(`${head}${rule("ping")}${rule("kad.query")}`);
  await store.hear("rules.changed", 2);
  assert.equal(sent(store), [["ping"], ["ping", "kad.query"]], "the same rules change nothing");
});

test("lets flags and environment override the file, as at the start", async () => {
  const flags = { "authorization-rules": '[{"effect":"deny","acts":["gossip"],"peers":["name:y"]}]' };
  const { store, put, readings } = await start({ rules: [], around: { environment: {}, flags } });
  await store.hear("rules.changed");
  const before = readings();
  await put(`${head}${rule("kad.query")}`);
  await until(() => readings() > before);
  await put("");
  await store.see("rules.broken");
  assert.equal(sent(store), [["gossip"]]);
});

test("bug: other changed keys were passed over in silence. They are named once, and count from the next start", async () => {
  const { store, put } = await start();
  const partner = '[[trust_domains]]\nname = "partner.example"\ntrust_pem = "partner.pem"\nroles = ["data"]\n';
  await put(`${head}drain_timeout_ms = 7000\n[limits]\npending_max = 3\n${partner}${rule("ping")}`);
  const { level, message, fields } = await store.see("config.changed");
  assert.is(level, "warn");
  assert.equal(fields?.["keys"], ["drain_timeout_ms", "limits.pending_max", "trust_domains"]);
  assert.match(message, /next start: drain_timeout_ms, limits\.pending_max, trust_domains; members .* stay connected/);
  await put(`${head}drain_timeout_ms = 7000\n[limits]\npending_max = 3\n${partner}# more\n${rule("ping")}`);
  store.send({ type: "rules.reload" });
  await put(`${head}drain_timeout_ms = 8000\n${rule("ping")}`);
  const later = await store.see("config.changed", 2);
  assert.equal(later.fields?.["keys"], ["drain_timeout_ms"]);
  assert.not.match(later.message, "connected");
  assert.equal(sent(store), []);
});

test("bug: a file that was good again, with the same rules, said nothing", async () => {
  const { store, put } = await start();
  await put(`${head}nonsense\n`);
  await store.see("rules.broken");
  await put(`${head}${rule("ping")}`);
  const { level, message } = await store.see("rules.loaded");
  assert.is(level, "info");
  assert.match(message, "can be loaded again");
  assert.equal(sent(store), []);
});

test("bug: edits of rules that the environment overrides were passed over in silence", async () => {
  const variable = "HYPHA_AUTHORIZATION__RULES";
  const environment = { [variable]: JSON.stringify([ping]) };
  const { store, put } = await start({ around: { environment, flags: {} } });
  await put(head + rule("kad.query"));
  const { level, message } = await store.see("rules.overridden");
  assert.is(level, "warn");
  assert.match(message, `environment ${variable}`);
  await put(`${head}# more\n${rule("kad.query")}`);
  await put(head + rule("identify"));
  await store.see("rules.overridden", 2);
  assert.equal(sent(store), []);
});

test.run();
