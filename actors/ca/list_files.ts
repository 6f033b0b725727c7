/**
 * Revocation lists in files: of a member, or of a root that is offline.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { Data, Result } from "effect";
import { parseCrl, type RevocationList } from "../../pki/crl.ts";
import { parsePem } from "../../pki/pem.ts";
import { pemOf } from "../files/file_kind.ts";

/** A list that was read, with its DER. */
export interface FileList {
  readonly list: RevocationList;
  readonly der: Uint8Array;
}

/** A file does not have the lists that are needed. */
export class ListFileRefused
  extends Data.TaggedError("ListFileRefused")<{ readonly file: string; readonly detail: string }> {
  override get message(): string {
    return `Cannot take lists of ${this.file}: ${this.detail}`;
  }
}

/** Reads a file's lists, PEM or DER. Their signatures are not checked. */
export function readLists(file: string): Result.Result<readonly FileList[], ListFileRefused> {
  const fail = (detail: string) => new ListFileRefused({ file, detail });
  return Result.gen(function* () {
    const bytes = yield* Result.try({
      try: () => readFileSync(file),
      catch: (error) => fail((error as Error).message),
    });
    const blocks = yield* Result.mapError(parsePem(pemOf(bytes)), ({ message }) => fail(message));
    const lists: FileList[] = [];
    for (const { label, der } of blocks) {
      if (label !== "X509 CRL") return yield* Result.fail(fail(`it has a ${label}`));
      const list = yield* Result.mapError(parseCrl(Uint8Array.from(der)), ({ message }) => fail(message));
      lists.push({ list, der: Uint8Array.from(der) });
    }
    return lists.length === 0 ? yield* Result.fail(fail("it has none")) : lists;
  });
}
