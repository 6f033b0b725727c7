/**
 * The established connections of a node, as its operator is shown them: read from its gates, which no actor holds.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { Gate, GateInput, MakeGate } from "../../transport/port.ts";
import type { Ports } from "../runtime/ports.ts";

/** An established connection. */
export interface OpenConnection {
  readonly identity: PeerIdentity;
  readonly direction: GateInput["direction"];
  /** The peer's address; the relay's, with `/p2p-circuit`, where a relay carries the connection. */
  readonly address: string;
  /** When it was established, in milliseconds since the epoch. */
  readonly since: number;
}

/** The list of established connections. */
export interface OpenConnections {
  /** In the order in which they were established. */
  readonly list: () => readonly OpenConnection[];
  /** How many gates that have not ended are in each state. */
  readonly gates: () => Readonly<Record<string, number>>;
  /** Wraps a factory of gates, and lists the connections of its gates. */
  readonly follow: (makeGate: MakeGate) => MakeGate;
}

/** Makes an empty list. */
export function makeOpenConnections({ now }: Pick<Ports, "now">): OpenConnections {
  const open = new Map<object, OpenConnection>();
  const all = new Set<Gate>();
  return {
    list: () => [...open.values()],
    gates: () => {
      const counts: Record<string, number> = {};
      for (const { phase } of all) counts[phase] = (counts[phase] ?? 0) + 1;
      return counts;
    },
    follow: (makeGate) => (input) => {
      const gate = makeGate(input);
      const { direction, address } = input;
      if (gate.phase === "refused" || gate.phase === "closed") return gate; // when it was created
      all.add(gate);
      gate.listen((event) => {
        if (event.type === "gate.established" && !open.has(gate)) {
          open.set(gate, { identity: event.identity, direction, address, since: now() });
        } else if (event.type === "gate.refused" || event.type === "gate.closed") {
          open.delete(gate);
          all.delete(gate);
        }
      });
      return gate;
    },
  };
}
