/**
 * Distinguished names of issued certificates.
 *
 * @module
 */
import { oid, sequence, setOfOne, utf8String } from "./der_writer.ts";
import { IssueError } from "./issue_error.ts";

/** Longest common name and organisation, in characters (RFC 5280 appendix A.1, `ub-common-name`). */
export const nameCharactersMax = 64;

/** A subject's parts. */
export interface SubjectName {
  /** Up to 64 characters. */
  readonly commonName: string;
  /** Up to 64 characters. */
  readonly organization?: string | undefined;
  /** Two letters (ISO 3166). */
  readonly country?: string | undefined;
}

/**
 * Encodes a subject: common name, country, organisation, in that order and as UTF8String, which is the order and form of
 * the existing network's certificates.
 *
 * @throws {IssueError} `common-name` or `country` when a part is empty, too long or holds control characters.
 */
export function encodeName({ commonName, country, organization }: SubjectName): Uint8Array {
  const parts = [attribute("2.5.4.3", checked("common name", commonName))];
  if (country !== undefined) {
    if (!/^[A-Za-z]{2}$/.test(country)) {
      throw new IssueError({ problem: "country", detail: `country ${JSON.stringify(country)} is not two letters` });
    }
    parts.push(attribute("2.5.4.6", country));
  }
  if (organization !== undefined) parts.push(attribute("2.5.4.10", checked("organization", organization)));
  return sequence(...parts);
}

function attribute(type: string, value: string): Uint8Array {
  return setOfOne(sequence(oid(type), utf8String(value)));
}

function checked(what: string, text: string): string {
  const length = [...text].length;
  const problem = text.trim() === ""
    ? "is empty"
    : length > nameCharactersMax
    ? `has ${length} characters, ${nameCharactersMax} are allowed`
    : /\p{Cc}/u.test(text)
    ? "holds control characters"
    : undefined;
  if (problem === undefined) return text;
  throw new IssueError({ problem: "common-name", detail: `the ${what} ${problem}` });
}
