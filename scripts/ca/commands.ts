/**
 * The commands of `hypha-ca`. Those about a running CA go over its admin socket.
 *
 * @module
 */
import { Console, Effect } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import type { ShownCa } from "../../actors/ca/operator_views.ts";
import { logLevels } from "../../actors/runtime/ports.ts";
import { revocationReasons } from "../../pki/issue/mod.ts";
import { optionalFlag, splitNames } from "../certutil/flags.ts";
import { escapeUnsafe } from "../program/log_line.ts";
import { approvalCommands, policyFlags, statedPolicy, type WaitingAnswer, waitingText } from "./approval_commands.ts";
import { ask, configFlag, print, printJson, requiredFlag, WrongUsage } from "./asking.ts";
import { lifeCommands } from "./life_commands.ts";

const init = Command.make(
  "init",
  {
    domain: requiredFlag("domain", "DOMAIN", "Trust domain that the CA issues for."),
    url: requiredFlag("url", "URL", "Where nodes reach the CA: https://HOST[:PORT]."),
    name: Flag.String("name").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDefault("ca-01"),
      Flag.withDescription("The CA's own name (default ca-01)."),
    ),
    gateways: Flag.String("gateway").pipe(
      Flag.withMetavar("NAME=ADDRESS"),
      Flag.withDescription("A gateway and its address, for nodes that join; may be repeated (default: none)."),
      Flag.atLeast(0),
    ),
    folder: requiredFlag("dir", "DIR", "Folder of the CA; it is made, or empty.").pipe(Flag.withAlias("d")),
    from: optionalFlag(
      "from",
      "DIR",
      "Take over the CA of hypha-certutil in DIR: certificate, key, records (default: none).",
    ),
    ...policyFlags,
  },
  ({ approvers, threshold, operations, ...request }) =>
    Effect.gen(function* () {
      const { initCa } = yield* Effect.promise(() => import("../../actors/ca/init_ca.ts"));
      const policy = yield* statedPolicy({ approvers, threshold, operations });
      const made = yield* initCa({ ...request, policy }, new Date());
      yield* print(`wrote ${made.config}`);
      if (made.rootKey !== undefined) yield* print(`take offline: ${made.rootKey}`);
      if (made.rootListEnds === undefined) yield* print("the root has no revocation list here");
      else yield* print(`the root's revocation list ends at ${made.rootListEnds.toISOString()}`);
      if (made.imported !== undefined) {
        const { certificates, revocations, number } = made.imported;
        yield* print(
          `took over ${certificates} certificates and ${revocations} revocations; the next list is ${number}`,
        );
        yield* print("make no more lists of this CA with hypha-certutil: peers would refuse them as a roll-back");
      }
    }),
).pipe(Command.withDescription("Make a CA: root, intermediate, register, configuration."));

const formatFlag = Flag.Literals("log-format", ["text", "json"]).pipe(
  Flag.withDefault("text" as const),
  Flag.withDescription("Lines for people, or one JSON object a line."),
);
const run = Command.make(
  "run",
  { config: configFlag, format: formatFlag },
  ({ config, format }) =>
    Effect.gen(function* () {
      const { run } = yield* Effect.promise(() => import("./run.ts"));
      yield* run(config, format);
    }),
).pipe(Command.withDescription("Run the CA until a signal stops it (SIGINT, SIGTERM)."));

interface TokenAnswer {
  readonly token: string;
  readonly identity: string;
  readonly voided: number;
}

const token = Command.make(
  "token",
  {
    config: configFlag,
    role: Flag.Literals("role", ["gateway", "scheduler", "worker", "data"]).pipe(
      Flag.withDescription("Role of the node (required)."),
    ),
    name: requiredFlag("name", "NAME", "Name of the node."),
    san: Flag.String("san").pipe(
      Flag.withMetavar("NAME"),
      Flag.withDescription("DNS:x or IP:1.2.3.4; may be repeated (default: IP:0.0.0.0 and the name)."),
      Flag.atLeast(0),
    ),
    lifetime: Flag.Int("lifetime").pipe(
      Flag.withMetavar("SECONDS"),
      Flag.withDefault(3_600),
      Flag.withDescription("How long it is valid, at most 86400 (default 3600)."),
    ),
    replace: Flag.Boolean("replace").pipe(
      Flag.withDefault(false),
      Flag.withDescription(
        "The name may have a certificate, or be locked. Its earlier tokens that brought none are void.",
      ),
    ),
    identity: Flag.Boolean("identity").pipe(
      Flag.withDefault(false),
      Flag.withDescription("For a key in hardware: the node gets short-lived certificates for TLS with it."),
    ),
  },
  ({ config, role, name, san, lifetime, replace, identity }) =>
    Effect.gen(function* () {
      const names = san.length === 0 ? {} : { san: splitNames(san) };
      const answer = yield* ask(config, "POST /ca/token", {
        role,
        name,
        ...names,
        lifetime_s: lifetime,
        replace,
        identity,
      });
      const { token, identity: own, voided } = answer as TokenAnswer;
      if (voided > 0) yield* Console.error(escapeUnsafe(`earlier tokens of ${own} that are void now: ${voided}`));
      yield* print(token);
    }),
).pipe(Command.withDescription("Make a token with which one node gets its certificate."));

