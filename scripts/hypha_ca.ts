#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program `hypha-ca`: a CA as a service. */
import process from "node:process";
import { requireNode } from "./program/require_node.ts";
import { printsHelp } from "./program/written_help.ts";

requireNode("hypha-ca");
if (!await printsHelp("hypha-ca")) {
  const { runCa } = await import("./ca/program.ts");
  const { code, notice } = await runCa(process.argv.slice(2));
  if (notice !== undefined) process.stderr.write(`${notice}\n`);
  process.exitCode = code;
}
