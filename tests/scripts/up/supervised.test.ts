/** A program that is kept running: what happens when it cannot be started again. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Supervised } from "../../../scripts/up/supervised.ts";

const test = suite("Supervised");
const folder = mkdtempSync(join(tmpdir(), "hypha-supervised-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("bug: a program that could not be started ended twice, and was started twice after that", async () => {
  const program = join(folder, "program");
  // It works, fails, and is gone at the next start.
  writeFileSync(program, `#!/bin/sh\nrm "$0"\necho '{"level":"info","event":"ready","message":""}'\nexit 1\n`, {
    mode: 0o700,
  });
  const ends: (readonly [code: number, againMs: number | undefined])[] = [];
  const supervised = new Supervised({
    name: "program",
    command: [program],
    logFile: join(folder, "log"),
    readyEvent: "ready",
    onLine: () => {},
    onReady: () => {},
    onUnlogged: () => {},
    onEnded: (...end) => ends.push(end),
  });
  await supervised.start(10_000);
  for (let leftMs = 10_000; ends.length < 2 && leftMs > 0; leftMs -= 50) {
    await new Promise((done) => setTimeout(done, 50));
  }
  await new Promise((done) => setTimeout(done, 100));
  await supervised.stop();
  assert.equal(ends, [[1, 1_000], [127, 2_000]]);
});

test.run();
