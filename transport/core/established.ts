/**
 * What the parts of a session ask its connection table.
 *
 * @module
 */
import type { PeerText } from "../port.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { Departed } from "./departed.ts";
import type { Established } from "./parts.ts";

/** Answers from a table, and from the members that left it. */
export function establishedOf(
  table: ConnectionTable,
  departed: Departed,
  gateways: () => readonly PeerText[],
): Established {
  return {
    identityOf: (connection) => table.identityOf(connection),
    identitiesOf: (peer) => table.identitiesOf(peer),
    leftLately: (peer) => departed.list().some(({ identity }) => identity.peer === peer),
    best: (peer, to) => table.best(peer, to),
    gateways,
    get areRolesRequired() {
      return table.snapshot.policy.roles === "require";
    },
  };
}
