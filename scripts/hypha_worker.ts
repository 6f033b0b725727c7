#!/usr/bin/env node
/** The program `hypha-worker`. */
import { requireNode } from "./program/require_node.ts";
import { printsHelp } from "./program/written_help.ts";

requireNode("hypha-worker");
if (!await printsHelp("hypha-worker")) {
  const { runProgram } = await import("./program/program.ts");
  await runProgram("worker");
}
