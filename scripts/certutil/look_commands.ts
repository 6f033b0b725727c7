/**
 * Commands of `hypha-certutil` that look at files and change none.
 *
 * @module
 */
import { Console, Effect } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { ProgramFailed } from "../program/failure.ts";
import { fileFlag, optionalFlag, passinFlag } from "./flags.ts";
import { escapeUnsafe } from "../program/log_line.ts";

const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDescription("Print one JSON object and nothing else (default: text)."),
  Flag.withDefault(false),
);

/** Prints nothing more: the command has printed its verdict. */
const notMet = new ProgramFailed({ exitCode: 1, notice: undefined });

const inspect = Command.make(
  "inspect",
  {
    file: Argument.String("file").pipe(Argument.withDescription("File in PEM or DER.")),
    passin: passinFlag,
    json: jsonFlag,
  },
  ({ file, passin, json }) =>
    Effect.gen(function* () {
      const { inspect } = yield* Effect.promise(() => import("../../actors/certutil/inspect.ts"));
      const { inspectionLines } = yield* Effect.promise(() => import("./look_lines.ts"));
      const inspection = yield* inspect(file, passin);
      const lines = json ? [JSON.stringify(inspection, undefined, 2)] : inspectionLines(inspection).map(escapeUnsafe);
      yield* Console.log(lines.join("\n"));
      if (!inspection.ok) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription("Show what is in a file: certificates, revocation lists, requests, keys."));

const verify = Command.make(
  "verify",
  {
    chain: Argument.String("chain").pipe(Argument.withDescription("The leaf, and what a node would send behind it.")),
    trust: fileFlag("trust", "Trust bundle, as in trust_pem."),
    crls: optionalFlag("crls", "FILE", "Revocation lists, as in crls_pem (default: none, no certificate is revoked)."),
    at: optionalFlag("at", "RFC3339", "The time of the verification (default: now)."),
    json: jsonFlag,
  },
  ({ json, ...options }) =>
    Effect.gen(function* () {
      const { verifyChain } = yield* Effect.promise(() => import("../../actors/certutil/verify.ts"));
      const { verdictLines } = yield* Effect.promise(() => import("./look_lines.ts"));
      const verdict = yield* verifyChain(options);
      const { ok, code, path, reason } = verdict;
      const lines = json
        ? [JSON.stringify({ ok, code, path, reason }, undefined, 2)]
        : verdictLines(verdict).map(escapeUnsafe);
      yield* Console.log(lines.join("\n"));
      if (!ok) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription("Verify a chain as a node does: exit code 0 accepted, 1 refused."));

const doctor = Command.make(
  "doctor",
  {
    config: fileFlag("config", "The node's configuration, of any role.").pipe(Flag.withAlias("c")),
    at: optionalFlag("at", "RFC3339", "The time of the verification (default: now)."),
    json: jsonFlag,
  },
  ({ json, ...options }) =>
    Effect.gen(function* () {
      const { examine } = yield* Effect.promise(() => import("../../actors/certutil/doctor.ts"));
      const { diagnosisLines } = yield* Effect.promise(() => import("./look_lines.ts"));
      const diagnosis = yield* examine(options);
      const lines = json ? [JSON.stringify(diagnosis, undefined, 2)] : diagnosisLines(diagnosis).map(escapeUnsafe);
      yield* Console.log(lines.join("\n"));
      if (!diagnosis.ok) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription("Examine a node's files: exit code 0 nothing wrong, 1 something is."));

/** All of them. */
export const lookCommands = [inspect, verify, doctor] as const;
