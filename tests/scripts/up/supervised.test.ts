/** A program that is kept running: what happens when it cannot be started again. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervised } from "../../../scripts/up/supervised.ts";

const test = suite("Supervised");
const folder = mkdtempSync(join(tmpdir(), "hypha-supervised-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

type End = readonly [code: number, againMs: number | undefined];

/** Keeps a program of these lines running until so many ends were seen; the ends and the messages of its log. */
async function kept(lines: string, count: number): Promise<{ readonly ends: End[]; readonly messages: string[] }> {
  const program = join(folder, "program");
  writeFileSync(program, `#!/bin/sh\n${lines}\n`, { mode: 0o700 });
  const [ends, messages]: [End[], string[]] = [[], []];
  const supervised = new Supervised({
    name: "program",
    command: [program],
    logFile: join(folder, "log"),
    readyEvent: "ready",
    onLine: ({ message }) => messages.push(message),
    onReady: () => {},
    onUnlogged: () => {},
    onEnded: (...end) => ends.push(end),
  });
  await supervised.start(10_000);
  for (let leftMs = 10_000; ends.length < count && leftMs > 0; leftMs -= 50) {
    await new Promise((done) => setTimeout(done, 50));
  }
  await new Promise((done) => setTimeout(done, 100));
  await supervised.stop();
  return { ends, messages };
}

test("bug: a program that could not be started ended twice, and was started twice after that", async () => {
  // It works, fails, and is gone at the next start.
  const lines = `rm "$0"\necho '{"level":"info","event":"ready","message":""}'\nexit 1`;
  assert.equal((await kept(lines, 2)).ends, [[1, 1_000], [127, 2_000]]);
});

test("bug: a program that ended in order, as a drained one does, was started again", async () => {
  const lines = `echo '{"level":"info","event":"ready","message":""}'\nexit 0`;
  assert.equal((await kept(lines, 1)).ends, [[0, undefined]]);
});

test("bug: with STATE_DIRECTORY or HYPHA_STATE_DIR set, all programs had one state directory", async () => {
  const before = { ...process.env };
  Object.assign(process.env, { STATE_DIRECTORY: "/a", HYPHA_STATE_DIR: "/b", HYPHA_OTHER: "/c" });
  const lines =
    `echo '{"level":"info","event":"ready","message":"'"$STATE_DIRECTORY,$HYPHA_STATE_DIR,$HYPHA_OTHER"'"}'\nexit 0`;
  const { messages } = await kept(lines, 1);
  for (const name of ["STATE_DIRECTORY", "HYPHA_STATE_DIR", "HYPHA_OTHER"]) delete process.env[name];
  Object.assign(process.env, before);
  assert.equal(messages, [",,/c"]);
});

test.run();
