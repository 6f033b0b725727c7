/**
 * Commands for a CA's life: backup, restore, the root's list, rotation.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { Console, Effect, Result } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { adminBackupMs } from "../../actors/admin/serve_admin.ts";
import type { ConfiguredCas } from "../../actors/ca/authorities_fact.ts";
import { loadCaConfig } from "../../actors/ca/ca_config.ts";
import type { UnsignedLists } from "../../actors/ca/restore.ts";
import { fileMark } from "../../actors/files/file_mark.ts";
import { optionalFlag } from "../certutil/flags.ts";
import { escapeUnsafe } from "../program/log_line.ts";
import { showPolicy, type WaitingAnswer, waitingText } from "./approval_commands.ts";
import { ask, CommandRefused, configFlag, print, WrongUsage } from "./asking.ts";

/** Under systemd the running CA does not see all folders that its operator sees, or sees others in their places. */
const otherFolders = Effect.fnUntraced(function* (config: string) {
  const { stateDir } = yield* loadCaConfig(config);
  const seen = "a service has another /tmp (PrivateTmp), no /home (ProtectHome), and writes where its unit permits";
  return `The CA opens this path itself, as its own user: ${seen} (ReadWritePaths). Use a path in ${stateDir}`;
});

/** Sends a path that the running CA opens. Where it cannot although `there` is there for the operator, or has a file there that the operator does not see, the refusal states why. */
const askOfFile = Effect.fnUntraced(
  function* ({ config, route, file, there, timeoutMs }: {
    readonly config: string;
    readonly route: string;
    readonly file: string;
    readonly there: string;
    readonly timeoutMs?: number;
  }) {
    const asked = yield* Effect.result(ask(config, route, { file }, timeoutMs));
    if (Result.isSuccess(asked)) return asked.success;
    const { message } = asked.failure;
    const isUnseen = /\b(?:ENOENT|EACCES|EROFS)\b/.test(message) ||
      (/: it exists\./.test(message) && !existsSync(file));
    if (asked.failure._tag !== "CommandRefused" || !isUnseen || !existsSync(there)) return yield* asked.failure;
    return yield* new CommandRefused({ detail: `${message} ${yield* otherFolders(config)}` });
  },
);

const backup = Command.make(
  "backup",
  { config: configFlag, file: Argument.String("file").pipe(Argument.withDescription("Where the copy goes (0600).")) },
  ({ config, file }) =>
    Effect.gen(function* () {
      const path = resolve(file);
      const place = { file: path, there: dirname(path), timeoutMs: adminBackupMs };
      const { mark } = (yield* askOfFile({ config, route: "POST /ca/backup", ...place })) as { readonly mark?: string };
      const own = fileMark(path);
      if (own === undefined || (mark !== undefined && own !== mark)) {
        const detail =
          `The CA wrote ${path} into another folder than the one that this command sees there, and the copy is left in it`;
        return yield* new CommandRefused({ detail: `${detail}. ${yield* otherFolders(config)}` });
      }
      yield* print(`wrote ${file}`);
    }),
).pipe(Command.withDescription("Write a copy of the running CA's register."));

const rootList = Command.make(
  "root-list",
  {
    config: configFlag,
    file: Argument.String("file").pipe(Argument.withDescription("The root's new list, PEM or DER.")),
  },
  ({ config, file }) =>
    Effect.gen(function* () {
      const path = resolve(file);
      const lists = yield* askOfFile({ config, route: "POST /ca/root-list", file: path, there: path });
      for (const { number, ends } of lists as readonly { readonly number: string; readonly ends: string }[]) {
        yield* print(`published list ${number}, which ends at ${ends}`);
      }
    }),
).pipe(Command.withDescription("Publish a revocation list that was signed with the root's key."));

interface IssuersAnswer {
  readonly issuers: readonly { readonly id: string; readonly revoked: boolean }[];
}

const stepTexts = {
  published: "is published. Restart the CA; when all nodes know the new CA, call rotate again",
  issuing: "issues from the next start on. Restart the CA: nodes renew within the hour",
  removed: "is taken out. Restart the CA",
} as const;

