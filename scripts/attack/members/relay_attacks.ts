/**
 * Members that play a relay.
 *
 * @module
 */
import { holds, type MemberAttack, pause } from "./attack.ts";
import { foreignProtocols, madeUpPeer, stopOf } from "./foreign_messages.ts";
import { openStream, trySend } from "./raw_member.ts";

/** Brings circuits as a relay where the node has no reservation. */
const stranger = (role: "worker" | "gateway"): MemberAttack => ({
  id: `stop-of-a-stranger-${role}`,
  target: "worker",
  expected: {},
  run: async (means) => {
    const { member, connection } = await means.intruder(role);
    await member.serve(foreignProtocols.hop, () => means.escaped("the node asked the stranger for a reservation"));
    await Promise.all(Array.from({ length: means.pick(4, 60) }, async () => {
      means.attempts += 1;
      const fate = await openStream(connection, foreignProtocols.stop).catch(() => undefined);
      if (fate === undefined) return;
      trySend(fate.stream, stopOf(madeUpPeer()));
      if (!await holds(() => fate.end !== undefined, 2_000)) means.escaped("the circuit was not reset");
      if (fate.received > 0) means.escaped("the circuit was taken");
    }));
    await pause(100); // a reservation would come now
  },
});

/** The attacks. */
export const relayAttacks: readonly MemberAttack[] = [stranger("worker"), stranger("gateway")];
