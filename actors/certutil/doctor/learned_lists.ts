/**
 * The doctor on the lists in a node's state directory: those that its CA and the network brought.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { crlBytesMax, parseCrl } from "../../../pki/crl.ts";
import { ownDomain } from "../../../pki/crl_marks.ts";
import { readBytes } from "../../files/read_whole.ts";
import { lookAtKept, type SeenFile } from "../../files/state_directory.ts";
import { doubtful, type Finding } from "./finding.ts";
import { dateFinding } from "./lists.ts";

/** What an operator does for a list that the node fetches. */
export const fetched = "start the node, which fetches the newest; where its CA has none, hypha-ca status names it";

/** The dates of the lists of the node's own domain, which an operator of its CA would look for there. */
export function examineLearnedLists(
  stateDir: string | undefined,
  { at, graceMs }: { readonly at: Date; readonly graceMs: number },
): Effect.Effect<readonly Finding[], never, FileSystem> {
  const examine = ({ path }: SeenFile) =>
    Effect.match(readBytes({ path, what: "revocation list", bytesMax: crlBytesMax, key: "state_dir" }), {
      onFailure: ({ detail }) => doubtful("crl-age", path, detail, fetched),
      onSuccess: ({ bytes }) => {
        const parsed = parseCrl(Uint8Array.from(Buffer.from(bytes)));
        if (Result.isFailure(parsed)) return doubtful("crl-age", path, parsed.failure.detail, fetched);
        const finding = dateFinding(path, parsed.success, { at, graceMs });
        // What was kept may be old: the node fetches another. No start fails for it.
        return finding.level === "ok" ? finding : doubtful("crl-age", path, finding.detail, fetched);
      },
    });
  if (stateDir === undefined) return Effect.succeed([]);
  return Effect.flatMap(lookAtKept(stateDir, [ownDomain]), (files) => Effect.forEach(files, examine));
}
