/**
 * Commands of `hypha-certutil` for operations that several persons approve.
 *
 * @module
 */
import { Console, Effect, Option, Result } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { defaultDays } from "../../actors/certutil/lifetime.ts";
import { ProgramFailed } from "../program/failure.ts";
import { escapeUnsafe } from "../program/log_line.ts";
import {
  daysFlag,
  existingFlag,
  fileFlag,
  issuedFlag,
  lifetimeFlags,
  optionalFlag,
  passinFlag,
  pathLengthFlag,
  subjectFlags,
} from "./flags.ts";
import { reasonFlag } from "./revocation_commands.ts";
import { say } from "./say.ts";

const load = {
  approvers: Effect.promise(() => import("../../actors/certutil/approval/approvers.ts")),
  request: Effect.promise(() => import("../../actors/certutil/approval/request.ts")),
  approve: Effect.promise(() => import("../../actors/certutil/approval/approve.ts")),
  execute: Effect.promise(() => import("../../actors/certutil/approval/execute.ts")),
};

const caCertFlag = fileFlag(
  "ca-cert",
  "Certificate of the CA, PEM or DER; the policy is the file FILE.approvers.json.",
);

const policyFlags = {
  approvers: Flag.String("approver").pipe(
    Flag.withMetavar("NAME=FILE"),
    Flag.withDescription("An approver and the public key or certificate, PEM; once for each (required)"),
    Flag.atLeast(1),
  ),
  threshold: Flag.Int("threshold").pipe(
    Flag.withMetavar("K"),
    Flag.withDescription("How many of them must approve (required)"),
  ),
  operations: Flag.Literals("operation", ["issue-intermediate", "revoke-ca"]).pipe(
    Flag.withDescription("Operation that waits for them beside change-approvers; may be repeated (default: both)."),
    Flag.atLeast(0),
    Flag.map((given) => given.length === 0 ? undefined : given),
  ),
};

const approvers = Command.make(
  "approvers",
  { caCert: caCertFlag, ...policyFlags },
  (options) => say(Effect.flatMap(load.approvers, ({ makeApprovers }) => makeApprovers(options))),
).pipe(Command.withDescription(
  "Make the first approval policy of a CA: from then on these operations wait for K of the approvers.",
));

const requestFlags = {
  caCert: caCertFlag,
  out: fileFlag("out", "Where the request goes."),
  hours: Flag.Int("hours").pipe(
    Flag.withMetavar("N"),
    Flag.withDescription("Hours until the request expires, 1 to 24 (default 24)."),
    Flag.withDefault(24),
  ),
  existing: existingFlag,
};

const intermediate = Command.make(
  "issue-intermediate",
  {
    ...requestFlags,
    csr: fileFlag("csr", "The intermediate's own request, PEM or DER: only the key is taken from it."),
    ...subjectFlags,
    ...lifetimeFlags(defaultDays.intermediate),
    pathLength: pathLengthFlag,
  },
  (options) => say(Effect.flatMap(load.request, ({ requestIntermediate }) => requestIntermediate(options))),
).pipe(Command.withDescription("Request the certificate of an intermediate CA."));

const revocation = Command.make(
  "revoke-ca",
  {
    ...requestFlags,
    cert: fileFlag("cert", "Certificate of the CA to revoke, PEM or DER."),
    reason: reasonFlag,
  },
  (options) => say(Effect.flatMap(load.request, ({ requestRevocation }) => requestRevocation(options))),
).pipe(Command.withDescription("Request that a CA is revoked."));

const change = Command.make(
  "change-approvers",
  { ...requestFlags, ...policyFlags },
  (options) => say(Effect.flatMap(load.request, ({ requestApprovers }) => requestApprovers(options))),
).pipe(Command.withDescription("Request another policy: the approvers of the present one approve it."));

const request = Command.make("request").pipe(
  Command.withDescription("Requests an operation that waits for approvals. The CA's key is not needed."),
  Command.withSubcommands([intermediate, revocation, change]),
);

const approve = Command.make(
  "approve",
  {
    request: Argument.String("request").pipe(Argument.withDescription("The request.")),
    key: optionalFlag(
      "key",
      "KEY",
      "The approver's key, Ed25519 or ECDSA P-256: a file or a pkcs11: URI (default: nothing is signed).",
    ),
    passin: passinFlag,
    out: optionalFlag("out", "FILE", "Where the approval goes (default: nothing is signed)."),
    existing: existingFlag,
  },
  (options) => say(Effect.flatMap(load.approve, ({ approve }) => approve(options))),
).pipe(Command.withDescription("Show what a request would do; with --key and --out, approve it."));

const filesArgument = Argument.String("file").pipe(
  Argument.withDescription("The request and its approvals, in any order."),
  Argument.atLeast(1),
);

const execute = Command.make(
  "execute",
  {
    files: filesArgument,
    caCert: caCertFlag,
    caKey: optionalFlag(
      "ca-key",
      "KEY",
      "Key of the CA: a file or a pkcs11: URI (default: none; change-approvers needs none).",
    ),
    passin: passinFlag,
    issued: issuedFlag,
    outCert: optionalFlag("out-cert", "FILE", "For issue-intermediate: where the certificate goes (default: nowhere)."),
    outCrl: optionalFlag("out-crl", "FILE", "For revoke-ca: where the revocation list goes (default: nowhere)."),
    days: daysFlag(defaultDays.crl, "the next list is due"),
    record: optionalFlag(
      "record",
      "FILE",
      "Record of the CA's revocations (default: the --ca-cert file + .revoked.tsv).",
    ),
    first: Flag.Boolean("first").pipe(
      Flag.withDescription("The CA has made no list before (default: a list without a record is refused)."),
      Flag.withDefault(false),
    ),
    existing: existingFlag,
  },
  (options) => say(Effect.flatMap(load.execute, ({ executeApproved }) => executeApproved(options))),
).pipe(Command.withDescription("Execute a request once, when enough of the listed approvers have approved it."));

const notMet = new ProgramFailed({ exitCode: 1, notice: undefined });

const verifyApprovals = Command.make(
  "verify-approvals",
  {
    files: filesArgument,
    policy: fileFlag("policy", "The policy: the file beside the CA's certificate, or a copy."),
    caCert: Flag.String("ca-cert").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("Certificate of the CA that the request must name (default: any CA)."),
      Flag.optional,
      Flag.map(Option.getOrUndefined),
    ),
    at: optionalFlag("at", "RFC3339", "The time of the verification (default: now)."),
  },
  (options) =>
    Effect.gen(function* () {
      const { verifyCeremony } = yield* load.approve;
      const { describeRequest } = yield* Effect.promise(() =>
        import("../../actors/certutil/approval/describe_request.ts")
      );
      const verified = yield* verifyCeremony(options);
      const lines = Result.match(verified, {
        onSuccess: ({ request, approvers }) => [
          `approved by ${approvers.map(({ name }) => name).join(", ")}`,
          ...describeRequest(request),
        ],
        onFailure: ({ code, message, hint }) => [`refused: ${code}`, `  ${message}`, `  ${hint}`],
      });
      for (const line of lines) yield* Console.log(escapeUnsafe(line));
      if (Result.isFailure(verified)) yield* Effect.fail(notMet);
    }),
).pipe(Command.withDescription(
  "Verify a request's approvals from files alone, whether or not it was executed: exit code 0 approved, 1 refused.",
));

/** All of them. */
export const approvalCommands = [approvers, request, approve, execute, verifyApprovals] as const;
