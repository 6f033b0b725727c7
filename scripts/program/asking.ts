/**
 * Asking a running program over its admin socket, from its configuration.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem } from "effect";
import { type AdminNotAsked, askAdmin } from "../../actors/admin/ask_admin.ts";
import type { AdminAnswer } from "../../actors/admin/serve_admin.ts";
import { adminSocketPath } from "../../actors/admin/socket_path.ts";
import { readStateDir } from "../../actors/config/load.ts";
import type { Role } from "../../pki/certificate.ts";
import { ProgramFailed } from "./failure.ts";
import { shellWord } from "../../actors/files/shell_word.ts";

/** The program that is asked. */
export interface AskedProgram {
  readonly role: Role;
  /** Path of its configuration, which names its state directory. */
  readonly config: string;
  /** What to do where it does not run; by default to start it. */
  readonly start?: string;
}

const failed = (error: { readonly message: string }) => new ProgramFailed({ exitCode: 1, notice: error.message });

/** The admin socket of the program with this configuration. */
export function socketOf({ role, config }: AskedProgram): Effect.Effect<string, ProgramFailed, FileSystem.FileSystem> {
  return Effect.mapBoth(readStateDir(role, config, process.env), { onSuccess: adminSocketPath, onFailure: failed });
}

/** The error of a program that was not asked: it does not run, or does not answer. */
export function notAsked({ role, config, start = "Start it" }: AskedProgram, error: AdminNotAsked): ProgramFailed {
  if (error.problem !== "not-running") return failed(error);
  const elsewhere = "where it runs with another state_dir: HYPHA_STATE_DIR=DIR";
  return failed({
    message: `no ${role} answers on ${error.path}. ${start}: hypha-${role} run -c ${shellWord(config)}; ${elsewhere}`,
  });
}

/** The answer's body; or its error, with its hint. */
export function bodyOf<A>({ status, body }: AdminAnswer): Effect.Effect<A, ProgramFailed> {
  if (status === 200) return Effect.succeed(body as A);
  const { error = "it refused", hint } = body as { readonly error?: string; readonly hint?: string };
  return Effect.fail(failed({ message: `${error}${hint === undefined ? "" : `. ${hint}`}` }));
}

/** Asks the running program. */
export function ask<A>(program: AskedProgram, route: string, body: unknown = {}) {
  return Effect.gen(function* () {
    const answered = askAdmin(yield* socketOf(program), route, body);
    return yield* bodyOf<A>(yield* Effect.mapError(answered, (error) => notAsked(program, error)));
  });
}
