/**
 * Members that flood a gateway: what they send costs them time, not the node.
 *
 * @module
 */
import type { AttackMeans, MemberAttack } from "./attack.ts";
import { type Flood, floods } from "./floods.ts";

/** Connections of one member at once (`connectionsPerPeerMax`). */
const connectionsPerPeer = 8;
/** Longer than the node's patience: half a minute of delay on end. */
const floodMs = { quick: 700, full: 45_000 };

async function flood(means: AttackMeans, kinds: readonly Flood[], connections: number): Promise<void> {
  const member = await means.member(await means.certificate("worker"));
  const open = [];
  for (let nth = 0; nth < connections; nth++) open.push(await member.connect(means.place.address));
  const forMs = means.pick(floodMs.quick, floodMs.full);
  const sent = await Promise.all(open.flatMap((connection) => kinds.map((kind) => kind(connection, forMs))));
  means.attempts += sent.reduce((sum, count) => sum + count, 0);
  if (means.attempts < 10) means.escaped("too little was sent: nothing was attacked");
}

/** Nodes that take what a gateway does not. */
const targets: Readonly<Record<string, MemberAttack["target"]>> = { "unasked-bytes": "worker", "streams": "worker" };

/** One kind of flood each. A quick run has them all in the storm. */
export const floodAttacks: readonly MemberAttack[] = Object.entries(floods).map(([name, kind]) => ({
  id: `flood-of-${name}`,
  target: targets[name] ?? "gateway",
  leftOutOf: "quick",
  expected: {},
  run: (means) => flood(means, [kind], 1),
}));

/** One member, everything at once, as fast as it can, over all the connections that it may have. */
export const storm: MemberAttack = {
  id: "storm",
  target: "gateway",
  group: "storm",
  expected: {},
  run: (means) => flood(means, Object.values(floods), means.pick(1, connectionsPerPeer)),
};
