#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program `hypha-scheduler`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-scheduler");
