/**
 * Attempts to get more than a token or a certificate gives: another role by a signing request, a token for role `ca`, a renewal of the
 * CA's own certificate.
 *
 * @module
 */
import { Result } from "effect";
import type { GeneralName } from "../../../pki/issue/general_name.ts";
import type { LinkedWorld } from "./member_world.ts";
import type { MemberEvent } from "./member_scenario.ts";
import { type Loot, Thief } from "./thief.ts";
import { type Member, pairOf } from "./member.ts";
import { caDomain } from "./simulated_ca.ts";

/** Makes all three attempts at once; each is to be refused. */
export function overreach(world: LinkedWorld, { forMs }: MemberEvent, member: Member): void {
  const role = member.plan.role === "gateway" ? "worker" : "gateway";
  const wishes: readonly GeneralName[] = [{ type: "uri", value: `spiffe://${caDomain}/${role}/${member.name}` }];
  const pair = pairOf(member);
  if (pair !== undefined) attempt(world, { pair }, { keyPem: pair.keyPem, wishes });
  world.ca.token({ role: "ca" as "worker", name: "ca-02" }, (outcome) => {
    if (Result.isSuccess(outcome)) attempt(world, { token: outcome.success }, {});
  });
  const own = world.ca.identity;
  if (own !== undefined) attempt(world, { pair: own }, { keyPem: own.keyPem });
  if (!member.isJoined || world.checker.gone.has(member.name)) return;
  // A token of its own, with another role in the request; then the node joins with it.
  world.checker.gone.add(member.name);
  world.renewToken(member, (token) => {
    attempt(world, { token }, { wishes });
    world.sim.after(forMs, () => member.join(token));
  });
}

function attempt(world: LinkedWorld, loot: Loot, how: NonNullable<Parameters<Thief["ask"]>[2]>): void {
  const thief = new Thief(world.sim, world.web, world.thieves++);
  thief.ask(loot, (got) => {
    if (got === undefined) world.bit.add("overreach");
    else thief.connect(got, world.gateway.node.address);
  }, how);
}
