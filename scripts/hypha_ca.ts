#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
/** The program `hypha-ca`: a CA as a service. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-ca");
