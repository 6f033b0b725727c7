#!/usr/bin/env node
/** The program `hypha-gateway`. */
import { runProgram } from "./program/program.ts";

await runProgram("gateway");
