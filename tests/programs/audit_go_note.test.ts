/** golang.org/x/mod/sumdb/note opens the checkpoints of an audit log. `HYPHA_GO=1` runs it: Go fetches its module the first time. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openCheckpoint, parseAuditKey } from "../../actors/audit/checkpoint.ts";
import { logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";
import { lacking } from "../support/prerequisites.ts";

const isAsked = process.env["HYPHA_GO"] === "1";
const isInstalled = existsSync("/usr/local/go/bin/go");
const test = suite("sumdb/note opens a checkpoint");
const tried = lacking(test, isInstalled ? [] : ["go"]);

function run(program: string, args: readonly string[], cwd: string): Promise<readonly [code: number, said: string]> {
  return new Promise((resolve) =>
    execFile(program, args, { cwd, timeout: 540_000 }, (error, stdout, stderr) => {
      resolve([error === null ? 0 : 1, error === null ? stdout : stderr]);
    })
  );
}

/** Makes a log with two checkpoints. */
async function makeLog(dir: string): Promise<string> {
  const log = await openTestLog(dir);
  for (let turn = 0; turn < 2; turn++) {
    recordRefusals(log, 5);
    await writeCovered(log, new Date(logStart));
  }
  return await readFile(join(dir, "audit.checkpoints"), "utf8");
}

test("the verifier key that lies beside the checkpoints opens each", () =>
  withLogFolder(async (dir) => {
    const notes = (await makeLog(dir)).split(/(?<=\n\n[^\n]+\n)\n/).slice(0, -1);
    const key = parseAuditKey((await readFile(join(dir, "audit.vkey"), "utf8")).trim())!;
    assert.equal(notes.map((note) => (openCheckpoint(note, key) as { readonly size: number }).size), [6, 11]);
  }));

if (isAsked) {
  tried("Go's reader opens each, and no changed one", () =>
    withLogFolder(async (dir) => {
      const text = await makeLog(dir);
      const reader = join(dir, "reader");
      const source = fileURLToPath(new URL("../fixtures/go_note", import.meta.url));
      const [built, said] = await run("/usr/local/go/bin/go", ["build", "-o", reader, "."], source);
      assert.is(built, 0, said);
      const [code, answer] = await run(reader, ["audit.vkey", "audit.checkpoints"], dir);
      assert.is(code, 0, answer);
      const { name, texts } = JSON.parse(answer);
      assert.is(name, "acme.example/audit/gateway/gateway-01");
      assert.equal(texts.map((each: string) => each.split("\n")[1]), ["6", "11"]);
      await writeFile(join(dir, "audit.checkpoints"), text.replace("\n6\n", "\n7\n"));
      assert.is((await run(reader, ["audit.vkey", "audit.checkpoints"], dir))[0], 1);
    }));
}

test.run();
