/**
 * Pages for `man`, from the help of the programs: one a program, with all its commands (man-pages(7), groff_man(7)).
 *
 * @module
 */
import { Option } from "effect";
import type { HelpDoc } from "effect/cli";
import { version } from "../program/version.ts";
import type { CommandHelp } from "./help.ts";

/** What every program's exit code means (`scripts/program/failure.ts`). */
const exits: readonly (readonly [code: string, meaning: string])[] = [
  ["0", "What was asked for is done."],
  ["1", "It could not be done; standard error says why."],
  ["2", "The command line or the configuration is wrong."],
  ["3", "The node's own certificate was revoked."],
  ["130", "A second signal ended the program at once."],
];

/** The page of one program. */
export function manPage(program: string, commands: readonly CommandHelp[]): string {
  const [whole, ...others] = commands;
  if (whole === undefined) throw new Error(`Cannot write a page for ${program}: it has no help`);
  return [
    `.TH ${program.toUpperCase()} 1 "" "hypha ${version}" "Hypha"`,
    ".SH NAME",
    `${escaped(program)} \\- ${escaped(whole.doc.description.replace(/\.$/, ""))}`,
    ".SH SYNOPSIS",
    ...(others.length === 0 ? [whole] : others).flatMap(({ doc }) => ["", `.B ${escaped(doc.usage)}`]).slice(1),
    ...others.flatMap(commandLines(program)),
    ".SH OPTIONS OF EVERY COMMAND",
    ...(whole.doc.globalFlags ?? []).flatMap(flagLines),
    ".SH EXIT STATUS",
    ...exits.flatMap(([code, meaning]) => [".TP", `.B ${code}`, escaped(meaning)]),
    "",
  ].join("\n");
}

const commandLines = (program: string) => ({ words, doc }: CommandHelp, index: number): readonly string[] => [
  ...(index === 0 ? [".SH COMMANDS"] : []),
  `.SS ${escaped([program, ...words].join(" "))}`,
  escaped(doc.description),
  ...(doc.args ?? []).flatMap(({ name, description }) => [
    ".TP",
    `.I ${escaped(name)}`,
    escaped(Option.getOrElse(description, () => "")) || "\\&",
  ]),
  ...doc.flags.flatMap(flagLines),
];

function flagLines({ name, aliases, type, description }: HelpDoc.FlagDoc): readonly string[] {
  const names = [`--${name}`, ...aliases.map((alias) => (alias.startsWith("-") ? alias : `-${alias}`))];
  const value = type === "boolean" ? "" : ` \\fI${escaped(type)}\\fR`;
  return [
    ".TP",
    `${names.map((each) => `\\fB${escaped(each)}\\fR`).join(", ")}${value}`,
    escaped(Option.getOrElse(description, () => "")) || "\\&",
  ];
}

/** Text in which no character is an order to roff. */
function escaped(text: string): string {
  const line = text.replace(/\s+/g, " ").replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^(?=[.'])/, "\\&");
  return line.replace(
    /[^\u0020-\u007e]/gu,
    (character) => `\\[u${character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0")}]`,
  );
}
