/**
 * A file of revocation lists, of one CA or of several: nodes read one `crls_pem`, which holds root's and intermediate's.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { tags } from "../../pki/der.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";
import { isSignedBy, parseCrl, type RevocationList } from "../../pki/crl.ts";
import type { Authority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { kindNames, kindOf, pemOf } from "../files/file_kind.ts";

/** One list of a file. */
interface ListBlock {
  readonly der: Uint8Array;
  readonly line: number;
  readonly list: RevocationList;
}

/** A file's lists: the CA's own, and those of other CAs. */
export interface CrlFile {
  /** The CA's own lists; their signatures hold. */
  readonly own: readonly RevocationList[];
  /**
   * PEM with `ownPem` in the place of the CA's own lists, or of its deltas only, or at the end; the other lists stay as
   * they are.
   */
  readonly withOwn: (ownPem: string, replaced: "all" | "deltas") => string;
  readonly warnings: readonly string[];
}

/**
 * Reads a file of revocation lists. The CA's own are those with its name, and its key identifier where they carry one.
 *
 * @param bytes The file, PEM or DER; undefined where there is no file yet.
 * @returns Refuses a file that holds anything else, or a list in the CA's name that the CA did not sign: it must not be
 * overwritten.
 */
export function readCrlFile(
  bytes: Uint8Array | undefined,
  file: string,
  authority: Authority,
): Result.Result<CrlFile, CertutilError> {
  return Result.gen(function* () {
    const blocks = bytes === undefined ? [] : yield* readBlocks(pemOf(bytes), file);
    const mine = blocks.map((block) => isOwn(block.list, authority));
    const forged = blocks.find(({ list }, index) => mine[index] && !isSignedBy(list, authority.certificate));
    if (forged !== undefined) {
      return yield* refuse(file, `the list at line ${forged.line} names this CA, which did not sign it`);
    }
    const warnings = bytes?.[0] === tags.sequence ? [`${file} was in DER, and is in PEM now`] : [];
    return {
      warnings,
      own: blocks.filter((_, index) => mine[index]).map(({ list }) => list),
      withOwn: (ownPem, replaced) => {
        const gone = blocks.map(({ list }, index) =>
          mine[index] === true && (replaced === "all" || list.baseNumber !== undefined)
        );
        const kept = blocks.map(({ der }, index) => gone[index] ? undefined : formatPem("X509 CRL", der));
        const place = gone.indexOf(true);
        kept.splice(place < 0 ? kept.length : place, place < 0 ? 0 : 1, ownPem);
        return kept.filter((pem) => pem !== undefined).join("");
      },
    };
  });
}

function readBlocks(text: string, file: string): Result.Result<readonly ListBlock[], CertutilError> {
  return Result.gen(function* () {
    const blocks: ListBlock[] = [];
    const parsed = yield* Result.mapError(parsePem(text), ({ message }) => refusal(file, message));
    if (parsed.length === 0 && text.trim() !== "") {
      const kind = kindNames[kindOf(new TextEncoder().encode(text))];
      return yield* refuse(file, `it holds ${kind}, not a revocation list`);
    }
    for (const { label, der, line } of parsed) {
      if (label !== "X509 CRL" && label !== "CRL") return yield* refuse(file, `there is a ${label} at line ${line}`);
      const list = yield* Result.mapError(
        parseCrl(der),
        ({ detail }) => refusal(file, `the list at line ${line} is malformed (${detail})`),
      );
      blocks.push({ der, line, list });
    }
    return blocks;
  });
}

function isOwn({ issuer, authorityKeyId }: RevocationList, { certificate, keyId }: Authority): boolean {
  return sameBytes(issuer.der, certificate.subject.der) && (authorityKeyId ?? keyId) === keyId;
}

function refuse(file: string, detail: string): Result.Result<never, CertutilError> {
  return Result.fail(refusal(file, detail));
}

function refusal(file: string, detail: string): CertutilError {
  const remedy = "Name another file with --out-crl, or move this one away.";
  return new CertutilError({ what: "replace revocation list in", file, detail, remedy });
}
