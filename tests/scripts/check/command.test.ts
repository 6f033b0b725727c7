/** Commands of the build tools, when the tool itself is ended. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../../scripts/check/command.ts";
import { type Running, startProgram } from "../../support/program.ts";

const test = suite("runCommand()");
const script = new URL("../../support/commanding.ts", import.meta.url);

/** The process of a command that the tool has started. */
async function commandOf({ child }: Running): Promise<number> {
  return Number(await new Promise<string>((said) => child.stdout?.once("data", (text) => said(String(text)))));
}

/** Whether it ends within some seconds. */
async function ends(pid: number): Promise<boolean> {
  for (let leftMs = 5_000; leftMs > 0; leftMs -= 20) {
    try {
      process.kill(pid, 0);
    } catch {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

async function leavesNothing(args: readonly string[], end: (tool: Running) => void, expected: number): Promise<void> {
  const tool = startProgram("gateway", args, { script });
  const command = await commandOf(tool);
  end(tool);
  const { code, stderr } = await tool.ended;
  const isEnded = await ends(command);
  if (!isEnded) process.kill(-command, "SIGKILL");
  assert.ok(isEnded, "the command runs on");
  assert.is(code, expected, stderr);
}

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
  test(`bug: commands ran on, without their time limit, after ${signal}`, () => {
    return leavesNothing([], (tool) => tool.signal(signal), code);
  });
}

test("bug: commands ran on after the tool had ended by itself", () => leavesNothing(["5"], () => {}, 5));

test("no command runs: signals are the caller's", async () => {
  const count = () => ["SIGINT", "SIGTERM", "SIGHUP", "exit"].map((event) => process.listenerCount(event));
  const before = count();
  assert.is((await runCommand("true", [], { timeoutMs: 10_000 })).code, 0);
  assert.is((await runCommand("/no/such/command", [], { timeoutMs: 10_000 })).code, 127);
  assert.equal(count(), before);
});

test.run();
