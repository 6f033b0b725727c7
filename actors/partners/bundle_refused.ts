/**
 * Why a partner's bundle was not taken. The last one that was stays in force.
 *
 * @module
 */
import { Data } from "effect";
import { shellWord } from "../files/shell_word.ts";

const forget = "remove the last bundle and start the node again";

/** The codes, each with what helps. */
export const bundleCodes = {
  "bundle-unreachable": "The last bundle stays in force. Check bundle_url: curl -k URL",
  "bundle-server":
    "Something else answers at bundle_url, or the partner's CA has another root: compare bundle_pin and profile with the partner.",
  "bundle-malformed": "Look at what answers there: curl -k URL",
  "bundle-unpinned":
    "Ask the partner for the hash of its root (hypha-certutil bundle prints it) and correct bundle_pin.",
  "bundle-replaced": `Compare its CAs with the partner. Where they are right, ${forget}`,
  "bundle-foreign": "The partner claims a CA that is not its own: ask the partner.",
  "bundle-rollback":
    `An old bundle was put back at bundle_url: ask the partner. Where its CA itself counts from the beginning again, ${forget}`,
  "bundle-equivocation":
    `Two bundles have one sequence: ask the partner which is right. Where it is the new one, ${forget}`,
  "bundle-unstored": "Give state_dir to the node's user, or make room.",
} as const;

export type BundleCode = keyof typeof bundleCodes;

/** A partner's bundle was not taken. */
export class BundleRefused extends Data.TaggedError("BundleRefused")<{
  readonly code: BundleCode;
  /** The trust domain that it is of. */
  readonly domain: string;
  readonly detail: string;
  /** The file of the last bundle, where that one is what the refused bundle was compared with. */
  readonly last?: string | undefined;
}> {
  /** What helps. */
  get hint(): string {
    return this.last === undefined ? bundleCodes[this.code] : `${bundleCodes[this.code]}: rm ${shellWord(this.last)}`;
  }
  /** What happened and what helps, in one line. */
  override get message(): string {
    return `Cannot take bundle of ${this.domain} (${this.code}): ${this.detail}. ${this.hint}`;
  }
}
