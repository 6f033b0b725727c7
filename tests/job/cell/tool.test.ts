import { existsSync } from "node:fs";
import { join } from "node:path";
import { Effect, Fiber } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runTool } from "../../../actors/job/cell/tool.ts";
import { failureOf, runOf, temporary } from "../../support/job_world.ts";

const test = suite("runTool()");

test("returns a tool's output; its failure has the tool's own words", async () => {
  assert.is(await runOf(runTool("sh", ["-c", "echo 1"])), "1\n");
  const failure = await failureOf(runTool("sh", ["-c", "echo no >&2; exit 3"]));
  assert.is(failure.message, "Cannot run sh: no");
  assert.is((await failureOf(runTool("sh", ["-c", "exit 3"]))).message, "Cannot run sh: ended with 3");
  assert.match((await failureOf(runTool("hypha-no-such-tool", []))).message, "ENOENT");
});

test("bug: a tool that was interrupted went on: a worker that ended left a job's disk mounted", async () => {
  const place = temporary();
  const [began, made] = [join(place.path, "began"), join(place.path, "made")];
  // The inner shell is what the kernel still does for a process that is killed.
  const fiber = Effect.runFork(runTool("sh", ["-c", '(touch "$1"; sleep 0.3; touch "$2") & wait', "sh", began, made]));
  while (!existsSync(began)) await new Promise((done) => setTimeout(done, 10));
  await Effect.runPromise(Fiber.interrupt(fiber));
  assert.ok(existsSync(made));
  place.remove();
});

test.run();
