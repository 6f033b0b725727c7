/**
 * What a partner's CA does to a node: its files change many times a second while the node's own lists revoke, and holders of its
 * certificates connect, of which the node may let in one.
 *
 * @module
 */
import { randomOf } from "../runtime/random.ts";
import type { Bites } from "./bites.ts";
import type { Checker } from "./checker.ts";
import type { HostileMember } from "./hostile_member.ts";
import type { SimulatedNode } from "./node.ts";
import { nodePaths } from "./node_config.ts";
import type { Partner, PartnerCredential } from "./partner_domain.ts";
import type { ScenarioEvent } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** The files change this often, at least and at most, in milliseconds. */
const everyMinMs = 10;
const everyMaxMs = 40;
/** Holders of the partner's certificates dial this often, in milliseconds. */
const dialEveryMs = 1_500;
/** A full disk is written again this long after, in milliseconds. */
const writeAgainMs = 1_000;

/** What it is made with. */
export interface PartnerTroubleInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly bites: Bites;
  readonly partner: Partner;
  readonly member: (credential: PartnerCredential) => HostileMember;
  /** Starts a node's process. */
  readonly start: (node: SimulatedNode) => void;
}

/** Floods a node with a partner's changes. */
export function floodByPartner(
  init: PartnerTroubleInit,
  node: SimulatedNode,
  { forMs }: Pick<ScenarioEvent, "forMs">,
): void {
  const { sim, checker, bites, partner, member } = init;
  const random = randomOf(sim.seed, `partner/${node.name}/${sim.now}`);
  for (let at = 0; at < forMs; at += random.whole(everyMinMs, everyMaxMs)) {
    const isBundle = random.chance(0.3);
    const content = random.pick(isBundle ? partner.bundles : partner.crls);
    sim.after(at, () => void node.disk.put(isBundle ? nodePaths.partnerTrust : nodePaths.partnerCrls, content, 0o644));
  }
  sim.after(forMs, () => restore(init, node));
  for (const [name, credential] of partner.credentials) {
    const holder = member(credential);
    for (let at = 0; at < forMs; at += dialEveryMs) {
      sim.after(at, () => {
        if (holder.open.length > 0) return;
        holder.dial(node.address, (connection) =>
          holder.askHealth(connection, ({ ended, bytes }) => {
            if (!ended || bytes.length === 0) return;
            if (credential.never === undefined) bites.note("partner");
            else checker.violate("verified-only", node.name, `answered ${name}: ${credential.never}`);
          }));
      });
    }
    sim.after(forMs + dialEveryMs, () => holder.stop());
  }
}

/** The partner's files are whole again. A process that ended at a broken one is started by its operator. */
function restore(init: PartnerTroubleInit, node: SimulatedNode): void {
  const { sim, partner, start } = init;
  const isWritten = node.disk.put(nodePaths.partnerTrust, partner.trustPem, 0o644) &&
    node.disk.put(nodePaths.partnerCrls, partner.crls.at(-1) ?? "", 0o644);
  if (!isWritten) return sim.after(writeAgainMs, () => restore(init, node));
  if (node.exit === "failed") start(node);
}
