#!/usr/bin/env node
/** The program `hypha-data`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-data");
