/**
 * Starts a program by its name. What it does is loaded last: an old Node gets its one line, and help that the build has written is printed
 * without it.
 *
 * @module
 */
import process from "node:process";
import { requireNode } from "./require_node.ts";
import { rememberReload } from "./signals.ts";
import { keepHeapSmall } from "./small_heap.ts";
import { printsHelp } from "./written_help.ts";

/** The programs of the package, by name. */
const programs = {
  "hypha-gateway": () => runRole("gateway"),
  "hypha-scheduler": () => runRole("scheduler"),
  "hypha-worker": () => runRole("worker"),
  "hypha-data": () => runRole("data"),
  "hypha-ca": async () => {
    keepHeapSmall();
    const { runCa } = await import("../ca/program.ts");
    finish(await runCa(process.argv.slice(2)));
  },
  "hypha-certutil": async () => {
    const { runCertutil } = await import("../certutil/program.ts");
    finish(await runCertutil(process.argv.slice(2)));
  },
} as const;

/** Names a program. */
export type ProgramName = keyof typeof programs;

/** Their names. */
export const programNames = Object.keys(programs) as readonly ProgramName[];

/** Runs a program with the arguments of this process. */
export async function startProgram(name: ProgramName): Promise<void> {
  requireNode(name);
  if (process.argv[2] === "run") rememberReload();
  if (!await printsHelp(name)) await programs[name]();
}

async function runRole(role: "gateway" | "scheduler" | "worker" | "data"): Promise<void> {
  const { runProgram } = await import("./program.ts");
  await runProgram(role);
}

function finish({ code, notice }: { readonly code: number; readonly notice?: string | undefined }): void {
  if (notice !== undefined) process.stderr.write(`${notice}\n`);
  process.exitCode = code;
}
