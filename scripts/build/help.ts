/**
 * The help of all programs, as the build writes it into `scripts/program/help_texts.ts` of their bundle.
 *
 * @module
 */
import { stripVTControlCharacters } from "node:util";
import { Console, Effect } from "effect";
import { TerminalCapabilities } from "effect/cli";
import { runCa } from "../ca/program.ts";
import { runCertutil } from "../certutil/program.ts";
import type { HelpTexts } from "../program/help_texts.ts";
import { roleProgram } from "../program/program.ts";

type Around = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>;

const roles = ["gateway", "scheduler", "worker", "data"] as const;
const programs: Readonly<Record<string, (args: readonly string[], around: Around) => Promise<unknown>>> = {
  "hypha-ca": runCa,
  "hypha-certutil": runCertutil,
  ...Object.fromEntries(
    roles.map((role) => [
      `hypha-${role}`,
      (args: readonly string[], around: Around) => Effect.runPromise(around(roleProgram(role, args))),
    ]),
  ),
};

/** All texts. */
export async function writtenHelp(): Promise<HelpTexts> {
  const texts = Object.keys(programs).map(async (program) => [program, await textsOf(program, [])] as const);
  return Object.fromEntries(await Promise.all(texts));
}

/** The text of a command, and those of the commands below it. */
async function textsOf(program: string, command: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const text = await helpOf(program, command);
  const below = await Promise.all(commandsIn(text).map((name) => textsOf(program, [...command, name])));
  return Object.assign({ [command.join(" ")]: text }, ...below);
}

/** The names of the commands that a help text lists. */
function commandsIn(text: string): readonly string[] {
  const [, list = ""] = stripVTControlCharacters(text).split(/^SUBCOMMANDS$/m);
  return list.split("\n").flatMap((line) => /^ {2}([a-z][a-z-]*)/.exec(line)?.[1] ?? []);
}

async function helpOf(program: string, command: readonly string[]): Promise<string> {
  let printed = "";
  const log = (...values: readonly unknown[]) => void (printed += `${values.join(" ")}\n`);
  const console = { ...globalThis.console, log };
  const coloured = { canColor: true, canAnimate: false, canPrompt: false };
  await programs[program]?.([...command, "--help"], (effect) =>
    effect.pipe(
      Effect.provideService(Console.Console, console),
      Effect.provideService(TerminalCapabilities.TerminalCapabilities, coloured),
    ));
  if (printed === "") {
    throw new Error(`Cannot write the help of ${[program, ...command].join(" ")}: it printed nothing`);
  }
  return printed;
}
