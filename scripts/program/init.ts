/**
 * `init`: writes a commented configuration, whole or not at all.
 *
 * @module
 */
import { Effect, type FileSystem, type Path } from "effect";
import { type FileNotWritten, writeWhole } from "../../actors/files/write_whole.ts";
import { ProgramFailed } from "./failure.ts";
import { type InitOptions, initText } from "./init_text.ts";

/** Writes the configuration to `output`. */
export function init(
  { role, name, output, force }: InitOptions & { readonly output: string; readonly force: boolean },
): Effect.Effect<void, ProgramFailed, FileSystem.FileSystem | Path.Path> {
  const content = initText({ role, name });
  return writeWhole([{ path: output, content }], force ? "replace" : "keep").pipe(
    Effect.mapError((error) => new ProgramFailed({ exitCode: 1, said: `${error.message}; ${whatToDo(error)}` })),
  );
}

function whatToDo({ problem }: FileNotWritten): string {
  switch (problem) {
    case "exists":
      return "name another file, or replace it with --force";
    case "missing-folder":
      return "make the folder first (mkdir -p)";
    case "not-permitted":
      return "name a file in a folder that you may write";
    case "other":
      return "name another file";
  }
}
