/**
 * Deliberate defects in what keeps the trust domains of a node apart. They need a partner whose CA misbehaves.
 *
 * @module
 */
import type { PlantedBug } from "./planted_bugs.ts";

/** Planted bugs of trust domains. */
export const plantedPartnerBugs: readonly PlantedBug[] = [
  {
    name: "a partner's list revokes the serials of other domains",
    file: "pki/checks/revocation.ts",
    find:
      "return verified === undefined ? isSignedBy(list, issuer) : verified === markKey(issuer) && isSignedBy(list, issuer);",
    replace: "return true;",
  },
  {
    name: "a partner's CA may name any domain",
    file: "pki/checks/find_paths.ts",
    find: "if (outside >= 0) return new NameConstraint",
    replace: "if (outside >= 0 && claims === undefined) return new NameConstraint",
  },
  {
    name: "files that never rest are not read",
    file: "actors/files/watched_files.ts",
    find: "export const settleRoundsMax = 7;",
    replace: "export const settleRoundsMax = 7_000;",
  },
];
