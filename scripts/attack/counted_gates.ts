/**
 * Gates that are counted: how many live, and whom they let in.
 *
 * @module
 */
import type { MakeGate } from "../../transport/port.ts";

/** The counts of one process. */
export interface GateCounts {
  /** Gates that live. */
  alive: number;
  /** Peers that a gate accepted, by certificate name. */
  readonly accepted: Record<string, number>;
}

/** The same gates, counted. */
export function countedGates(make: MakeGate, counts: GateCounts): MakeGate {
  return (input) => {
    const gate = make(input);
    counts.alive += 1;
    const stop = gate.stop.bind(gate);
    let stopped = false;
    // Count at the verdict: bytes that a member sends with its handshake may end the connection before it is established.
    gate.listen((event) => {
      if (event.type !== "gate.verified") return;
      counts.accepted[event.identity.name] = (counts.accepted[event.identity.name] ?? 0) + 1;
    });
    gate.stop = () => {
      if (!stopped) counts.alive -= 1;
      stopped = true;
      stop();
    };
    return gate;
  };
}
