/** Two processes at the same time on one CA's folder: one of them writes, the other reports why it did not, in one line. */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { caPlace, caScript } from "../support/ca_program.ts";
import { certutilHere } from "../support/commands.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Ended, type Running, startProgram } from "../support/program.ts";

const test = suite("two processes on one CA");
const { folder, command, file, done } = caPlace("at-once");
const config = ["-c", join("ca", "ca.toml")];
/** Pairs that are started for each case. */
const rounds = 4;
let running: Running | undefined;
test.after(() => {
  running?.signal("SIGKILL");
  rmSync(folder, { recursive: true });
});
const toml = () => readFileSync(file("ca.toml"), "utf8");
const init = ["init", "--domain", "acme.example", "-d", "ca", "--url"];

/** The one of two that failed, with one line; the other one succeeded. */
function refusedOf(ended: readonly Ended[]): string {
  const [won, lost] = ended.toSorted((a, b) => (a.code ?? 9) - (b.code ?? 9));
  assert.equal([won?.code, lost?.code], [0, 1], ended.map(({ stderr }) => stderr).join(""));
  assert.is(lost?.stdout, "");
  assert.match(lost?.stderr ?? "", /^hypha-ca: [^\n]+\n$/);
  return lost!.stderr;
}

test("init: one of the two makes the CA", async () => {
  const url = `https://127.0.0.1:${await freePort()}`;
  assert.match(refusedOf(await Promise.all([command(...init, url), command(...init, url)])), /Cannot make CA/);
  writeFileSync(file("ca.toml"), toml().replace("0.0.0.0", "127.0.0.1"));
});

test("run: one of the two runs, and a restore meanwhile changes nothing", async () => {
  const start = () =>
    startProgram("gateway", ["run", ...config, "--log-format", "json"], {
      ...{ script: caScript, cwd: folder, lifeMs: 90_000 },
    });
  for (let round = 0; round < rounds; round++) {
    const both = [start(), start()];
    const first = await Promise.race(both.map(async (each) => ({ each, ended: await each.ended })));
    assert.is(first.ended.code, 1, first.ended.stderr);
    assert.match(first.ended.stderr, /^hypha-ca: Cannot use register [^\n]*ca\.db: another process uses it[^\n]*\n$/);
    running = both.find((each) => each !== first.each)!;
    await running.waitFor("ca.listening");
    if (round === 0) {
      await done("backup", ...config, "copy.db");
      const refused = await command("restore", ...config, "copy.db", "--alone", "--above", "9999999999");
      assert.match(refused.stderr, /^hypha-ca: Cannot use register [^\n]*another process uses it[^\n]*\n$/);
      const named = ["--role", "worker", "--name", "w-1", "--replace"];
      const tokens = await Promise.all([done("token", ...config, ...named), done("token", ...config, ...named)]);
      assert.ok(tokens[0] !== tokens[1] && tokens.every((each) => each.startsWith("hyp1.")), "one after the other");
    }
    running.signal("SIGTERM");
    assert.is((await running.ended).code, 0);
  }
});

test("bug: of two rotations at once, both reported that theirs was published", async () => {
  const root = ["--ca-cert", "ca/root-cert.pem", "--ca-key", "ca/root-key.pem"];
  const names = ["ca2", "ca3"] as const;
  for (const name of names) {
    const out = ["--out-cert", `${name}-cert.pem`, "--out-key", `${name}-key.pem`];
    const made = await certutilHere(folder, "gen-intermediate-ca", ...root, "--common-name", name, ...out);
    assert.is(made.code, 0, made.stderr);
  }
  const before = toml();
  for (let round = 0; round < rounds; round++) {
    const ended = await Promise.all(
      names.map((name) => command("rotate", ...config, "--cert", `${name}-cert.pem`, "--key", `${name}-key.pem`)),
    );
    assert.match(refusedOf(ended), /Cannot rotate: (?:another process rotates this CA|a rotation is under way)/);
    const published = names[ended.findIndex(({ code }) => code === 0)]!;
    assert.match(toml(), `next_key_pem = "../${published}-key.pem"`);
    writeFileSync(file("ca.toml"), before);
  }
});

test("bug: of two restores at once, both could fail", async () => {
  for (let round = 0; round < rounds; round++) {
    const state = readdirSync(file("state")).filter((name) => name.startsWith("ca.db"));
    for (const name of state) renameSync(file(`state/${name}`), join(folder, name));
    const restore = () => command("restore", ...config, "copy.db", "--alone", "--above", "9999999999");
    assert.match(refusedOf(await Promise.all([restore(), restore()])), /another process uses it|ca\.db exists/);
    assert.equal(readdirSync(file("state")).filter((name) => name.startsWith("ca.db")), ["ca.db", "ca.db-lock"]);
  }
});

test.run();
