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

/** The same gates, counted; not those of peers that `isOwn` names: nodes under attack are linked with each other as they need. */
export function countedGates(make: MakeGate, counts: GateCounts, isOwn = (_name: string) => false): MakeGate {
  return (input) => {
    const gate = make(input);
    counts.alive += 1;
    const stop = gate.stop.bind(gate);
    let isCounted = true;
    const uncount = () => {
      if (isCounted) counts.alive -= 1;
      isCounted = false;
    };
    // Count at the verdict: bytes that a member sends with its handshake may end the connection before it is established.
    gate.listen((event) => {
      if (event.type !== "gate.verified") return;
      counts.accepted[event.identity.name] = (counts.accepted[event.identity.name] ?? 0) + 1;
      if (isOwn(event.identity.name)) uncount();
    });
    gate.stop = () => {
      uncount();
      stop();
    };
    return gate;
  };
}
