/**
 * Every attack by a member, in the order of the table.
 *
 * @module
 */
import { actAttacks } from "./act_attacks.ts";
import type { MemberAttack } from "./attack.ts";
import { aggregatorAttacks } from "./aggregator_attacks.ts";
import { auditAttacks } from "./audit_attacks.ts";
import { auctionAttacks } from "./auction_attacks.ts";
import { certificateAttacks } from "./certificate_attacks.ts";
import { floodAttacks, storm } from "./flood_attacks.ts";
import { gossipAttacks } from "./gossip_attacks.ts";
import { messageAttacks } from "./message_attacks.ts";
import { partnerAttacks } from "./partner_attacks.ts";
import { recordAttacks } from "./record_attacks.ts";
import { relayAttacks } from "./relay_attacks.ts";
import { trainingAttacks } from "./training_attacks.ts";
import { missingDefences } from "./unguarded.ts";

/** The attacks. */
export const memberAttacks: readonly MemberAttack[] = [
  ...messageAttacks,
  ...actAttacks,
  ...certificateAttacks,
  ...recordAttacks,
  ...relayAttacks,
  ...gossipAttacks,
  ...auctionAttacks,
  ...partnerAttacks,
  ...trainingAttacks,
  ...aggregatorAttacks,
  ...auditAttacks,
  ...floodAttacks,
  storm,
];

/** Attacks that come through where a configuration leaves their defence open: one of each class. */
const controlsByConfiguration: readonly string[] = [
  "hoard-of-requests",
  "wrong-role-lease.renew",
  "wrong-role-record.put",
  "two-certificates-revoked",
  "bids-of-a-worker-that-starve",
  "partner-names-our-domain",
];

/** Attacks that are to come through on nodes without their defences. */
export const controls: readonly string[] = [
  ...new Set([...controlsByConfiguration, ...missingDefences.flatMap(({ comesThrough }) => comesThrough)]),
];
