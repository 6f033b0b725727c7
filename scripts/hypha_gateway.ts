#!/usr/bin/env node
/** The program `hypha-gateway`. */
import { requireNode } from "./program/require_node.ts";

requireNode("hypha-gateway");
const { runProgram } = await import("./program/program.ts");
await runProgram("gateway");
