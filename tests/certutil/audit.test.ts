/** `hypha-certutil audit`: what it prints, and its exit codes. */
import { Buffer } from "node:buffer";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { Console, Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { headFileBytesMax, headPath } from "../../actors/witness/head_files.ts";
import { runCertutil } from "../../scripts/certutil/program.ts";
import type { Around } from "../../scripts/program/run_command_line.ts";
import {
  logStart,
  openTestLog,
  recordRefusals,
  removeRecords,
  withLogFolder,
  writeCovered,
} from "../support/audit_logs.ts";
import { certutilHere } from "../support/commands.ts";

const test = suite("hypha-certutil audit");
const file = "audit-000000000000.jsonl";

const withLog = (
  work: (dir: string, run: (...args: readonly string[]) => ReturnType<typeof certutilHere>) => Promise<void>,
) =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    recordRefusals(log, 30);
    await writeCovered(log, new Date(logStart));
    recordRefusals(log, 1, logStart + 60_000);
    await log.write();
    await work(dir, (...args) => certutilHere(dir, "audit", ...args));
  });

test("verify says what is in order, and exits 1 with one line for what is not", () =>
  withLog(async (dir, run) => {
    const { code, stdout } = await run("verify", ".", "--key", "audit.vkey");
    assert.is(code, 0);
    assert.match(stdout, /^acme\.example\/audit\/gateway\/gateway-01: 32 records in order, 2026-.* to 2026-/);
    assert.match(stdout, "1 checkpoints cover 31 records; the last 1 are in none yet");
    const json = await run("verify", ".", "--json");
    const { ok, records, covered } = JSON.parse(json.stdout);
    assert.equal({ ok, records, covered }, { ok: true, records: 32, covered: 31 });
    const path = join(dir, file);
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace("worker-7", "worker-8"));
    const changed = await run("verify", ".");
    assert.is(changed.code, 1);
    assert.is(
      changed.stdout,
      `${file}:10: its \`prev\` is not the SHA-256 of the line before: one of the two was changed\n`,
    );
    const finding = JSON.parse((await run("verify", ".", "--json")).stdout);
    assert.equal([finding.ok, finding.code, finding.file, finding.line], [false, "chain", file, 10]);
    await writeFile(path, `${text}{"detail"`);
    assert.match((await run("verify", ".")).stdout, `${file}:33: the last line is incomplete`);
  }));

test("bug: verify did not say how many records were removed because of their age", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    for (const day of [0, 1]) recordRefusals(log, 5, logStart + day * 86_400_000);
    await writeCovered(log, new Date(logStart));
    const verify = (...args: readonly string[]) => certutilHere(dir, "audit", "verify", ".", ...args);
    assert.not.match((await verify()).stdout, "removed");
    await removeRecords(dir, 0);
    const { code, stdout } = await verify();
    assert.equal([code, stdout.split("\n")[1]], [0, "6 of them were removed because of their age"]);
    assert.is(JSON.parse((await verify("--json")).stdout).removed, 6);
  }));

test("verify takes a witness's checkpoints", () =>
  withLog(async (dir, run) => {
    await writeFile(join(dir, "witness"), await readFile(join(dir, "audit.checkpoints")));
    assert.is((await run("verify", ".", "--witness", "witness")).code, 0);
    await writeFile(join(dir, "audit.checkpoints"), "");
    const lines = (await readFile(join(dir, file), "utf8")).split("\n");
    await writeFile(join(dir, file), `${lines.slice(0, 9).join("\n")}\n`);
    const { code, stdout } = await run("verify", ".", "--witness", "witness");
    assert.equal([code, stdout], [
      1,
      "witness:1: it covers 31 records, and the log has 9: records were cut off at the end\n",
    ]);
    assert.match((await run("verify", ".", "--witness", "nothing")).stdout, /^nothing: it cannot be read/);
  }));

