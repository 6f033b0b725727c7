#!/usr/bin/env node
/** The program `hypha-certutil`: a CA for development, tests and small networks. */
import process from "node:process";
import { requireNode } from "./program/require_node.ts";
import { printsHelp } from "./program/written_help.ts";

requireNode("hypha-certutil");
if (!await printsHelp("hypha-certutil")) {
  const { runCertutil } = await import("./certutil/program.ts");
  const { code, notice } = await runCertutil(process.argv.slice(2));
  if (notice !== undefined) process.stderr.write(`${notice}\n`);
  process.exitCode = code;
}
