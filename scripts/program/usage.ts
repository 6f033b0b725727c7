/**
 * The output on wrong usage: one line for each error on standard error, and the command for help. Requested help goes to
 * standard output.
 *
 * @module
 */
import { Console, type Layer } from "effect";
import { type CliError, CliOutput } from "effect/cli";
import { escapeUnsafe } from "./log_line.ts";

/** Prints usage errors in a few lines. Without it, `effect/cli` prints the whole help first. */
export const usageErrors: Layer.Layer<never> = CliOutput.layerPresenter({
  present: (event) => {
    switch (event._tag) {
      case "InvalidInvocation":
        return Console.error(usageText(event.commandPath, event.errors.map(describe)));
      case "Help": {
        if (event.reason === "Requested") return CliOutput.defaultPresenter.present(event);
        const commands = (event.helpDoc.subcommands ?? []).flatMap((group) => group.commands.map(({ name }) => name));
        return Console.error(usageText(event.commandPath, [`a command is missing: ${commands.join(", ")}`]));
      }
      default:
        return CliOutput.defaultPresenter.present(event);
    }
  },
});

function usageText(commandPath: readonly string[], errors: readonly string[]): string {
  const [program = ""] = commandPath;
  const lines = [...new Set(errors), `read more with: ${commandPath.join(" ")} --help`];
  return lines.map((line) => escapeUnsafe(`${program}: ${line}`)).join("\n");
}

function describe(error: CliError.NonShowHelpErrors): string {
  switch (error._tag) {
    case "UnrecognizedOption":
      return `there is no flag ${error.option}${perhaps(error.suggestions)}`;
    case "MissingOption":
      return `the flag --${error.option} is missing`;
    case "MissingArgument":
      return `the argument <${error.argument}> is missing`;
    case "UnexpectedArgument":
      return `nothing is done with ${error.arguments.map((value) => JSON.stringify(value)).join(", ")}: take it out`;
    case "UnknownSubcommand":
      return `there is no command ${JSON.stringify(error.subcommand)}${perhaps(error.suggestions)}`;
    case "InvalidValue":
      if (/^\d+ occurrences$/.test(error.value)) return `the flag --${error.option} is given more than once`;
      return error.value === "" && error.kind === "flag"
        ? `the flag --${error.option} has no value`
        : `${error.kind === "flag" ? `--${error.option}` : `<${error.option}>`}: ${
          error.message.replace(/^[^:]*: /, "")
        }`;
    default:
      return error.message.split("\n")[0] ?? "";
  }
}

const perhaps = (suggestions: readonly string[]): string =>
  suggestions.length === 0 ? "" : `; perhaps ${suggestions.join(", ")}`;
