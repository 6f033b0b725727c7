/**
 * Older connections of a peer that opened a newer one. Where a link is lost without an end (a machine lost its power, an address changed),
 * its connection looks open until a ping fails, and gossip, which stays on the first connection of a peer, is lost meanwhile. So each
 * older connection has to show at once that something comes over it.
 *
 * @module
 */
import type { Clock } from "../core/clock.ts";
import type { Libp2pConnection } from "./connections.ts";

/** An older connection is lost over which nothing comes for so long while the peer answers over the newer one, in milliseconds. */
export const silentMaxMs = 5_000;

/** What is used of a connection. */
type Link = Pick<Libp2pConnection, "isOpen" | "probe" | "lost">;

/**
 * Has a peer answer over its connections, and ends the older ones over which nothing comes.
 *
 * @param newer A connection that has just opened.
 * @param all The connections of its peer.
 */
export function endLostLinks(
  newer: Link | undefined,
  all: readonly (Link | undefined)[],
  clock: Pick<Clock, "after">,
): void {
  if (newer?.isOpen !== true) return;
  const older = all.filter((each): each is Link => each?.isOpen === true && each !== newer);
  if (older.length === 0) return;
  const isHeard = newer.probe();
  const probes = older.map((connection) => ({ connection, isHeard: connection.probe() }));
  clock.after(silentMaxMs, () => {
    const silent = probes.filter((probe) => !probe.isHeard());
    if (!isHeard()) return; // the peer is slow, or gone: each connection's own pings find it
    for (const { connection } of silent) {
      connection.lost(`nothing came for ${silentMaxMs} ms while its peer answered over a newer connection`);
    }
  });
}
