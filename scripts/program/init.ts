/**
 * `init`: writes a commented configuration, whole or not at all.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem, type Path, Result } from "effect";
import { ConfigError } from "../../actors/config/problem.ts";
import { layerSources } from "../../actors/config/sources.ts";
import { kindNames, kindOf } from "../../actors/files/file_kind.ts";
import { readBytes } from "../../actors/files/read_whole.ts";
import { type FileNotWritten, writeWhole } from "../../actors/files/write_whole.ts";
import type { Role } from "../../pki/certificate.ts";
import { ProgramFailed } from "./failure.ts";
import { checkGiven, type GivenFlags, holdsSecret, surroundingsOf } from "./given_flags.ts";
import { domainNamedBy, findFiles, type InitFiles } from "./init_files.ts";
import { initText } from "./init_text.ts";

/** The options of `init`. */
interface InitCommand {
  readonly role: Role;
  readonly name: string;
  /** Path of the file to write. */
  readonly output: string;
  readonly force: boolean;
  /** Keys of the configuration given as flags. */
  readonly flags: GivenFlags;
}

/** Longest name of a node, in characters: file names are made of it. */
const nameCharactersMax = 100;
/** A configuration is far smaller; a larger file is not replaced. */
const replacedBytesMax = 1_048_576;

/** Writes the configuration to `output`. Prints the files that it found and the remaining steps. */
export function init(
  { role, name, output, force, flags }: InitCommand,
): Effect.Effect<void, ProgramFailed, FileSystem.FileSystem | Path.Path> {
  return Effect.gen(function* () {
    if (/[/\\\0]/.test(name) || name === "" || name.length > nameCharactersMax) {
      const notice =
        `the name ${JSON.stringify(name.slice(0, nameCharactersMax))} is to have 1 to ${nameCharactersMax} ` +
        "characters, none of them a slash: files are called after it; the file to write is named with -o";
      return yield* Effect.fail(new ProgramFailed({ exitCode: 2, notice }));
    }
    const around = yield* surroundingsOf(flags, "run").pipe(Effect.mapError(failed(2)));
    const layered = layerSources(role, {}, { ...around, environment: {} });
    const files = yield* findFiles(name);
    const given = layered.values["cert_pem"];
    const domain = yield* domainNamedBy(typeof given === "string" ? given : files.cert_pem.path);
    const content = initText({ role, name, file: output, given: layered.values, files, domain });
    yield* Effect.mapError(Effect.fromResult(checkGiven(role, content, { ...around, environment: {} })), failed(2));
    if (force) yield* checkReplaced(output);
    const mode = holdsSecret(role, flags) ? { mode: 0o600 } : {};
    yield* writeWhole([{ path: output, content, ...mode }], force ? "replace" : "keep").pipe(
      Effect.mapError((error) => new ProgramFailed({ exitCode: 1, notice: `${error.message}; ${whatToDo(error)}` })),
    );
    process.stdout.write(`${report(role, output, layered.values, files).join("\n")}\n`);
  });
}

/** Refuses to replace a file that is no configuration: a key, a certificate, a list. */
function checkReplaced(output: string): Effect.Effect<void, ProgramFailed, FileSystem.FileSystem> {
  const reading = readBytes({ path: output, what: "file to replace", bytesMax: replacedBytesMax, key: "-o" });
  return Effect.gen(function* () {
    const found = yield* Effect.result(reading);
    if (Result.isFailure(found)) {
      if (found.failure.problem === "missing") return;
      return yield* Effect.fail(new ProgramFailed({ exitCode: 1, notice: found.failure.message }));
    }
    const kind = kindOf(found.success.bytes);
    if (kind === "unknown" || kind === "empty") return;
    const notice = `Cannot replace ${output}: it holds ${kindNames[kind]}, not a configuration; name another file`;
    return yield* Effect.fail(new ProgramFailed({ exitCode: 1, notice }));
  });
}

const failed = (exitCode: 1 | 2) => (error: ConfigError) => new ProgramFailed({ exitCode, notice: error.message });

function report(role: Role, output: string, given: Readonly<Record<string, unknown>>, files: InitFiles): string[] {
  const open = Object.entries(files).filter(([key]) => given[key] === undefined);
  const found = open.filter(([, file]) => file.found).map(([, { path }]) => path);
  const missing = open.filter(([key, file]) => !file.found && key !== "crls_pem").map(([, { path }]) => path);
  const toFill = [
    ...(role !== "gateway" && given["gateway_addresses"] === undefined ? ["gateway_addresses"] : []),
    ...(role === "data" && given["dataset_path"] === undefined ? ["dataset_path"] : []),
  ];
  return [
    `wrote ${output}`,
    ...(found.length > 0 ? [`found ${found.join(", ")}`] : []),
    ...(missing.length > 0 ? [`not there yet: ${missing.join(", ")} (hypha-certutil makes them)`] : []),
    ...(files.crls_pem.found || given["crls_pem"] !== undefined
      ? []
      : [`without revocation lists: no ${files.crls_pem.path}`]),
    ...(toFill.length > 0 ? [`to be filled in: ${toFill.join(", ")}`] : []),
  ];
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
