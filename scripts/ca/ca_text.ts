/**
 * A CA's status as lines for people.
 *
 * @module
 */
import type { ShownCa } from "../../actors/ca/operator_views.ts";
import { fitted, section, untilText } from "../program/text_blocks.ts";
import type { StatusTextOptions } from "../program/watch_status.ts";

/** Locked names that are listed; `--json` has more. */
const lockedMax = 40;

/** All of it; no line is longer than the terminal is wide. */
export function caText(shown: ShownCa, options: StatusTextOptions): string {
  const { now } = options;
  const { domain, url, problem, certificates, crl, issuers, locked } = shown;
  const lines = [
    `CA of ${domain} at ${url}: ${problem === null ? "issuing" : `cannot issue: ${problem}`}`,
    `certificates in force: ${certificates}`,
    crl === null
      ? "revocation list: none"
      : `revocation list ${crl.number}: next ${crl.next_update}, ${untilText(crl.next_update, now)}`,
    `the root's revocation list: ${rootListText(shown, now)}`,
    ...section(
      "issuers",
      issuers.map(({ subject, state, ends, certificates, revoked }) => [
        `  ${subject}`,
        revoked ? `${state}, revoked` : state,
        `ends ${ends}, ${untilText(ends, now)}`,
        `${certificates} certificates`,
      ]),
    ),
    ...section("locked names", locked.slice(0, lockedMax).map(({ identity, reason }) => [`  ${identity}`, reason])),
    ...(locked.length > lockedMax ? [`  and ${locked.length - lockedMax} more: --json`] : []),
  ];
  return fitted(lines, options);
}

function rootListText({ root_list: state, root_list_ends: ends }: ShownCa, now: number): string {
  return ends === null || state !== "in force" ? state : `ends ${ends}, ${untilText(ends, now)}`;
}