test("verify takes what a witness holds: a folder, or a file of it", () =>
  withLog(async (dir, run) => {
    const checkpoint = (await readFile(join(dir, "audit.checkpoints"), "utf8")).slice(0, -1);
    const key = (await readFile(join(dir, "audit.vkey"), "utf8")).trim();
    const head = { checkpoint, key, signature: "", chain: [] };
    const name = basename(headPath("", "acme.example/audit/gateway/gateway-01"));
    await mkdir(join(dir, "witness"));
    const path = join(dir, "witness", name);
    const held = { origin: "", at: "2026-01-31T12:00:00.000Z", shared: true };
    assert.match(
      (await run("verify", ".", "--witness", "witness")).stdout,
      "witness: the witness holds no state of acme",
    );
    await writeFile(path, JSON.stringify({ ...held, head }));
    for (const witness of ["witness", join("witness", name)]) {
      assert.is((await run("verify", ".", "--witness", witness)).code, 0);
    }
    await writeFile(join(dir, "audit.checkpoints"), "");
    const lines = (await readFile(join(dir, file), "utf8")).split("\n");
    await writeFile(join(dir, file), `${lines.slice(0, 9).join("\n")}\n`);
    for (const witness of ["witness", join("witness", name)]) {
      const { code, stdout } = await run("verify", ".", "--witness", witness);
      assert.is(code, 1);
      assert.match(stdout, "it covers 31 records, and the log has 9: records were cut off at the end");
    }
    const begun = await openTestLog(join(dir, "begun")); // the owner began another log
    await writeCovered(begun, new Date(logStart));
    assert.match(
      (await run("verify", "begun", "--witness", "witness")).stdout,
      "records of the log that another key signed",
    );
  }));

test("bug: verify passed with a witness's file that holds nothing", () =>
  withLog(async (dir, run) => {
    const checkpoint = (await readFile(join(dir, "audit.checkpoints"), "utf8")).slice(0, -1);
    const key = (await readFile(join(dir, "audit.vkey"), "utf8")).trim();
    const head = { checkpoint, key, signature: "", chain: [] };
    const whole = JSON.stringify({ origin: "", at: "2026-01-31T12:00:00.000Z", shared: true, head }, undefined, 2);
    const name = basename(headPath("", "acme.example/audit/gateway/gateway-01"));
    await mkdir(join(dir, "witness"));
    const contents = [
      "",
      whole.slice(0, -20),
      whole.replace("12:00", "noon"),
      whole.replace("\n}", `,"fork":{}}`),
      whole + " ".repeat(headFileBytesMax),
      checkpoint.slice(0, -20),
    ];
    for (const content of contents) {
      await writeFile(join(dir, "witness", name), content);
      for (const witness of ["witness", join("witness", name)]) {
        const { code, stdout } = await run("verify", ".", "--witness", witness);
        assert.is(code, 1, `${witness}: ${content.slice(0, 200)}`);
        const isLong = content.length > headFileBytesMax;
        const problem = isLong ? "it is no signed checkpoint" : "it holds no checkpoint";
        assert.match(stdout, witness === "witness" ? "holds no state" : problem);
      }
    }
  }));

test("prove and check: a record without its log", () =>
  withLog(async (dir, run) => {
    const proof = (await run("prove", "7")).stdout;
    await writeFile(join(dir, "proof.json"), proof);
    const holds = await run("check", "proof.json", "--key", "audit.vkey");
    assert.is(holds.code, 0);
    assert.match(holds.stdout, '"seq":7');
    const vkey = (await readFile(join(dir, "audit.vkey"), "utf8")).trim();
    assert.is((await run("check", "proof.json", "--key", vkey)).code, 0);
    const wrong: readonly (readonly [change: (text: string) => string, problem: string])[] = [
      [(text) => text.replace("worker-6", "worker-5"), "its line is not in the signed log"],
      [(text) => text.replace('"seq": 7', '"seq": 8'), "its line is no record 8"],
      [(text) => text.replace("\\n31\\n", "\\n30\\n"), "its checkpoint has no valid signature"],
      [(text) => text.replace("\\n31\\n", "\\n"), "its checkpoint is no signed checkpoint"],
      [() => "{}", "it is no proof"],
      [() => "nothing", "it is no proof"],
    ];
    for (const [change, problem] of wrong) {
      await writeFile(join(dir, "wrong.json"), change(proof));
      const { code, stdout } = await run("check", "wrong.json", "--key", "audit.vkey");
      assert.is(code, 1);
      assert.match(stdout, problem);
    }
    for (const [seq, problem] of [["31", "no checkpoint covers it yet"], ["32", "the log does not have it"]] as const) {
      const { code, stderr } = await run("prove", seq);
      assert.is(code, 1);
      assert.match(stderr, problem);
    }
    assert.match((await run("check", "proof.json", "--key", "proof.json")).stderr, "Cannot read verifier key");
  }));

