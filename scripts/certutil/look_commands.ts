/**
 * Commands of `hypha-certutil` that look at files and change none.
 *
 * @module
 */
import { Console, Effect, Option } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import type { CertutilError } from "../../actors/certutil/certutil_error.ts";
import { actNames } from "../../transport/authorization/acts.ts";
import { ProgramFailed } from "../program/failure.ts";
import { fileFlag, optionalFlag, passinFlag } from "./flags.ts";
import { escapeUnsafe, shownJson } from "../program/log_line.ts";

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
      const lines = json ? [shownJson(inspection)] : inspectionLines(inspection).map(escapeUnsafe);
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
      const lines = json ? [shownJson({ ok, code, path, reason })] : verdictLines(verdict).map(escapeUnsafe);
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
      const lines = json ? [shownJson(diagnosis)] : diagnosisLines(diagnosis).map(escapeUnsafe);
      yield* Console.log(lines.join("\n"));
      if (!diagnosis.ok) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription("Examine a node's files: exit code 0 nothing wrong, 1 something is."));

const explain = Command.make(
  "explain",
  {
    config: fileFlag("config", "The configuration of the node at which it is done, of any role.").pipe(
      Flag.withAlias("c"),
    ),
    peer: fileFlag("peer", "Certificate of the member that does it, and what it sends behind it."),
    act: Flag.Literals("act", actNames).pipe(
      Flag.withDescription("The act, as in the log line of the refusal (default: every act, as a table)."),
      Flag.optional,
      Flag.map(Option.getOrUndefined),
    ),
    at: optionalFlag("at", "RFC3339", "The time of the verification (default: now)."),
    json: jsonFlag,
  },
  ({ json, ...options }) =>
    Effect.gen(function* () {
      const { explain } = yield* Effect.promise(() => import("../../actors/certutil/explain.ts"));
      const { explanationLines } = yield* Effect.promise(() => import("./explain_lines.ts"));
      const explanation = yield* explain(options).pipe(Effect.catch(wrongUsage));
      const [first, ...more] = explanation.acts;
      const shown = options.act === undefined ? explanation.acts : first;
      const lines = json
        ? [shownJson(shown)]
        : explanationLines(explanation, options.act === undefined ? "table" : "act").map(escapeUnsafe);
      yield* Console.log(lines.join("\n"));
      const isMet = more.length > 0 ? explanation.acts.some(({ by }) => by !== "gate") : first?.allowed === true;
      if (!isMet) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription(
  "Explain whether a member may do an act at a node, and by which row or rule: exit code 0 allowed, 1 denied, 2 not decided.",
));

/** Exit code 1 stands for a verdict: what prevents one is wrong usage. */
const wrongUsage = ({ message }: CertutilError) =>
  Effect.flatMap(
    Console.error(`hypha-certutil: ${escapeUnsafe(message)}`),
    () => Effect.fail(new ProgramFailed({ exitCode: 2, notice: undefined })),
  );

/** All of them. */
export const lookCommands = [inspect, verify, doctor, explain] as const;
