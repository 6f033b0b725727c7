#!/usr/bin/env node
/** The program `hypha-certutil`: a CA for development, tests and small networks. */
import { startProgram } from "./program/start.ts";

await startProgram("hypha-certutil");
