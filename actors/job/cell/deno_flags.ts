/**
 * A second layer for executors that run under Deno: its permissions, narrowed to the job's directory and bridge. Deno follows
 * links inside an allowed directory, so this is never the only layer.
 *
 * @module
 */
import { basename } from "node:path";
import type { Command, JobPlace } from "../command.ts";

/** Adds Deno's permission flags to `deno run …`. A command with permission flags of its own keeps them. Without a bridge the path of its socket is empty. */
export function withDenoFlags(
  command: Command,
  { workDir, socketPath }: Pick<JobPlace, "workDir" | "socketPath">,
  readOnly: readonly string[],
): Command {
  const [verb, ...args] = command.args;
  const named = args.some((arg) => /^(-A|-P|--allow|--deny|--permission|--ignore)/.test(arg));
  if (basename(command.file) !== "deno" || verb !== "run" || named) return command;
  const flags = [
    "--no-prompt",
    "--no-remote",
    `--allow-read=${[workDir, ...readOnly].join(",")}`,
    `--allow-write=${workDir}`,
    ...(socketPath === "" ? [] : [`--allow-net=unix:${socketPath}`]),
    `--allow-env=${Object.keys(command.env).join(",")}`,
  ];
  return { ...command, args: [verb, ...flags, ...args] };
}
