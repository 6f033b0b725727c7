/**
 * The revocation lists of a node that joins, fetched before its first start, which requires them.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { Certificate } from "../../pki/certificate.ts";
import { arrangeCrls, compareNumbers, crlBytesMax, type HeldCrl, isSignedBy, parseCrl } from "../../pki/crl.ts";
import { ownDomain } from "../../pki/crl_marks.ts";
import { scopeName } from "../../pki/crl_scope.ts";
import type { CrlPlace } from "../../pki/held_crls.ts";
import { formatMarks } from "../files/marks_text.ts";
import { readBytes } from "../files/read_whole.ts";
import { keptFolder, keptPath, makeStateDirectory, marksPath, readMarks } from "../files/state_directory.ts";
import { writeWhole } from "../files/write_whole.ts";
import type { Services } from "../runtime/ports.ts";
import type { AskHttps } from "./ask_https.ts";
import { keyIdOf } from "./ca_trust.ts";
import { type EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";
import { askList } from "./est_client.ts";

/** Where lists come from and go to, and for whom. */
export interface FetchTerms {
  /** The node's certificate, then its issuers. */
  readonly chain: readonly Certificate[];
  readonly ask: AskHttps;
  readonly url: string;
  readonly stateDir: string;
}

/** A file of marks, so that the first start does not take it for lost. */
function beginMarks(stateDir: string) {
  return Effect.gen(function* () {
    const { text } = yield* readMarks(stateDir);
    if (text !== undefined) return;
    yield* makeStateDirectory(stateDir);
    yield* writeWhole([{ path: marksPath(stateDir), content: formatMarks({}), mode: 0o600 }], "replace");
  });
}

/** The complete list that an earlier membership left, with its delta; undefined where there is none of this CA. */
function keptList(place: CrlPlace, { stateDir }: FetchTerms, ca: Certificate) {
  return Effect.gen(function* () {
    const lists: HeldCrl[] = [];
    for (const kind of ["complete", "delta"] as const) {
      const path = keptPath(stateDir, { ...place, kind });
      const read = yield* Effect.result(
        readBytes({ path, what: "revocation list", bytesMax: crlBytesMax, key: "state_dir" }),
      );
      const list = Result.flatMap(read, ({ bytes }) => parseCrl(bytes));
      if (Result.isSuccess(list) && isSignedBy(list.success, ca)) lists.push(list.success);
    }
    return arrangeCrls(lists).find(({ baseNumber }) => baseNumber === undefined);
  });
}

/** Whether a complete list takes the place of another: one with the number of what is there already would clear what that revokes. */
function isNewer({ number }: HeldCrl, kept: HeldCrl | undefined): boolean {
  if (number === undefined || kept?.number === undefined) return true;
  return compareNumbers(number, kept.number) > 0 && number !== kept.delta?.number;
}

/** Whether a CA stands above a certificate, by its key where both name it. */
function isAbove(ca: Certificate, { authorityKeyId, issuer }: Certificate): boolean {
  return authorityKeyId !== undefined && ca.subjectKeyId !== undefined
    ? authorityKeyId === ca.subjectKeyId
    : issuer.text === ca.subject.text;
}

/**
 * Fetches the complete list of each CA and writes it where the trust store finds it, unless one that is as new lies there: members may
 * have brought it to an earlier membership of this node. The server is not judged: the list's signature counts.
 *
 * @returns The CAs above the node's certificate that have none there. One that is published before it issues has none yet.
 */
export function fetchLists(
  cas: readonly Certificate[],
  terms: FetchTerms,
): Effect.Effect<readonly Certificate[], EnrolmentRefused, Services> {
  return Effect.gen(function* () {
    const { chain, ask, url, stateDir } = terms;
    const missing: Certificate[] = [];
    for (const ca of cas) {
      const key = keyIdOf(ca);
      const der = yield* askList({ url, ask, judge: () => undefined }, key);
      const list = der === undefined ? undefined : parseCrl(der);
      if (der === undefined || list === undefined || Result.isFailure(list) || !isSignedBy(list.success, ca)) {
        if (chain.some((each) => isAbove(ca, each))) missing.push(ca);
        continue;
      }
      const place = { domain: ownDomain, key, scope: scopeName(list.success.scope) };
      if (!isNewer(list.success, yield* keptList(place, terms, ca))) continue;
      const path = keptPath(stateDir, { ...place, kind: "complete" });
      const write = Effect.andThen(
        makeStateDirectory(keptFolder(stateDir, ownDomain)),
        writeWhole([{ path, content: der, mode: 0o600 }], "replace"),
      );
      yield* Effect.mapError(write, ({ message }) => enrolmentRefused("files-unwritable", message));
    }
    yield* Effect.mapError(beginMarks(stateDir), ({ message }) => enrolmentRefused("files-unwritable", message));
    return missing;
  });
}
