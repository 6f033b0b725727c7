/** The processes of the demo. */
import process from "node:process";
import { tmpdir } from "node:os";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { NodeProcess } from "../../scripts/demo/processes.ts";

const test = suite("NodeProcess");

test("bug: a log file that cannot be written ended the demo, and its network ran on", async () => {
  const node = new NodeProcess({
    name: "node",
    role: "worker",
    runtime: "node",
    command: "sh",
    args: ["-c", `echo '{"time":"now","event":"node.ready"}'`],
    logFile: tmpdir(),
    cwd: process.cwd(),
  });
  assert.is((await node.waitFor(({ event }) => event === "node.ready", "ready", 10_000)).event, "node.ready");
  assert.is(await node.ended, 0);
});

test.run();
