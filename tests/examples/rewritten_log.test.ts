/** `docs/operations.md`, "When an audit log may have been rewritten": its commands, with a log that was rewritten. */
import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyPath } from "../../actors/audit/segments.ts";
import { originOf } from "../../actors/audit/checkpoint.ts";
import { headFiles, headPath } from "../../actors/witness/head_files.ts";
import { openHead } from "../../actors/witness/held_head.ts";
import { logNode, logStart, openTestLog, recordRefusals, withLogFolder, writeCovered } from "../support/audit_logs.ts";
import { certutilHere } from "../support/commands.ts";

const test = suite("docs/operations.md: a rewritten audit log");
const page = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
const part = /^## When an audit log may have been rewritten$(.*?)^## /ms.exec(page)?.[1] ?? "";
const commands = (/```sh\n([\s\S]*?)```/.exec(part)?.[1] ?? "").trim().split("\n");

test("each command says what the page says", () =>
  withLogFolder(async (folder) => {
    const dir = join(folder, "copy", "audit");
    const log = await openTestLog(dir);
    recordRefusals(log, 30);
    await writeCovered(log, new Date(logStart));
    const head = openHead({
      checkpoint: log.newest?.note ?? "",
      key: readFileSync(join(dir, "audit.vkey"), "utf8").trim(),
      signature: new Uint8Array(),
      chain: [],
    });
    assert.ok(head);
    const witness = join(folder, "copy", "witness");
    await headFiles(witness).write({ head, isShared: true, at: logStart, fork: undefined });
    assert.ok(readFileSync(headPath(witness, originOf(logNode))).length > 0);
    // The owner begins again with the same key, and leaves something out.
    const key = join(folder, "audit.key");
    cpSync(keyPath(dir), key);
    rmSync(dir, { recursive: true });
    mkdirSync(dir, { recursive: true });
    cpSync(key, keyPath(dir));
    const again = await openTestLog(dir);
    recordRefusals(again, 40, logStart + 5_000);
    await writeCovered(again, new Date(logStart));
    const seen = await openTestLog(join(folder, "witness-audit"));
    seen.record({ type: "peer.closed", outcome: "done", peer: "ca-01 12D3KooW" }, new Date(logStart));
    seen.record({ type: "audit.fork", outcome: "failed", detail: { origin: head.origin } }, new Date(logStart));
    await writeCovered(seen, new Date(logStart));
    const outcomes: readonly (readonly [code: number, said: string])[] = [
      [1, "its root is not that of the first 31 records"],
      [1, '"code": "checkpoint-root"'],
      [0, "unknown-issuer"],
      [0, "peer.closed"],
      [0, "audit.fork failed"],
    ];
    assert.is(commands.length, outcomes.length);
    for (const [index, command] of commands.entries()) {
      const [program, ...words] = command.split(" ");
      assert.is(program, "hypha-certutil");
      const { code, stdout, stderr } = await certutilHere(folder, ...words);
      assert.is(code, outcomes[index]![0], `${command}: ${stderr}`);
      assert.match(stdout, outcomes[index]![1], command);
    }
    assert.is(
      (await certutilHere(folder, "audit", "verify", "copy/audit")).code,
      0,
      "without a witness it is in order",
    );
  }));

test.run();
