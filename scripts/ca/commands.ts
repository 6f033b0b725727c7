/**
 * The commands of `hypha-ca`. Those about a running CA go over its admin socket.
 *
 * @module
 */
import { resolve } from "node:path";
import { Console, Data, Effect } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import { socketPath } from "../../actors/ca/open_authority.ts";
import { askAdmin } from "../../actors/node/admin/ask_admin.ts";
import { revocationReasons } from "../../pki/issue/mod.ts";
import { escapeUnsafe } from "../program/log_line.ts";
import { optionalFlag, splitNames } from "../certutil/flags.ts";

/** The running CA refused a command. */
class CommandRefused extends Data.TaggedError("CommandRefused")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail;
  }
}

const configFlag = Flag.String("config").pipe(
  Flag.withAlias("c"),
  Flag.withMetavar("FILE"),
  Flag.withDefault("ca.toml"),
  Flag.withDescription("Configuration file (default ca.toml)."),
);
const requiredFlag = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(`${description} (required)`));

/** Asks the running CA; its answer's body. */
function ask(config: string, route: string, body: unknown = {}) {
  return Effect.gen(function* () {
    const answer = yield* askAdmin(socketPath(yield* loadCaConfig(config)), route, body).pipe(
      Effect.mapError((error) =>
        error.problem === "not-running"
          ? new CommandRefused({ detail: `The CA is not running. Start it: hypha-ca run -c ${config}` })
          : error
      ),
    );
    if (answer.status === 200) return answer.body;
    const { error = "refused", hint = "" } = answer.body as { readonly error?: string; readonly hint?: string };
    return yield* new CommandRefused({ detail: `${error}. ${hint}`.trim() });
  });
}

const print = (text: string) => Console.log(escapeUnsafe(text));
const printJson = (value: unknown) => Console.log(JSON.stringify(value, undefined, 2));

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
      Flag.map((given) => given.map((each) => each.slice(each.indexOf("=") + 1))),
    ),
    folder: requiredFlag("dir", "DIR", "Folder of the CA; it is made, or empty.").pipe(Flag.withAlias("d")),
    from: optionalFlag(
      "from",
      "DIR",
      "Take over the CA of hypha-certutil in DIR: certificate, key, records (default: none).",
    ),
  },
  (request) =>
    Effect.gen(function* () {
      const { initCa } = yield* Effect.promise(() => import("../../actors/ca/init_ca.ts"));
      const made = yield* initCa(request, new Date());
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
      Flag.withDescription("The name may have a certificate, or be locked."),
    ),
  },
  ({ config, role, name, san, lifetime, replace }) =>
    Effect.gen(function* () {
      const names = san.length === 0 ? {} : { san: splitNames(san) };
      const made = yield* ask(config, "POST /ca/token", { role, name, ...names, lifetime_s: lifetime, replace });
      yield* print((made as { readonly token: string }).token);
    }),
).pipe(Command.withDescription("Make a token with which one node gets its certificate."));

const nodes = Command.make(
  "nodes",
  { config: configFlag },
  ({ config }) => Effect.flatMap(ask(config, "GET /ca/nodes"), printJson),
).pipe(
  Command.withDescription("List the certificates that have not ended, as JSON."),
);

const status = Command.make(
  "status",
  { config: configFlag },
  ({ config }) => Effect.flatMap(ask(config, "GET /status"), printJson),
).pipe(
  Command.withDescription("Show how the CA stands, as JSON."),
);

interface RevokedAnswer {
  readonly revoked: readonly { readonly identity: string; readonly serial: string }[];
  readonly unlisted: RevokedAnswer["revoked"];
  readonly number: string;
}

const reasons = Object.keys(revocationReasons) as (keyof typeof revocationReasons)[];
const revoke = Command.make(
  "revoke",
  {
    config: configFlag,
    name: Argument.String("name").pipe(Argument.withDescription("SPIFFE ID, or its last part."), Argument.optional),
    serial: optionalFlag("serial", "SERIAL", "One certificate and those that renew it, in place of a name."),
    reason: Flag.Literals("reason", reasons).pipe(
      Flag.withDefault("unspecified" as const),
      Flag.withDescription("Why (default unspecified)."),
    ),
  },
  ({ config, name, serial, reason }) =>
    Effect.gen(function* () {
      if ((name._tag === "Some") === (serial !== undefined)) {
        return yield* new CommandRefused({ detail: "Give a name or --serial." });
      }
      const target = name._tag === "Some" ? { name: name.value } : { serial };
      const done = yield* ask(config, "POST /ca/revoke", { ...target, reason });
      const { revoked, unlisted, number } = done as RevokedAnswer;
      for (const { identity, serial } of revoked) yield* print(`revoked ${identity} ${serial}`);
      for (const { identity, serial } of unlisted) {
        yield* Console.error(
          escapeUnsafe(`warning: ${identity} ${serial} is another CA's: revoke it in that CA's list too`),
        );
      }
      yield* print(`list ${number}`);
    }),
).pipe(Command.withDescription("Revoke a node's certificates and end its renewal."));

const backup = Command.make(
  "backup",
  { config: configFlag, file: Argument.String("file").pipe(Argument.withDescription("Where the copy goes (0600).")) },
  ({ config, file }) => Effect.andThen(ask(config, "POST /ca/backup", { file: resolve(file) }), print(`wrote ${file}`)),
).pipe(Command.withDescription("Write a copy of the running CA's register."));

/** All of them. */
export const caCommands = [init, run, token, nodes, revoke, status, backup] as const;
