/**
 * Publishing a list that the root, or another CA above the one that issues, has signed offline.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { isSignedBy } from "../../pki/crl.ts";
import type { Certificate } from "../../pki/certificate.ts";
import { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";
import { madeCrl } from "./compose_lists.ts";
import { crlOf, enterLists, type MadeCrl } from "./crl_rows.ts";
import { type FileList, readLists } from "./list_files.ts";
import { removePieces } from "./make_lists.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** Bytes of such a list: a root has revoked a handful of CAs. */
export const rootListBytesMax = 65_536;

/** Takes the lists of a file. Each is newer than the one that is published. */
export function takeRootList(
  ca: CertificateAuthority,
  file: string,
  at: Date,
): Effect.Effect<readonly MadeCrl[], CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    const read = yield* Effect.fromResult(
      Result.mapError(readLists(file), ({ message }) => new CaRefused({ code: "list-not-allowed", detail: message })),
    );
    const above = [ca.anchor, ...ca.intermediates.slice(1)];
    const found: MadeCrl[] = [];
    for (const each of read) found.push(yield* Effect.fromResult(listOf(each, above, at)));
    // Whatever their order in the file, the newest of an issuer is the last.
    const made = found.toSorted((a, b) => Number(BigInt(a.number) - BigInt(b.number)));
    yield* Effect.fromResult(ca.register.transaction<void, CaRefused>((rows) => {
      for (const list of made) {
        const { issuer, number, sha256 } = list;
        const held = crlOf(rows, issuer, "complete");
        if (held !== undefined && held.sha256 !== sha256 && BigInt(number) <= BigInt(held.number)) {
          return refuse(`list ${number} is not above the published one, ${held.number}`);
        }
        enterLists(rows, [list]);
      }
      return Result.void;
    }));
    yield* removePieces(ca.register);
    return made;
  }));
}

const refuse = (detail: string) => Result.fail(new CaRefused({ code: "list-not-allowed", detail }));

function listOf({ list, der }: FileList, above: readonly Certificate[], at: Date): Result.Result<MadeCrl, CaRefused> {
  const signer = above.find((each) => isSignedBy(list, each));
  const { number, baseNumber, thisUpdate, nextUpdate } = list;
  if (signer === undefined) return refuse("no CA above the one that issues has signed it");
  if (number === undefined || baseNumber !== undefined) return refuse("it is no complete list with a number");
  if (nextUpdate === undefined || nextUpdate <= at || thisUpdate > at) return refuse("it is not in force now");
  if (der.length > rootListBytesMax) return refuse(`it has more than ${rootListBytesMax} bytes`);
  return Result.succeed(madeCrl(der, {
    ...{ issuer: keyHash(signer.publicKey.spki), kind: "complete", upto: 0 },
    ...{ number: BigInt(number), thisUpdate, nextUpdate },
  }));
}
