/**
 * `hypha-certutil bundle`.
 *
 * @module
 */
import { Effect } from "effect";
import { Argument, Command } from "effect/cli";
import { existingFlag, fileFlag } from "./flags.ts";
import { say } from "./say.ts";

const load = Effect.promise(() => import("../../actors/certutil/bundle.ts"));

/** The command. */
export const bundle = Command.make(
  "bundle",
  {
    certs: Argument.String("cert").pipe(
      Argument.withDescription("Files with certificates of CAs, PEM or DER."),
      Argument.atLeast(1),
    ),
    out: fileFlag("out", "Where the bundle goes."),
    existing: existingFlag,
  },
  (options) => say(Effect.flatMap(load, ({ makeBundle }) => makeBundle(options))),
).pipe(Command.withDescription("Make a trust bundle: intermediates before roots, each once."));
