#!/usr/bin/env node
/** The program `hypha-data`. */
import { runProgram } from "./program/program.ts";

await runProgram("data");
