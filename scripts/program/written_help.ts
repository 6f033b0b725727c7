/**
 * Help that the build has written. It is printed without loading the program, which takes five times as long.
 *
 * @module
 */
import process from "node:process";
import { stripVTControlCharacters } from "node:util";

/** As `effect/cli` decides it for the help that it prints. */
function isColoured({ env, stdout }: typeof process): boolean {
  const isSet = (name: string) => (env[name] ?? "") !== "";
  if (env["TERM"] === "dumb" || isSet("NO_COLOR")) return false;
  const isForced = isSet("FORCE_COLOR") && !["0", "false"].includes((env["FORCE_COLOR"] ?? "").toLowerCase());
  return isForced || stdout.isTTY === true;
}

/** Prints the help that the arguments ask for. False where they ask for something else, or where nothing was built. */
export async function printsHelp(program: string): Promise<boolean> {
  const args = process.argv.slice(2);
  const last = args.pop();
  if (last !== "--help" && last !== "-h") return false;
  const { helpTexts } = await import("./help_texts.ts");
  const text = helpTexts[program]?.[args.join(" ")];
  if (text === undefined) return false;
  process.stdout.write(isColoured(process) ? text : stripVTControlCharacters(text));
  return true;
}
