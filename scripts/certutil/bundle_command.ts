/**
 * `hypha-certutil bundle`.
 *
 * @module
 */
import { Effect, Option } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { existingFlag, fileFlag } from "./flags.ts";
import { say } from "./say.ts";

const load = Effect.promise(() => import("../../actors/certutil/bundle.ts"));

const countFlag = (name: string, description: string) =>
  Flag.Int(name).pipe(
    Flag.withMetavar("N"),
    Flag.withDescription(description),
    Flag.filter((count) => count >= 0, () => "Expected a whole number from 0"),
    Flag.optional,
    Flag.map(Option.getOrUndefined),
  );

/** The command. */
export const bundle = Command.make(
  "bundle",
  {
    certs: Argument.String("cert").pipe(
      Argument.withDescription("Files with certificates of CAs, PEM or DER, or SPIFFE bundles."),
      Argument.atLeast(1),
    ),
    out: fileFlag("out", "Where the bundle goes."),
    spiffe: Flag.Boolean("spiffe").pipe(
      Flag.withDescription("Write a SPIFFE bundle (JSON) for [[trust_domains]] of other networks (default: PEM)."),
      Flag.withDefault(false),
    ),
    sequence: countFlag("sequence", "With --spiffe: its sequence number (default: one more than that of --out)."),
    refreshHint: countFlag(
      "refresh-hint",
      "With --spiffe: how often to look for a new one, in seconds (default: not stated).",
    ),
    existing: existingFlag,
  },
  ({ spiffe, sequence, refreshHint, ...options }) => {
    const stated = spiffe ? { spiffe: { sequence, refreshHintSeconds: refreshHint } } : {};
    return say(Effect.flatMap(load, ({ makeBundle }) => makeBundle({ ...options, ...stated })));
  },
).pipe(Command.withDescription("Make a trust bundle: intermediates before roots, each once."));
