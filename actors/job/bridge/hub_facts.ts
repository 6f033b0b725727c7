/**
 * What the model hub says of a file before it gives it, in the headers of its answer: the commit, and of a large file its size and
 * SHA-256. A small file, which is in the repository itself, has no SHA-256.
 *
 * @module
 */
import type { IncomingHttpHeaders } from "node:http";

/** What is known of a file of the hub. */
export interface HubFacts {
  /** SHA-256, hexadecimal. */
  readonly sha256: string | undefined;
  readonly sizeBytes: number | undefined;
  /** The commit that the file is of. */
  readonly commit: string | undefined;
}

/** Nothing is known. */
export const noHubFacts: HubFacts = { sha256: undefined, sizeBytes: undefined, commit: undefined };

/** The facts with those of another answer; the first answer that names one counts. */
export function withHubFacts(facts: HubFacts, headers: IncomingHttpHeaders): HubFacts {
  return {
    sha256: facts.sha256 ?? matched(headers["x-linked-etag"], /^"?([0-9a-f]{64})"?$/),
    sizeBytes: facts.sizeBytes ?? numbered(matched(headers["x-linked-size"], /^([0-9]{1,15})$/)),
    commit: facts.commit ?? matched(headers["x-repo-commit"], /^([0-9a-f]{40})$/),
  };
}

/** Whether the hub answers with another commit than the one that it was asked for. A branch or a tag may be any commit. */
export function isOfOtherCommit({ commit }: HubFacts, revision: string | undefined): boolean {
  return revision !== undefined && /^[0-9a-f]{40}$/.test(revision) && commit !== undefined && commit !== revision;
}

/** Why a file that was fetched is not the one that the hub names; undefined where it is, as far as the hub names it. */
export function contradicts(
  facts: HubFacts,
  fetched: { readonly sizeBytes: number; readonly sha256: string },
): string | undefined {
  const { sha256, sizeBytes } = facts;
  if (sizeBytes !== undefined && sizeBytes !== fetched.sizeBytes) {
    return `the hub names ${sizeBytes} bytes, and sent ${fetched.sizeBytes}`;
  }
  if (sha256 !== undefined && sha256 !== fetched.sha256) {
    return `the hub names SHA-256 ${sha256}, and sent ${fetched.sha256}`;
  }
  return undefined;
}

const matched = (header: string | readonly string[] | undefined, pattern: RegExp) =>
  typeof header === "string" ? pattern.exec(header)?.[1] : undefined;

const numbered = (text: string | undefined) => text === undefined ? undefined : Number(text);
