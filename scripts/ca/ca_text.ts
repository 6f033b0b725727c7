/**
 * A CA's status as lines for people.
 *
 * @module
 */
import type { ShownCa } from "../../actors/ca/operator_views.ts";
import { fitted, section, untilText } from "../program/text_blocks.ts";
import type { StatusTextOptions } from "../program/watch_status.ts";

/** Locked names, unsigned revocations, requests, lapsed ones and forks that are listed; `--json` has more. */
const listedMax = 40;

/** All of it; no line is longer than the terminal is wide. */
export function caText(shown: ShownCa, options: StatusTextOptions): string {
  const { now } = options;
  const { domain, url, problem, next_start: nextStart, certificates, crl, issuers, locked } = shown;
  const lines = [
    `CA of ${domain} at ${url}: ${problem === null ? "issuing" : `not in order: ${problem}`}`,
    ...(nextStart === null ? [] : [`cannot start again: ${nextStart}`]),
    `certificates in force: ${certificates}`,
    ...gapLines(shown),
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
    ...approvalLines(shown, now),
    ...lapsedLines(shown),
    ...section("locked names", locked.slice(0, listedMax).map(({ identity, reason }) => [`  ${identity}`, reason])),
    ...(locked.length > listedMax ? [`  and ${locked.length - listedMax} more: --json`] : []),
    ...unsignedLines(shown),
    ...forkLines(shown),
  ];
  return fitted(lines, options);
}

function gapLines({ gap }: ShownCa): readonly string[] {
  if (gap === null) return [];
  const issued = `${gap.from === null ? "" : `from ${gap.from} `}to ${gap.to}`;
  return [`restored register: certificates issued ${issued} are not in it; revoke those that you know by --serial`];
}

function approvalLines({ approvals, requests }: ShownCa, now: number): readonly string[] {
  if (approvals === null) return [];
  const { approvers, threshold, operations } = approvals;
  const rest = requests.length - listedMax;
  return [
    `approvals: ${threshold} of ${approvers.join(", ")} for ${operations.join(", ")}`,
    ...section(
      "requests that wait for approvals",
      requests.slice(0, listedMax).map(({ id, operation, approvers, expires }) => [
        `  ${id}`,
        operation,
        approvers.length === 0 ? "no approvals" : `approved by ${approvers.join(", ")}`,
        `expires ${expires}, ${untilText(expires, now)}`,
      ]),
    ),
    ...(rest > 0 ? [`  and ${rest} more: --json`] : []),
  ];
}

/** Each request that was approved and not done. */
function lapsedLines({ lapsed }: ShownCa): readonly string[] {
  if (lapsed.length === 0) return [];
  const rest = lapsed.length - listedMax;
  return section(
    "approved requests that lapsed before they were done; request them again",
    lapsed.slice(0, listedMax).map(({ id, operation, approvers, at, reason }) => [
      `  ${id}`,
      operation,
      `lapsed ${at}: ${reason}`,
      `approved by ${approvers.join(", ")}`,
    ]),
  ).concat(rest > 0 ? [`  and ${rest} more: --json`] : []);
}

/** Each serial with the command that finishes its revocation. */
function unsignedLines({ unsigned_serials: serials }: ShownCa): readonly string[] {
  if (serials.length === 0) return [];
  const rest = serials.length - listedMax;
  return section(
    "revocations that no list has yet; run each command again, with its --reason",
    serials.slice(0, listedMax).map(({ serial, since }) => [`  hypha-ca revoke --serial ${serial}`, `since ${since}`]),
  ).concat(rest > 0 ? [`  and ${rest} more: --json`] : []);
}

/** Each fork with both checkpoints, and the command that verifies a copy of the log against them. */
function forkLines({ forks }: ShownCa): readonly string[] {
  if (forks.length === 0) return [];
  const rest = forks.length - listedMax;
  const stateText = (checkpoint: string) => {
    const [, size = "", root = ""] = checkpoint.split("\n");
    return `${size} records, root ${root}`;
  };
  return [
    "forked audit logs:",
    ...forks.slice(0, listedMax).flatMap(({ origin, problem, at, from, held, other, file }) => [
      `  ${origin}: ${problem}, found ${at}, sent by ${from}`,
      `    held:  ${stateText(held)}`,
      `    other: ${stateText(other)}`,
      `    verify a copy of the log: hypha-certutil audit verify COPY --witness ${file}`,
    ]),
    ...(rest > 0 ? [`  and ${rest} more: --json`] : []),
  ];
}

function rootListText({ root_list: state, root_list_ends: ends }: ShownCa, now: number): string {
  return ends === null || state !== "in force" ? state : `ends ${ends}, ${untilText(ends, now)}`;
}