interface NodesAnswer {
  readonly nodes: readonly { readonly identity: string; readonly not_after: string }[];
  readonly after?: unknown;
}

const nodes = Command.make(
  "nodes",
  {
    config: configFlag,
    name: Argument.String("name").pipe(Argument.withDescription("SPIFFE ID, or its last part."), Argument.optional),
  },
  ({ config, name }) =>
    Effect.gen(function* () {
      const named = name._tag === "Some" ? { name: name.value } : {};
      const found: NodesAnswer["nodes"][number][] = [];
      let page: NodesAnswer = { nodes: [] };
      do {
        const behind = page.after === undefined ? {} : { after: page.after };
        page = (yield* ask(config, "POST /ca/nodes", { ...named, ...behind })) as NodesAnswer;
        found.push(...page.nodes);
      } while (page.after !== undefined);
      const byName = (a: NodesAnswer["nodes"][number], b: NodesAnswer["nodes"][number]) =>
        a.identity < b.identity ? -1 : a.identity > b.identity ? 1 : a.not_after < b.not_after ? -1 : 1;
      yield* printJson(found.toSorted(byName));
    }),
).pipe(
  Command.withDescription("List the certificates that have not ended, as JSON; with NAME those of one node."),
);

const status = Command.make(
  "status",
  {
    config: configFlag,
    json: Flag.Boolean("json").pipe(Flag.withDefault(false), Flag.withDescription("Print JSON on standard output.")),
    watch: Flag.Boolean("watch").pipe(
      Flag.withDefault(false),
      Flag.withDescription("Print it again whenever it changed, until a signal ends the command."),
    ),
  },
  ({ config, json, watch }) =>
    Effect.gen(function* () {
      const { showStatus } = yield* Effect.promise(() => import("../program/watch_status.ts"));
      const { caText } = yield* Effect.promise(() => import("./ca_text.ts"));
      const look = Effect.map(ask(config, "GET /status"), (shown) => shown as ShownCa);
      yield* showStatus({ look, asText: caText, format: json ? "json" : "text", watch });
    }),
).pipe(Command.withDescription("Show the running CA: issuers, certificates, revocation lists, locked names."));

const logLevel = Command.make(
  "log-level",
  {
    config: configFlag,
    level: Argument.Literals("level", logLevels).pipe(
      Argument.withDescription("Least level that it writes to its log from now on."),
    ),
  },
  ({ config, level }) => Effect.andThen(ask(config, "POST /log-level", { level }), print(`logs from ${level} on`)),
).pipe(Command.withDescription("Change the level of the running CA's log, until it ends."));

interface RevokedAnswer {
  readonly waits?: WaitingAnswer;
  readonly revoked: readonly { readonly identity: string; readonly serial: string }[];
  readonly unlisted: RevokedAnswer["revoked"];
  /** Names without certificates, whose unused tokens were voided. */
  readonly voided?: readonly string[];
  /** Undefined where only tokens were voided. */
  readonly number?: string;
  readonly gap?: { readonly from: string; readonly to: string };
}

const reasons = Object.keys(revocationReasons) as (keyof typeof revocationReasons)[];
const revoke = Command.make(
  "revoke",
  {
    config: configFlag,
    names: Argument.String("name").pipe(
      Argument.withDescription("SPIFFE IDs, or their last parts."),
      Argument.atLeast(0),
    ),
    serial: optionalFlag("serial", "SERIAL", "One certificate and those that renew it, in place of a name."),
    reason: Flag.Literals("reason", reasons).pipe(
      Flag.withDefault("unspecified" as const),
      Flag.withDescription("Why (default unspecified)."),
    ),
  },
  ({ config, names, serial, reason }) =>
    Effect.gen(function* () {
      if ((names.length > 0) === (serial !== undefined)) {
        return yield* new WrongUsage({ detail: "Give names or --serial." });
      }
      const target = serial === undefined ? { names } : { serial };
      const done = yield* ask(config, "POST /ca/revoke", { ...target, reason });
      const { revoked, unlisted, voided = [], number, gap, waits } = done as RevokedAnswer;
      for (const identity of voided) yield* print(`voided the unused tokens of ${identity}`);
      if (waits !== undefined) return yield* print(waitingText(config, waits));
      for (const { identity, serial } of revoked) yield* print(`revoked ${identity} ${serial}`);
      for (const { identity, serial } of unlisted) {
        yield* Console.error(
          escapeUnsafe(`warning: ${identity} ${serial} is another CA's: revoke it in that CA's list too`),
        );
      }
      if (gap !== undefined) {
        const what = `certificates issued from ${gap.from} to ${gap.to} are not in the restored register`;
        yield* Console.error(`warning: ${what}: revoke those that you know by --serial; others when they renew`);
      }
      if (number !== undefined) yield* print(`list ${number}`);
    }),
).pipe(Command.withDescription("Revoke the certificates of nodes and end their renewal."));

/** All of them. */
export const caCommands = [
  init,
  run,
  token,
  ...approvalCommands,
  nodes,
  revoke,
  status,
  logLevel,
  ...lifeCommands,
] as const;
