/**
 * The entry of the single executable. It is no module: there is no `await` at its top.
 *
 * @module
 */
import process from "node:process";
import { startNamed } from "../program/start_named.ts";

startNamed().catch((error: unknown) => {
  process.stderr.write(`Cannot start: ${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
