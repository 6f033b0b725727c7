/**
 * Runs one of the system's tools to its end.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { Data, Effect } from "effect";

/** The tool is missing, failed, or took too long. */
export class ToolFailed extends Data.TaggedError("ToolFailed")<{ readonly tool: string; readonly detail: string }> {
  override get message(): string {
    return `Cannot run ${this.tool}: ${this.detail}`;
  }
}

/** Time limit of a tool, in milliseconds. */
const toolMs = 5_000;
/** A tool that is killed has ended within this, in milliseconds; its last call of the kernel is not interrupted. */
const killMs = 1_000;
/** Characters of a tool's output that are kept. */
const outputMax = 1_000;

/**
 * Runs a tool. Interruption kills it and waits for its end: nothing changes after that.
 *
 * @returns Its standard output.
 */
export function runTool(tool: string, args: readonly string[]): Effect.Effect<string, ToolFailed> {
  return Effect.callback<string, ToolFailed>((resume) => {
    const child = spawn(tool, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "", complaint = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => output = (output + text).slice(-outputMax));
    child.stderr.setEncoding("utf8").on("data", (text: string) => complaint = (complaint + text).slice(-outputMax));
    child.once("error", (error) => resume(Effect.fail(new ToolFailed({ tool, detail: error.message }))));
    const closed = new Promise<void>((over) => child.once("close", () => over()));
    child.once("close", (code, signal) =>
      resume(
        code === 0 ? Effect.succeed(output) : Effect.fail(
          new ToolFailed({ tool, detail: complaint.trim() || `ended with ${code ?? signal}` }),
        ),
      ));
    return Effect.suspend(() => {
      child.kill("SIGKILL");
      return Effect.ignore(Effect.timeout(Effect.promise(() => closed), killMs));
    });
  }).pipe(Effect.timeoutOrElse({
    duration: toolMs,
    orElse: () => Effect.fail(new ToolFailed({ tool, detail: `took more than ${toolMs} ms` })),
  }));
}
