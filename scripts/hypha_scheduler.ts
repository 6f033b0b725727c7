#!/usr/bin/env node
/** The program `hypha-scheduler`. */
import { requireNode } from "./program/require_node.ts";
import { printsHelp } from "./program/written_help.ts";

requireNode("hypha-scheduler");
if (!await printsHelp("hypha-scheduler")) {
  const { runProgram } = await import("./program/program.ts");
  await runProgram("scheduler");
}
