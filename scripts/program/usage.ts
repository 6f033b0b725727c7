/**
 * Usage errors of the programs' command lines: one line for each error, then one line that names the help, all on
 * standard error. Standard output stays empty, so that a script's pipe receives no help text.
 *
 * @module
 */
import { Console } from "effect";
import { type CliError, CliOutput } from "effect/cli";
import { escapeUnsafe } from "./log_line.ts";

/**
 * Presents usage errors as {@linkcode usageLines}. Help that was asked for (`--help`) and `--version` go to standard
 * output, as usual. Provide this layer to `Command.runWith`; the run still fails with a `CliError`.
 */
export const usageLayer = CliOutput.layerPresenter({
  present: (event) => {
    if (event._tag === "InvalidInvocation") return Console.error(usageLines(event).join("\n"));
    if (event._tag === "Help" && event.reason === "Implicit") {
      return Console.error(usageLines({ ...event, errors: [] }).join("\n"));
    }
    return CliOutput.defaultPresenter.present(event);
  },
});

/**
 * The lines of one usage error.
 *
 * @param invocation The words of the command, the program's name first, and the errors. Without errors the command
 * itself is incomplete: it lacks a subcommand.
 */
export function usageLines(
  { commandPath, errors }: {
    readonly commandPath: readonly string[];
    readonly errors: readonly CliError.NonShowHelpErrors[];
  },
): readonly string[] {
  const [program = ""] = commandPath;
  const said = errors.length === 0 ? ["a command is missing"] : errors.map(describe);
  return [
    ...said.map((line) => `${program}: ${escapeUnsafe(line)}`),
    `For all commands and flags: ${commandPath.join(" ")} --help`,
  ];
}

/** One error in one line. Suggestions stand behind it. */
function describe(error: CliError.NonShowHelpErrors): string {
  switch (error._tag) {
    case "UnrecognizedOption":
      return `unknown flag ${error.option}${suggestion(error.suggestions)}`;
    case "UnknownSubcommand":
      return `unknown command ${JSON.stringify(error.subcommand)}${suggestion(error.suggestions)}`;
    case "MissingOption":
      return `flag --${error.option} is missing`;
    case "MissingArgument":
      return `argument ${error.argument.toUpperCase()} is missing`;
    case "UnexpectedArgument":
      return `unexpected argument ${error.arguments.map((text) => JSON.stringify(text)).join(", ")}`;
    case "InvalidValue":
      return invalidValue(error);
    default:
      return error.message.replace(/\s*\n\s*/g, " ").trim();
  }
}

function invalidValue({ kind, option, value, expected }: CliError.InvalidValue): string {
  const name = kind === "flag" ? `flag --${option}` : `argument ${option.toUpperCase()}`;
  const count = /^(\d+) occurrences$/.exec(value)?.[1];
  if (count !== undefined) return `${name} is given ${count} times`;
  const wanted = expected
    .replace(/^Expected:? /, "")
    .replace("a string representing a finite number", "a number")
    .replace("an integer", "a whole number")
    .replace(/"([^"]*)"(?: \| )?/g, (_, choice, at) => `${at === 0 ? "" : ", "}${choice}`);
  return value === "" ? `${name} needs a value (${wanted})` : `${name} is ${JSON.stringify(value)}, expected ${wanted}`;
}

function suggestion(names: readonly string[]): string {
  return names.length === 0 ? "" : ` (did you mean ${names.join(" or ")}?)`;
}
