#!/usr/bin/env node
/** The program `hypha-data`. */
import { requireNode } from "./program/require_node.ts";
import { printsHelp } from "./program/written_help.ts";

requireNode("hypha-data");
if (!await printsHelp("hypha-data")) {
  const { runProgram } = await import("./program/program.ts");
  await runProgram("data");
}
