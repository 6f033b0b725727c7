#!/usr/bin/env node
/** The program `hypha-worker`. */
import { requireNode } from "./program/require_node.ts";

requireNode("hypha-worker");
const { runProgram } = await import("./program/program.ts");
await runProgram("worker");