test("bug: check of a proof whose hashes have other lengths ended with an error of the program", () =>
  withLog(async (dir, run) => {
    const proof = JSON.parse((await run("prove", "7")).stdout);
    for (const length of [0, 31, 33, 100]) {
      const path = proof.path.map(() => Buffer.alloc(length, 1).toString("base64"));
      await writeFile(join(dir, "wrong.json"), JSON.stringify({ ...proof, path }));
      const { code, stdout } = await run("check", "wrong.json", "--key", "audit.vkey");
      assert.is(code, 1);
      assert.match(stdout, "its path has a hash that is not 32 bytes long");
    }
  }));

test("prove --serial finds the issuance of a certificate in the log of a CA", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    const issued = { type: "certificate.issued", outcome: "done", peer: "spiffe://acme.example/worker/worker-1" };
    for (const serial of ["ab1", "5c"]) log.record({ ...issued, detail: { serial } }, new Date(logStart));
    log.record({ type: "certificate.revoked", outcome: "done", detail: { serial: "ab1" } }, new Date(logStart));
    await writeCovered(log, new Date(logStart));
    const run = (...args: readonly string[]) => certutilHere(dir, "audit", ...args);
    for (const serial of ["0ab1", "00:0A:B1"]) {
      const { code, stdout } = await run("prove", "--serial", serial);
      assert.is(code, 0);
      assert.is(JSON.parse(stdout).seq, 1);
      await writeFile(join(dir, "proof.json"), stdout);
      assert.match((await run("check", "proof.json", "--key", "audit.vkey")).stdout, '"serial":"ab1"');
    }
    assert.match((await run("prove", "--serial", "77")).stderr, "audit show --type certificate.issued");
    for (const args of [[], ["1", "--serial", "5c"], ["--serial", "five"]]) {
      assert.match((await run("prove", ...args)).stderr, "Give the number of a record, or --serial HEX");
    }
  }));

test("show selects records", () =>
  withLog(async (dir, run) => {
    const seqs = async (...args: readonly string[]) => {
      const { code, stdout } = await run("show", "--json", ...args);
      assert.is(code, 0);
      return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line).seq as number);
    };
    assert.is((await seqs()).length, 32);
    assert.equal(await seqs("--type", "log.opened"), [0]);
    assert.equal(await seqs("--code", "unknown-issuer", "--since", "2026-01-31T12:00:28Z"), [29, 30, 31]);
    assert.equal(await seqs("--until", "2026-01-31T12:00:01Z"), [0, 1]);
    assert.equal(await seqs("--peer", "worker-12"), [13]);
    assert.match(
      (await run("show", "--peer", "worker-12")).stdout,
      /^13 2026-01-31T12:00:12\.000Z refusal unknown-issuer worker-12 \{"address"/,
    );
    assert.match((await run("show", "--since", "yesterday")).stderr, "Cannot take --since");
    await writeFile(join(dir, file), (await readFile(join(dir, file), "utf8")).replace("worker-7", "worker-8"));
    const { code, stderr } = await run("show");
    assert.is(code, 1);
    assert.match(stderr, `${file}:10`);
  }));

test("bug: show of a folder that holds no log printed nothing and was in order", () =>
  withLog(async (dir, run) => {
    await mkdir(join(dir, "empty"));
    const { code, stderr } = await run("show", "-d", "empty");
    assert.equal([code, stderr.trim()], [
      1,
      "hypha-certutil: audit-000000000000.jsonl: it is missing, or has no record: the folder holds no log",
    ]);
  }));

test("bug: show gathered the whole log before it printed, and printed nothing of one longer than a text can be", () =>
  withLogFolder(async (dir) => {
    const log = await openTestLog(dir);
    for (const day of [0, 1, 2]) recordRefusals(log, 2, logStart + day * 86_400_000);
    await log.write();
    const printed: string[] = [];
    const console = { ...globalThis.console, log: (text: string) => void printed.push(text) };
    const around: Around = (effect) => Effect.provideService(effect, Console.Console, console);
    assert.is((await runCertutil(["audit", "show", "--json", "-d", dir], around)).code, 0);
    const seqs = printed.map((text) => text.split("\n").map((line) => JSON.parse(line).seq as number));
    assert.equal(seqs, [[0, 1, 2], [3, 4, 5], [6, 7, 8]], "a segment at a time");
    printed.length = 0;
    assert.is((await runCertutil(["audit", "show", "--peer", "absent", "-d", dir], around)).code, 0);
    assert.equal(printed, []);
  }));

test.run();
