#!/usr/bin/env node
/** The program `hypha-scheduler`. */
import { requireNode } from "./program/require_node.ts";

requireNode("hypha-scheduler");
const { runProgram } = await import("./program/program.ts");
await runProgram("scheduler");
