/**
 * `hypha-certutil audit`.
 *
 * @module
 */
import { Console, Effect, Option } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import type { AuditRecord } from "../../actors/audit/audit_record.ts";
import type { AuditFinding } from "../../actors/audit/finding.ts";
import type { VerifiedLog } from "../../actors/audit/verify_log.ts";
import { ProgramFailed } from "../program/failure.ts";
import { escapeUnsafe, shownJson } from "../program/log_line.ts";
import { outputTaken } from "../program/shown_output.ts";
import { fileFlag, optionalFlag } from "./flags.ts";

const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDescription("Print JSON and nothing else (default: text)."),
  Flag.withDefault(false),
);
const keyFlag = optionalFlag(
  "key",
  "KEY",
  "Verifier key of the log, or a file with it (default: the log's audit.vkey, which its owner can replace).",
);
const dirFlag = Flag.Directory("dir").pipe(
  Flag.withAlias("d"),
  Flag.withMetavar("DIR"),
  Flag.withDescription("Folder of the log (default: the present one)."),
  Flag.withDefault("."),
);
const load = Effect.promise(() => import("../../actors/certutil/audit.ts"));
const isFinding = (value: object | undefined): value is AuditFinding => value !== undefined && "_tag" in value;
const print = (line: string) => Console.log(escapeUnsafe(line));
const notMet = new ProgramFailed({ exitCode: 1, notice: undefined });

const verify = Command.make(
  "verify",
  {
    dir: Argument.Directory("dir").pipe(Argument.withDescription("Folder of the log.")),
    key: keyFlag,
    witness: optionalFlag(
      "witness",
      "PATH",
      "What a witness holds: `witness` in its state_dir, a file of it, or copied checkpoints (default: none).",
    ),
    json: jsonFlag,
  },
  ({ json, ...options }) =>
    Effect.gen(function* () {
      const { verifyAudit } = yield* load;
      const verified = yield* verifyAudit(options);
      const ok = !isFinding(verified);
      if (json) yield* Console.log(shownJson(ok ? { ok, ...verified } : findingJson(verified)));
      else for (const line of ok ? verifiedLines(verified) : [verified.message]) yield* print(line);
      if (!ok) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription("Verify a log from its files: exit code 0 in order, 1 changed."));

const findingJson = ({ code, file, line, detail }: AuditFinding) => ({ ok: false, code, file, line, detail });

function verifiedLines(verified: VerifiedLog): readonly string[] {
  const { origin, records, removed, covered, checkpoints, first, last, torn } = verified;
  const count = (many: number) => many.toLocaleString("en-US");
  const times = first === undefined ? "" : `, ${first} to ${last}`;
  const rest = records === covered ? "" : `; the last ${count(records - covered)} are in none yet`;
  return [
    `${origin}: ${count(records)} records in order${times}`,
    ...(removed === 0 ? [] : [`${count(removed)} of them were removed because of their age`]),
    `${count(checkpoints)} checkpoints cover ${count(covered)} records${rest}`,
    ...(torn === undefined
      ? []
      : [`${torn.file}:${torn.line}: the last line is incomplete: a crash left it, or it is being written`]),
  ];
}

const prove = Command.make(
  "prove",
  {
    seq: Argument.Int("seq").pipe(
      Argument.withDescription("Number of the record (`seq`); or give --serial."),
      Argument.optional,
    ),
    serial: optionalFlag(
      "serial",
      "HEX",
      "Serial of a certificate: prove the record of its issuance, in the log of hypha-ca (default: none).",
    ),
    dir: dirFlag,
    key: keyFlag,
  },
  ({ seq, ...options }) =>
    Effect.gen(function* () {
      const { proveAudit } = yield* load;
      const proof = yield* proveAudit({ ...options, seq: Option.getOrUndefined(seq) });
      yield* Console.log(shownJson(proof));
    }),
).pipe(Command.withDescription("Print a proof that a record is in the log, as JSON; audit check reads it."));

const check = Command.make(
  "check",
  {
    file: Argument.String("file").pipe(Argument.withDescription("The proof.")),
    key: fileFlag("key", "Verifier key of the log, or a file with it."),
  },
  (options) =>
    Effect.gen(function* () {
      const { checkAuditProof } = yield* load;
      const checked = yield* checkAuditProof(options);
      const holds = !("problem" in checked);
      yield* print(holds ? checked.line : `${options.file}: ${checked.problem}`);
      if (!holds) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription("Check a proof and print its record: exit code 0 it holds, 1 it does not."));

const show = Command.make(
  "show",
  {
    dir: dirFlag,
    since: optionalFlag("since", "RFC3339", "Records from this instant on (default: from the first)."),
    until: optionalFlag("until", "RFC3339", "Records before this instant (default: to the last)."),
    code: optionalFlag("code", "CODE", "Records with this outcome, such as a refusal's code (default: all)."),
    type: optionalFlag("type", "TYPE", "Records of this type (default: all)."),
    peer: optionalFlag("peer", "TEXT", "Records about peers with this in their name or PeerID (default: all)."),
    json: jsonFlag,
  },
  ({ json, ...options }) =>
    Effect.gen(function* () {
      const { showAudit } = yield* load;
      let lines: string[] = [];
      const onSegment = Effect.gen(function* () {
        if (lines.length === 0) return;
        yield* Console.log(lines.join("\n"));
        lines = [];
        yield* Effect.promise(outputTaken);
      });
      const finding = yield* showAudit(options, {
        onRecord: (record, line) => void lines.push(json ? line : escapeUnsafe(recordLine(record))),
        onSegment,
      });
      if (finding === undefined) return;
      yield* Console.error(`hypha-certutil: ${escapeUnsafe(finding.message)}`);
      yield* Effect.fail(notMet);
    }),
).pipe(
  Command.withDescription(
    "Show records; with --json as they are, one a line. Checks their chain, not the checkpoints.",
  ),
);

function recordLine({ seq, ts, type, outcome, peer, detail }: AuditRecord): string {
  return `${seq} ${ts} ${type} ${outcome}${peer === undefined ? "" : ` ${peer}`} ${JSON.stringify(detail)}`;
}

/** The commands about audit logs. */
export const audit = Command.make("audit").pipe(
  Command.withDescription("Verifies and shows audit logs."),
  Command.withSubcommands([verify, prove, check, show]),
);
