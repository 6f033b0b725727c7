/**
 * Commands of `hypha-ca` about requests: what waits for one operator's yes, and what waits for the approvals of several persons.
 *
 * @module
 */
import process from "node:process";
import { Effect, Option, Result } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import type { StatedPolicy } from "../../actors/certutil/approval/approvers.ts";
import type { ApprovalPolicy, OperationName } from "../../pki/approval/approval_policy.ts";
import { optionalFlag, passinFlag } from "../certutil/flags.ts";
import { ask, CommandRefused, configFlag, print, printJson, WrongUsage } from "./asking.ts";
import { shellWord } from "../../actors/files/shell_word.ts";

/** A request that waits, as the CA answers. */
export interface WaitingAnswer {
  readonly id: string;
  readonly operation: string;
  readonly state: "open" | "executed" | "lapsed";
  readonly approvers: readonly string[];
  readonly threshold: number;
  readonly expires: string;
  readonly reason?: string;
}

/** One line about it, with the command for the CA of a configuration. */
export function waitingText(
  config: string,
  { id, operation, threshold, approvers, expires }: WaitingAnswer,
): string {
  const wanted = threshold - approvers.length;
  const approve = `hypha-ca approve -c ${shellWord(config)} ${id} --key FILE`;
  return `${operation} waits for ${wanted} approvals until ${expires}: ${approve}`;
}

const operationFlags = [
  "issue-role:data",
  "issue-role:gateway",
  "issue-role:scheduler",
  "issue-role:worker",
  "revoke-many",
  "rotate-ca",
] as const satisfies readonly OperationName[];

/** Flags that state who approves what. */
export const policyFlags = {
  approvers: Flag.String("approver").pipe(
    Flag.withMetavar("NAME=FILE"),
    Flag.withDescription("An approver and the public key or certificate, PEM; once for each (default: none)."),
    Flag.atLeast(0),
  ),
  threshold: Flag.Int("threshold").pipe(
    Flag.withMetavar("K"),
    Flag.withDescription("How many of the approvers must approve (default: none; required with --approver)."),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
  ),
  operations: Flag.Literals("operation", operationFlags).pipe(
    Flag.withDescription("Operation that waits for them beside change-approvers; may be repeated (default: all)."),
    Flag.atLeast(0),
    Flag.map((given) => given.length === 0 ? undefined : given),
  ),
};

/** What the flags give. */
export interface GivenPolicy extends Omit<StatedPolicy, "threshold"> {
  readonly threshold: number | undefined;
}

/** The policy of the flags; undefined where none is stated. */
export const statedPolicy = Effect.fnUntraced(function* ({ approvers, threshold, operations }: GivenPolicy) {
  if (approvers.length === 0 && threshold === undefined && operations === undefined) return undefined;
  if (approvers.length === 0 || threshold === undefined) {
    return yield* new WrongUsage({ detail: "--approver and --threshold go together." });
  }
  const { policyFrom } = yield* Effect.promise(() => import("../../actors/certutil/approval/approvers.ts"));
  return yield* policyFrom({ approvers, threshold, operations: operations ?? operationFlags });
});

const loadDescription = Effect.promise(() => import("../../actors/certutil/approval/describe_request.ts"));
const loadWriting = Effect.promise(() => import("../../actors/files/write_whole.ts"));

/** Writes the register's approvers beside the configuration. */
const writeApprovers = Effect.fnUntraced(function* (config: string, line: string) {
  const { approversJson: path } = yield* loadCaConfig(config);
  const { writeWhole } = yield* loadWriting;
  yield* writeWhole([{ path, content: `${line}\n`, accessAs: config }], "replace");
  yield* print(`wrote ${path}`);
});

/** The policy's line in the register of a CA that runs, or does not. */
const keptPolicy = Effect.fnUntraced(function* (config: string) {
  const loaded = yield* loadCaConfig(config);
  const { registerPath, socketPath } = yield* Effect.promise(() => import("../../actors/ca/open_authority.ts"));
  const asked = yield* Effect.result(askAdmin(socketPath(loaded), "GET /ca/approvers"));
  if (Result.isSuccess(asked)) return (asked.success.body as { readonly policy: string | null }).policy ?? undefined;
  if (asked.failure.problem !== "not-running") return yield* asked.failure;
  const { Register } = yield* Effect.promise(() => import("../../actors/ca/register.ts"));
  const { factOf, policyFact } = yield* Effect.promise(() => import("../../actors/ca/approval_rows.ts"));
  const register = yield* Effect.fromResult(Register.open(registerPath(loaded)));
  const read = register.read((rows) => factOf(rows, policyFact));
  register.close();
  return yield* Effect.fromResult(read);
});

