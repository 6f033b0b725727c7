/**
 * Asking the running CA, and what its commands have in common.
 *
 * @module
 */
import { Console, Data, Effect, Result } from "effect";
import { Flag } from "effect/cli";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import { socketPath } from "../../actors/ca/open_authority.ts";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import { adminTimeoutMs } from "../../actors/admin/serve_admin.ts";
import { escapeUnsafe, shownJson } from "../program/log_line.ts";
import { shellWord } from "../../actors/files/shell_word.ts";

/** The running CA refused a command. */
export class CommandRefused extends Data.TaggedError("CommandRefused")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail;
  }
}

/** Flags and arguments that do not go together, or that are missing. */
export class WrongUsage extends Data.TaggedError("WrongUsage")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail;
  }
}

/** The configuration's path. */
export const configFlag = Flag.String("config").pipe(
  Flag.withAlias("c"),
  Flag.withMetavar("FILE"),
  Flag.withDefault("ca.toml"),
  Flag.withDescription("Configuration file (default ca.toml)."),
);
/** A flag that must be there. */
export const requiredFlag = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(`${description} (required)`));

/** What a rotation needs. A CA whose key is lost cannot run before these are answered. */
const rotationRoutes: ReadonlySet<string> = new Set([
  "POST /ca/rotate",
  "POST /ca/requests",
  "POST /ca/request",
  "POST /ca/approve",
  "POST /ca/decide",
]);

/** Asks the running CA, or about its rotation the register of one that does not run; the answer's body. */
export function ask(config: string, route: string, body: unknown = {}, timeoutMs: number = adminTimeoutMs) {
  return Effect.gen(function* () {
    const asked = yield* Effect.result(askAdmin(socketPath(yield* loadCaConfig(config)), route, body, timeoutMs));
    if (Result.isFailure(asked) && asked.failure.problem !== "not-running") return yield* asked.failure;
    const answer = Result.isSuccess(asked) ? asked.success : yield* askNotRunning(config, route, body);
    if (answer.status === 200) return answer.body;
    const { error = "refused", hint = "" } = answer.body as { readonly error?: string; readonly hint?: string };
    return yield* new CommandRefused({ detail: `${error}. ${hint}`.trim() });
  });
}

const askNotRunning = Effect.fnUntraced(function* (config: string, route: string, body: unknown) {
  if (rotationRoutes.has(route)) {
    const { askStopped } = yield* Effect.promise(() => import("./stopped.ts"));
    const answer = yield* askStopped(config, route, body);
    if (answer !== undefined) return answer;
  }
  return yield* new CommandRefused({ detail: `The CA is not running. Start it: hypha-ca run -c ${shellWord(config)}` });
});

/** Prints a line. */
export const print = (text: string) => Console.log(escapeUnsafe(text));
/** Prints an answer. */
export const printJson = (value: unknown) => Console.log(shownJson(value));
