#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program `hypha-gateway`. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-gateway");
