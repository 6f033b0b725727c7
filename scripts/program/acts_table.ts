/**
 * The table of acts for `docs/security.md`, from the table that nodes decide by.
 *
 * @module
 */
import { nounOf } from "../../actors/config/other_role.ts";
import type { MemberRole } from "../../pki/certificate.ts";
import { actNames, rowOf } from "../../transport/authorization/acts.ts";
import { aligned } from "../attack/aligned.ts";

/** Around the table in `docs/security.md`. */
export const actsMarks = { begin: "<!-- acts: made by `npm run outcomes` -->", end: "<!-- /acts -->" } as const;

const nodesOf = (roles: readonly MemberRole[]): string =>
  roles.map((role) => role === "ca" ? "CAs" : `${nounOf(role)}s`).join(", ");

/** A row for each act. */
export function actsTable(): string {
  const rows = actNames.map((act) => {
    const { receivedBy, allowedTo, closed, what } = rowOf(act);
    return [
      `\`${act}\``,
      what,
      receivedBy === "all" ? "all nodes" : nodesOf(receivedBy),
      allowedTo === "member" ? "any member" : nodesOf(allowedTo),
      closed === true ? "deny only" : allowedTo === "member" ? "deny" : "deny, allow",
    ];
  });
  return aligned([["act", "what it is", "taken by", "allowed to", "rules"], ...rows]);
}
