/** `status --watch` as a process. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startProgram } from "../../support/program.ts";

const test = suite("showStatus()");

test("bug: `status --watch | head -3` ended with a stack trace", async () => {
  const { child, ended } = startProgram("gateway", [], {
    script: new URL("../../support/watching.ts", import.meta.url),
  });
  await new Promise<void>((shown) => child.stdout?.once("data", () => shown()));
  child.stdout?.destroy();
  const { code, stderr } = await ended;
  assert.equal([code, stderr], [0, ""]);
});

test.run();
