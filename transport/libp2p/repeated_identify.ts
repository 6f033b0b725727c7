/**
 * Identify until the peer has answered. libp2p identifies a peer once, when its connection opens, within five seconds. The DHT and gossip
 * learn of a peer by its answer alone: without one, a node did not join, or had no gossip, as long as its connection stayed open.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { clearTimeout, setTimeout } from "node:timers";

/** What is used of a connection. */
type Identified = Pick<Connection, "status" | "addEventListener" | "removeEventListener">;

/** What is used of identify. */
export interface Identifies {
  /** Requests the peer's answer and takes it up. */
  identify(connection: Identified): Promise<unknown>;
}

/** Waits between two requests, in milliseconds: the first, which doubles up to the longest. */
export interface IdentifyWaits {
  readonly firstMs: number;
  readonly maxMs: number;
}
const identifyWaits: IdentifyWaits = { firstMs: 1_000, maxMs: 60_000 };

/** Makes identify repeat a request that failed, as long as the connection is open. */
export function repeatIdentify(service: Identifies, { firstMs, maxMs } = identifyWaits): void {
  const identify = service.identify.bind(service);
  service.identify = async (connection) => {
    for (let waitMs = firstMs;; waitMs = Math.min(2 * waitMs, maxMs)) {
      try {
        return await identify(connection);
      } catch (error) {
        if (connection.status === "open") await waitedOrClosed(connection, waitMs);
        if (connection.status !== "open") throw error;
      }
    }
  };
}

function waitedOrClosed(connection: Identified, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      connection.removeEventListener("close", end);
      resolve();
    };
    const timer = setTimeout(end, waitMs);
    connection.addEventListener("close", end);
  });
}
