/**
 * Commands of `hypha-certutil` that revoke.
 *
 * @module
 */
import { Effect } from "effect";
import { Command, Flag } from "effect/cli";
import { defaultDays } from "../../actors/certutil/lifetime.ts";
import { authorityFlags, daysFlag, fileFlag, optionalFlag } from "./flags.ts";
import { say } from "./say.ts";

/** Reasons that a complete list may give (RFC 5280 §5.3.1). */
const reasons = [
  "unspecified",
  "keyCompromise",
  "cACompromise",
  "affiliationChanged",
  "superseded",
  "cessationOfOperation",
  "certificateHold",
  "privilegeWithdrawn",
  "aACompromise",
] as const;

/** `--reason`. */
export const reasonFlag: Flag.Flag<typeof reasons[number]> = Flag.Literals("reason", reasons).pipe(
  Flag.withDescription("Why (default unspecified)."),
  Flag.withDefault("unspecified" as const),
);

const load = Effect.promise(() => import("../../actors/certutil/revoke.ts"));

const listFlags = {
  ...authorityFlags,
  days: daysFlag(defaultDays.crl, "the next list is due"),
  outCrl: fileFlag(
    "out-crl",
    "Where the list goes. Other CAs' lists in the file stay, this CA's is replaced by the one that continues it.",
  ),
  record: optionalFlag(
    "record",
    "FILE",
    "Record of the CA's revocations (default: the --ca-cert file + .revoked.tsv).",
  ),
  first: Flag.Boolean("first").pipe(
    Flag.withDescription(
      "The CA has made no list before (default: a list without the CA's record or an earlier list is refused).",
    ),
    Flag.withDefault(false),
  ),
  delta: Flag.Boolean("delta").pipe(
    Flag.withDescription(
      "Make a delta list of what the last complete list lacks, which stays in the file (default: a complete list).",
    ),
    Flag.withDefault(false),
  ),
};

const revokeCommand = Command.make(
  "revoke",
  {
    ...listFlags,
    cert: fileFlag("cert", "The certificate to revoke, PEM or DER."),
    reason: reasonFlag,
  },
  (options) => say(Effect.flatMap(load, ({ revoke }) => revoke(options))),
).pipe(Command.withDescription("Revoke a certificate and make the CA's new revocation list."));

const genCrl = Command.make(
  "gen-crl",
  listFlags,
  (options) => say(Effect.flatMap(load, ({ makeCrl }) => makeCrl(options))),
).pipe(Command.withDescription("Make the CA's revocation list anew, with new dates and number."));

/** All of them. */
export const revocationCommands = [revokeCommand, genCrl] as const;