/** Prints a policy. */
export const showPolicy = Effect.fnUntraced(function* ({ line }: Pick<ApprovalPolicy, "line">) {
  const { parseApprovalPolicy } = yield* Effect.promise(() => import("../../pki/approval/approval_policy.ts"));
  const { policyLines } = yield* loadDescription;
  for (const each of policyLines(yield* Effect.fromResult(parseApprovalPolicy(line)))) yield* print(each);
});

const approvers = Command.make(
  "approvers",
  { config: configFlag, ...policyFlags },
  ({ config, ...stated }) =>
    Effect.gen(function* () {
      const policy = yield* statedPolicy(stated);
      if (policy !== undefined) yield* ask(config, "POST /ca/approvers", { policy: policy.line });
      const line = policy?.line ?? (yield* keptPolicy(config));
      if (line === undefined) {
        return yield* new CommandRefused({ detail: "The CA has no approvers. Give --approver and --threshold." });
      }
      yield* writeApprovers(config, line);
      yield* showPolicy({ line });
    }),
).pipe(
  Command.withDescription("Write the register's approvers to approvers.json; with --approver, set the first ones."),
);

const change = Command.make(
  "change-approvers",
  { config: configFlag, ...policyFlags },
  ({ config, ...stated }) =>
    Effect.gen(function* () {
      const policy = yield* statedPolicy(stated);
      if (policy === undefined) {
        return yield* new WrongUsage({ detail: "Give all approvers of the new policy, and --threshold." });
      }
      const waits = yield* ask(config, "POST /ca/change-approvers", { policy: policy.line });
      yield* print(waitingText(config, waits as WaitingAnswer));
    }),
).pipe(Command.withDescription("Request other approvers: enough of the present ones have to approve them."));

interface RequestsPage {
  readonly requests: readonly unknown[];
  readonly approvals: readonly unknown[];
  readonly after?: unknown;
}

const listRequests = Effect.fnUntraced(function* (config: string) {
  const found: unknown[] = [];
  let page: RequestsPage = { requests: [], approvals: [] };
  do {
    const behind = page.after === undefined ? {} : { after: page.after };
    page = (yield* ask(config, "POST /ca/requests", behind)) as RequestsPage;
    found.push(...page.approvals, ...page.requests);
  } while (page.after !== undefined);
  yield* printJson(found);
});

interface RequestAnswer {
  readonly state: string;
  readonly request: string;
  readonly approvals: readonly string[];
  readonly denied_by?: string;
}

/** A request by its id, read from the bytes that approvers sign. */
const readRequest = Effect.fnUntraced(function* (config: string, id: string) {
  const answer = (yield* ask(config, "POST /ca/request", { id })) as RequestAnswer;
  const { parseApprovalRequest } = yield* Effect.promise(() => import("../../pki/approval/approval_request.ts"));
  const request = yield* Effect.fromResult(parseApprovalRequest(answer.request));
  if (!request.digest.startsWith(id)) {
    return yield* new CommandRefused({ detail: `The CA answered with another request than ${id}.` });
  }
  return { answer, request };
});

const requests = Command.make(
  "requests",
  {
    config: configFlag,
    id: Argument.String("id").pipe(
      Argument.withDescription("A request that waits for approvals, or has ended: shown as approvers see it."),
      Argument.optional,
    ),
    out: optionalFlag("out", "FILE", "With ID: where the request and its approvals go (default: nowhere)."),
  },
  ({ config, id, out }) =>
    Effect.gen(function* () {
      if (id._tag === "None") {
        return yield* out === undefined ? listRequests(config) : new WrongUsage({ detail: "Give an ID with --out." });
      }
      const { answer, request } = yield* readRequest(config, id.value);
      const { describeRequest } = yield* loadDescription;
      const by = answer.denied_by === undefined ? "" : ` by ${answer.denied_by}`;
      for (const line of [...describeRequest(request), `  state        ${answer.state}${by}`]) yield* print(line);
      if (out === undefined) return;
      const { writeWhole } = yield* loadWriting;
      // An approver elsewhere gets the request alone.
      const lines = answer.state === "open" ? [answer.request] : [answer.request, ...answer.approvals];
      yield* writeWhole([{ path: out, content: `${lines.join("\n")}\n` }], "keep");
      yield* print(`wrote ${out}`);
    }),
).pipe(
  Command.withDescription(
    "List the requests that wait, and those denied within a day, as JSON; with ID show one, export it with --out.",
  ),
);

