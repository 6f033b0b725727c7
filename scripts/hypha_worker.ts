#!/usr/bin/env node
/** The program `hypha-worker`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-worker");
