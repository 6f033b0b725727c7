#!/usr/bin/env node
/** The program `hypha-worker`. */
import { runProgram } from "./program/program.ts";

await runProgram("worker");
