#!/usr/bin/env node
/** The program `hypha-gateway`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-gateway");
