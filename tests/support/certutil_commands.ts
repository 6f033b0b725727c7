/**
 * The commands of `hypha-certutil` and their flags, as its own help says them.
 *
 * @module
 */
import { tmpdir } from "node:os";
import { certutilHere } from "./commands.ts";

const help = async (...args: readonly string[]): Promise<string> =>
  (await certutilHere(tmpdir(), ...args, "--help")).stdout;

/** Names of all commands. */
export const commandNames: readonly string[] = [...(await help()).matchAll(/^ {2}([a-z][a-z-]+) +\S/gm)]
  .map((match) => match[1] ?? "");

/** Flags of a command, with their dashes. */
export async function flagsOf(command: string): Promise<readonly string[]> {
  return [...(await help(command)).matchAll(/--[a-z-]+/g)].map(([flag]) => flag);
}
