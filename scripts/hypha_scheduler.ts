#!/usr/bin/env node
/** The program `hypha-scheduler`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-scheduler");
