/**
 * Members that play a relay.
 *
 * @module
 */
import type { Stream } from "@libp2p/interface";
import { holds, type MemberAttack, pause } from "./attack.ts";
import { foreignProtocols, madeUpPeer, stopOf } from "./foreign_messages.ts";
import { catchesUp, openStream, trySend } from "./raw_member.ts";

/** Brings circuits as a relay where the node has no reservation. */
const stranger = (role: "worker" | "gateway"): MemberAttack => ({
  id: `stop-of-a-stranger-${role}`,
  target: "worker",
  expected: { acts: ["relay.connect"] },
  run: async (means) => {
    const { member, connection } = await means.intruder(role);
    await member.serve(foreignProtocols.hop, () => means.escaped("the node asked the stranger for a reservation"));
    await Promise.all(Array.from({ length: means.pick(4, 60) }, async () => {
      means.attempts += 1;
      const fate = await openStream(connection, foreignProtocols.stop).catch(() => undefined);
      if (fate === undefined) return;
      trySend(fate.stream, stopOf(madeUpPeer()));
      if (!await holds(() => fate.end !== undefined, means.actsWithinMs)) means.escaped("the circuit was not reset");
      if (fate.received > 0) means.escaped("the circuit was taken");
    }));
    await pause(100); // a reservation would come now
  },
});

/** A member with another role at the address of a configured gateway. */
const impostor: MemberAttack = {
  id: "impostor-gateway",
  target: "worker",
  since: "start",
  expected: { codes: ["not-authorized"] },
  run: (means) => {
    if (means.places.asked.impostor > 0) means.escaped("the node asked the impostor for a reservation");
    return Promise.resolve();
  },
};

/** A gateway, where the node has a reservation, brings peers that there are not. */
const madeUpPeers: MemberAttack = {
  id: "made-up-relayed-peers",
  target: "worker",
  expected: {},
  run: async (means) => {
    const { relay } = means.places;
    await holds(() => relay.connectionsWith(means.place.peer).length > 0, 30_000);
    const [connection] = relay.connectionsWith(means.place.peer);
    if (connection === undefined) return means.escaped("the node has no reservation: nothing was attacked");
    const circuits: Stream[] = [];
    const bring = async () => {
      means.attempts += 1;
      const fate = await openStream(connection, foreignProtocols.stop).catch(() => undefined);
      if (fate === undefined) return;
      trySend(fate.stream, stopOf(madeUpPeer()));
      circuits.push(fate.stream);
    };
    const brought = (async () => {
      for (let left = means.pick(60, 1_000); left > 0; left -= 10) {
        await Promise.all(Array.from({ length: 10 }, bring));
      }
    })();
    // An honest member comes in meanwhile, and asks.
    for (let nth = 0; nth < means.pick(1, 10); nth++) {
      const friend = await means.friend("scheduler");
      await friend.dial(means.place.address);
      if (await friend.request(means.place.peer, "/hypha-health/0.0.1", {}) === undefined) {
        means.escaped("an honest member got no answer");
      }
    }
    await brought;
    // In a full run the node's deadline for handshakes ends the circuits; in a quick one their relay does, once the node has read them.
    await catchesUp(connection);
    for (const circuit of circuits.slice(0, means.pick(circuits.length, 0))) circuit.abort(new Error("enough"));
  },
};

/** The attacks. */
export const relayAttacks: readonly MemberAttack[] = [stranger("worker"), stranger("gateway"), impostor, madeUpPeers];
