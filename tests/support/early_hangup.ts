/**
 * A program, named by its first argument, to which SIGHUP comes while it loads what it does.
 *
 * @module
 */
import process from "node:process";
import { type ProgramName, startProgram } from "../../scripts/program/start.ts";

const [name] = process.argv.splice(2, 1) as [ProgramName];
const started = startProgram(name);
process.kill(process.pid, "SIGHUP");
await started;
