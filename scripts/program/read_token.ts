/**
 * The token that `join` is given: a file's path, `-` for standard input, or the token itself.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem, Result } from "effect";
import { caRefusals } from "../../actors/ca/ca_refused.ts";
import { parseToken, tokenCharactersMax } from "../../actors/ca/token.ts";
import type { GivenToken } from "../../actors/enrolment/obtain.ts";
import { readWhole } from "../../actors/files/read_whole.ts";
import { ProgramFailed } from "./failure.ts";

/** Octets read of a file or of standard input: a token, and a line's end. */
const tokenBytesMax = 4 * tokenCharactersMax;

/**
 * Reads a token. One that was given as the argument itself is taken with a warning: the shell keeps it in its history, and other
 * users see it in the list of processes.
 */
export function readToken(argument: string): Effect.Effect<GivenToken, ProgramFailed, FileSystem.FileSystem> {
  return Effect.gen(function* () {
    const text = (yield* textOf(argument)).trim();
    if (text === "") return yield* failed("there is no token. Make one: hypha-ca token");
    const token = parseToken(text);
    if (Result.isFailure(token)) {
      const { code, detail } = token.failure;
      return yield* failed(`${code}: ${detail}. ${caRefusals[code].hint}`);
    }
    const { id, anchor, url } = token.success;
    return { id, anchor, url, text };
  });
}

function textOf(argument: string): Effect.Effect<string, ProgramFailed, FileSystem.FileSystem> {
  if (argument === "-") return Effect.flatMap(Effect.promise(readStandardInput), Effect.succeed);
  if (argument.startsWith("hyp1.")) {
    process.stderr.write("warning: the shell's history keeps a token given so; give it as a file, or by -\n");
    return Effect.succeed(argument);
  }
  const file = { path: argument, what: "token", bytesMax: tokenBytesMax, key: "the argument" };
  return Effect.mapBoth(readWhole(file), {
    onSuccess: ({ text }) => text,
    onFailure: ({ message }) => failed(message),
  });
}

async function readStandardInput(): Promise<string> {
  const parts: string[] = [];
  let size = 0;
  process.stdin.setEncoding("utf8");
  for await (const part of process.stdin as AsyncIterable<string>) {
    parts.push(part);
    size += part.length;
    if (size > tokenBytesMax) break;
  }
  return parts.join("");
}

const failed = (notice: string) => new ProgramFailed({ exitCode: 1, notice: `Cannot read token: ${notice}` });
