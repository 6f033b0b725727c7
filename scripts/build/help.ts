/**
 * The help of all programs: as text for `scripts/program/help_texts.ts` of their bundle, and as pages for `man`.
 *
 * @module
 */
import { Effect } from "effect";
import { CliOutput, type HelpDoc } from "effect/cli";
import { runCa } from "../ca/program.ts";
import { runCertutil } from "../certutil/program.ts";
import type { HelpTexts } from "../program/help_texts.ts";
import type { Around } from "../program/run_command_line.ts";
import { roleProgram } from "../program/program.ts";
import { runUp } from "../up/program.ts";

const roles = ["gateway", "scheduler", "worker", "data"] as const;
const programs: Readonly<Record<string, (args: readonly string[], around: Around) => Promise<unknown>>> = {
  "hypha": runUp,
  "hypha-ca": runCa,
  "hypha-certutil": runCertutil,
  ...Object.fromEntries(
    roles.map((role) => [
      `hypha-${role}`,
      (args: readonly string[], around: Around) => Effect.runPromise(roleProgram(role, args, around)),
    ]),
  ),
};

/** The help of one command. The program itself has no words. */
export interface CommandHelp {
  readonly words: readonly string[];
  readonly doc: HelpDoc.HelpDoc;
}

/** The help of all commands, by program; each before those below it. */
export async function programHelp(): Promise<ReadonlyMap<string, readonly CommandHelp[]>> {
  const all = Object.keys(programs).map(async (program) => [program, await commandsOf(program, [])] as const);
  return new Map(await Promise.all(all));
}

async function commandsOf(program: string, words: readonly string[]): Promise<readonly CommandHelp[]> {
  const doc = await helpOf(program, words);
  const names = (doc.subcommands ?? []).flatMap(({ commands }) => commands.map(({ name }) => name));
  const below = await Promise.all(names.map((name) => commandsOf(program, [...words, name])));
  return [{ words, doc }, ...below.flat()];
}

async function helpOf(program: string, words: readonly string[]): Promise<HelpDoc.HelpDoc> {
  let doc: HelpDoc.HelpDoc | undefined;
  const presenter = CliOutput.layerPresenter({
    present: (event) => Effect.sync(() => void (doc = event._tag === "Help" ? event.helpDoc : undefined)),
  });
  await programs[program]?.([...words, "--help"], (effect) => Effect.provide(effect, presenter));
  if (doc === undefined) throw new Error(`Cannot read the help of ${[program, ...words].join(" ")}`);
  return doc;
}

/** All help as a terminal with colours shows it. */
export async function helpTexts(): Promise<HelpTexts> {
  const { formatHelpDoc } = CliOutput.defaultFormatter({ colors: true });
  return Object.fromEntries(
    [...await programHelp()].map(([program, commands]) => [
      program,
      Object.fromEntries(commands.map(({ words, doc }) => [words.join(" "), `${formatHelpDoc(doc)}\n`])),
    ]),
  );
}
