#!/usr/bin/env node
/** The program `hypha-scheduler`. */
import { runProgram } from "./program/program.ts";

await runProgram("scheduler");
