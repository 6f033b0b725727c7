#!/usr/bin/env node
/** The program `hypha-gateway`. */
import { requireNode } from "./program/require_node.ts";
import { printsHelp } from "./program/written_help.ts";

requireNode("hypha-gateway");
if (!await printsHelp("hypha-gateway")) {
  const { runProgram } = await import("./program/program.ts");
  await runProgram("gateway");
}
