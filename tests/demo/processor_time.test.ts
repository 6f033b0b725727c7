/** Processor time of children, while they run and when they have ended. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { processorMs, statsOf } from "../../scripts/demo/processor_time.ts";

const test = suite("processorMs()");
/** Long enough for the kernel's clock, whose grain is 10 ms. */
const spentMs = 100;

test("counts a child that runs, and the same child when it has ended", async () => {
  const before = processorMs([]);
  const child = spawn("sh", ["-c", "while :; do :; done"], { detached: true });
  const pid = child.pid ?? 0;
  while ((statsOf(pid)?.timeMs ?? 0) < spentMs) await new Promise((resolve) => setTimeout(resolve, 10));
  const spent = () => processorMs([pid]) - before;
  assert.ok(spent() >= spentMs, String(spent()));
  assert.is(statsOf(pid)?.session, pid, "it leads a session");
  process.kill(pid, "SIGKILL");
  await once(child, "close");
  assert.is(statsOf(pid), undefined);
  assert.ok(spent() >= spentMs, String(spent()));
});

test.run();
