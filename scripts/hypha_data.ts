#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program `hypha-data`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-data");
