/**
 * Runs a command that no signal but SIGKILL ends, and passes on what it says. With an argument, it ends with that code once the command has said something.
 *
 * @module
 */
import process from "node:process";
import { runCommand } from "../../scripts/check/command.ts";

const [code] = process.argv.slice(2);
const stubborn = 'trap "" INT TERM HUP; echo $$ >&2; while :; do sleep 1; done';
await runCommand("sh", ["-c", stubborn], {
  timeoutMs: 60_000,
  onStderr: (text) => void process.stdout.write(text, () => code !== undefined && process.exit(Number(code))),
});
