/**
 * Members that flood a gateway: what they send costs them time, not the node.
 *
 * @module
 */
import { type AttackMeans, type MemberAttack, pause } from "./attack.ts";
import { type Flood, floods } from "./floods.ts";

/** Connections of one member at once (`connectionsPerPeerMax`). */
const connectionsPerPeer = 8;
/** A quick run has them in a control only. */
const floodMs = { quick: 2_000, full: 20_000 };
const stormMs = { quick: 400, full: 60_000 };
/** Messages that a flood sends at least; on a busy machine it takes longer for them, at most so long, in milliseconds. */
const least = { messages: 5_000, forMs: 30_000 };
/** The first connection is there within this, in milliseconds. */
const connectsWithinMs = 30_000;
/** A connection that was refused is dialled again after this, in milliseconds. */
const redialMs = 250;

/** Floods over as many connections; each that was closed is dialled again. */
async function flood(
  means: AttackMeans,
  kinds: readonly Flood[],
  { connections, forMs, messages = 0 }: {
    readonly connections: number;
    readonly forMs: number;
    readonly messages?: number;
  },
): Promise<void> {
  const member = await means.member(await means.certificate("worker"));
  // Its time begins with the first connection: on a busy machine a handshake takes longer than a short flood.
  let end = performance.now() + connectsWithinMs;
  let longestEnd = end;
  let isConnected = false;
  const goesOn = () => performance.now() < end || (means.attempts < messages && performance.now() < longestEnd);
  const one = async () => {
    while (goesOn()) {
      const connection = await member.connect(means.place.address).catch(() => undefined);
      if (connection === undefined) {
        await pause(redialMs);
        continue;
      }
      if (!isConnected) [end, longestEnd] = [performance.now() + forMs, performance.now() + least.forMs];
      isConnected = true;
      do {
        const leftMs = Math.max(messages === 0 ? 0 : forMs, end - performance.now());
        const sent = await Promise.all(kinds.map((kind) => kind(connection, leftMs)));
        means.attempts += sent.reduce((sum, count) => sum + count, 0);
      } while (connection.status === "open" && goesOn());
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  if (means.attempts < 10) means.escaped("too little was sent: nothing was attacked");
}

/** Nodes that take what a gateway does not. */
const targets: Readonly<Record<string, MemberAttack["target"]>> = { "pulls": "data", "streams": "worker" };

/** One kind of flood each. A quick run has them all in the storm. */
export const floodAttacks: readonly MemberAttack[] = Object.entries(floods).map(([name, kind]) => ({
  id: `flood-of-${name}`,
  target: targets[name] ?? "gateway",
  group: name,
  leftOutOf: "quick",
  expected: {},
  run: (means) => {
    const messages = means.pick(least.messages, 0);
    return flood(means, [kind], { connections: 1, forMs: means.pick(floodMs.quick, floodMs.full), messages });
  },
}));

/** One member, everything at once, as fast as it can, over all the connections that it may have. */
export const storm: MemberAttack = {
  id: "storm",
  target: "gateway",
  group: "storm",
  expected: {},
  cost: { lagP99Ms: 30, rssBytes: 150 * 1_048_576, memoryBytes: 10 * 1_048_576 },
  run: (means) => {
    const size = { connections: means.pick(1, connectionsPerPeer), forMs: means.pick(stormMs.quick, stormMs.full) };
    return flood(means, Object.values(floods), size);
  },
};