/** Without approvers nothing waits. */
const permitted = Effect.fnUntraced(function* (config: string, cas: ConfiguredCas) {
  const { RotationRefused } = yield* Effect.promise(() => import("../../actors/ca/rotate.ts"));
  const asked = Effect.gen(function* () {
    if (!existsSync((yield* loadCaConfig(config)).approversJson)) return;
    const answer = (yield* ask(config, "POST /ca/rotate", cas)) as { readonly waits?: WaitingAnswer };
    if (answer.waits !== undefined) {
      return yield* new RotationRefused({ detail: `${waitingText(config, answer.waits)}; then call rotate again` });
    }
  });
  yield* Effect.mapError(
    asked,
    ({ message }) => new RotationRefused({ detail: message.replace(/^Cannot rotate: /, "") }),
  );
});

const rotate = Command.make(
  "rotate",
  {
    config: configFlag,
    cert: optionalFlag("cert", "FILE", "Certificate of the next CA, by the same root: begins a rotation."),
    key: optionalFlag("key", "KEY", "Its key: a file or a pkcs11: URI."),
  },
  ({ config, cert, key }) =>
    Effect.gen(function* () {
      if ((cert === undefined) !== (key === undefined)) {
        return yield* new WrongUsage({ detail: "--cert and --key go together." });
      }
      const { rotate, RotationRefused } = yield* Effect.promise(() => import("../../actors/ca/rotate.ts"));
      const isRevoked = (id: string) =>
        ask(config, "GET /status").pipe(
          Effect.map((status) => (status as IssuersAnswer).issuers.some((each) => each.id === id && each.revoked)),
          Effect.mapError(({ message }) => {
            const other = "Another rotation begins, also where the CA cannot run, with --cert FILE --key KEY";
            return new RotationRefused({ detail: `${message}. ${other}` });
          }),
        );
      const permit = (cas: ConfiguredCas) => permitted(config, cas);
      const next = cert === undefined || key === undefined ? undefined : { cert, key };
      const { step, subject } = yield* rotate({ config, next, isRevoked, permit });
      yield* print(`${subject} ${stepTexts[step]}`);
    }),
).pipe(Command.withDescription("Take the next step of a rotation of the CA that issues."));

/** A retired CA whose key is away, and what to do. */
function unsignedText({ subject, detail, ends }: UnsignedLists): string {
  const list = ends === undefined
    ? "no list of it is published"
    : `its newest list of the files stays in force until ${ends.toISOString()}`;
  const what =
    "When its key is available, a CA that runs signs the next one; where the key is lost, let the root revoke this CA once all nodes have renewed";
  return `warning: ${subject}, retired, could not sign a list: ${list}. ${what}. ${detail}`;
}

const restore = Command.make(
  "restore",
  {
    config: configFlag,
    file: Argument.String("file").pipe(Argument.withDescription("The backup.")),
    crls: Flag.String("crl").pipe(
      Flag.withMetavar("FILE"),
      Flag.withDescription("The newest list of the CA, from a member; may be repeated (required, or --alone)."),
      Flag.atLeast(0),
    ),
    alone: Flag.Boolean("alone").pipe(
      Flag.withDefault(false),
      Flag.withDescription("No member has a list: revocations since the backup are lost."),
    ),
    above: optionalFlag("above", "NUMBER", "With --alone: the number of the last list, or a higher one."),
  },
  ({ config, file, crls, alone, above }) =>
    Effect.gen(function* () {
      const isNumber = above !== undefined && /^\d{1,40}$/.test(above);
      if (alone ? crls.length > 0 || !isNumber : crls.length === 0 || above !== undefined) {
        return yield* new WrongUsage({ detail: "Give --crl FILE, or --alone with --above NUMBER." });
      }
      const { restore } = yield* Effect.promise(() => import("../../actors/ca/restore.ts"));
      const newest = alone ? { above: BigInt(above ?? "") } : { files: crls };
      const request = { config: yield* loadCaConfig(config), backup: file, newest };
      const { merged, number, gapFrom, policy, unsigned } = yield* restore(request, new Date());
      for (const each of unsigned) yield* Console.error(escapeUnsafe(unsignedText(each)));
      yield* print(`restored; ${merged} revocations of the lists were new; the next list is ${number}`);
      yield* print(
        `certificates issued since ${gapFrom.toISOString()} are not known: they are entered when they renew`,
      );
      if (policy === undefined) return yield* print("the backup has no approvers: no operation waits for approvals");
      yield* print("the approvers are those of the backup:");
      yield* showPolicy(policy);
    }),
).pipe(Command.withDescription("Restore the register of a CA that does not run from a backup."));

/** All of them. */
export const lifeCommands = [backup, restore, rootList, rotate] as const;
