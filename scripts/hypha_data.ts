#!/usr/bin/env node
/** The program `hypha-data`. */
import { requireNode } from "./program/require_node.ts";

requireNode("hypha-data");
const { runProgram } = await import("./program/program.ts");
await runProgram("data");