/** The approval of a file, or a new one by a key. */
const approvalFor = Effect.fnUntraced(function* (
  id: string,
  { config, key, passin, approval }: ApproveFlags,
) {
  const { describeRequest } = yield* loadDescription;
  const { request } = yield* readRequest(config, id);
  for (const line of describeRequest(request)) yield* print(line);
  if (approval !== undefined) {
    const { readLines } = yield* Effect.promise(() => import("../../actors/certutil/approval/approval_files.ts"));
    const [line = "", ...more] = yield* readLines(approval, "approval", "--approval");
    if (more.length > 0) return yield* new CommandRefused({ detail: `${approval} holds more than one approval.` });
    return line;
  }
  const { signApproval } = yield* Effect.promise(() => import("../../actors/certutil/approval/approve.ts"));
  return yield* signApproval(request, { key: key ?? "", passin });
});

interface ApproveFlags {
  readonly config: string;
  readonly key: string | undefined;
  readonly passin: string | undefined;
  readonly approval: string | undefined;
}

interface DecideFlags {
  readonly config: string;
  readonly id: string;
  readonly by: string;
}

/** The user who runs the command, as the environment names it. */
const userName = () => process.env["SUDO_USER"] ?? process.env["USER"] ?? process.env["LOGNAME"] ?? "an operator";

const idArgument = Argument.String("id").pipe(Argument.withDescription("Id of the request."));
const decide = (decision: "approved" | "denied", { config, id, by }: DecideFlags) =>
  Effect.flatMap(
    ask(config, "POST /ca/decide", { id, decision, by }),
    (request) => print(`${decision} ${(request as { readonly identity: string }).identity}`),
  );

const approve = Command.make(
  "approve",
  {
    config: configFlag,
    id: idArgument,
    key: optionalFlag("key", "FILE", "An approver's key: shows the request, signs it, and sends the approval."),
    passin: passinFlag,
    approval: optionalFlag("approval", "FILE", "An approval that hypha-certutil approve has written elsewhere."),
  },
  ({ id, ...flags }) =>
    Effect.gen(function* () {
      const { config, key, approval } = flags;
      if (key !== undefined && approval !== undefined) {
        return yield* new WrongUsage({ detail: "Give --key or --approval." });
      }
      if (key === undefined && approval === undefined) return yield* decide("approved", { config, id, by: userName() });
      const line = yield* approvalFor(id, flags);
      const taken = (yield* ask(config, "POST /ca/approve", { id, approval: line })) as WaitingAnswer;
      const { state, reason, operation, approvers } = taken;
      if (reason !== undefined) {
        const next = state === "open" ? "The CA tries again each minute" : "The request has ended; make a new one";
        return yield* new CommandRefused({ detail: `${operation} was approved and not done: ${reason}. ${next}.` });
      }
      if (state === "open") return yield* print(waitingText(config, taken));
      yield* print(`executed ${operation}, approved by ${approvers.join(", ")}`);
      if (operation !== "change-approvers") return;
      const kept = yield* keptPolicy(config);
      if (kept !== undefined) yield* writeApprovers(config, kept);
    }),
).pipe(Command.withDescription(
  "Approve a request: with --key or --approval as one of several persons, else as the operator of an enrolment.",
));

const deny = Command.make(
  "deny",
  {
    config: configFlag,
    id: idArgument,
    by: optionalFlag("by", "NAME", "Who denies it, for the audit log (default: the user who runs the command)."),
  },
  ({ by, ...flags }) => decide("denied", { ...flags, by: by ?? userName() }),
).pipe(Command.withDescription("Deny a request that waits: one operator can."));

/** All of them. */
export const approvalCommands = [requests, approve, deny, approvers, change] as const;
