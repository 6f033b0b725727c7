#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program `hypha-worker`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-worker");
