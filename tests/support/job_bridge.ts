/**
 * Bridges over fresh work directories, and web servers for them to fetch from.
 *
 * @module
 */
import { existsSync, mkdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Effect } from "effect";
import * as assert from "uvu/assert";
import { openBridge } from "../../actors/job/bridge/bridge.ts";
import type { BridgeContext } from "../../actors/job/bridge/context.ts";
import { makeBridgeToken } from "../../actors/job/bridge/token.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { openWorkDirectory } from "../../actors/files/contained_files.ts";
import { anything, fakeNetwork, holdOpen, openWeb, realPorts, temporary } from "./job_world.ts";

export const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
export const stranger = "12D3KooWCofsHFCiPAZDDo4ZcRkzUZEkhuz3awyU9iHkhvf6LQPH";

/** A bridge over a fresh work directory. */
export async function withBridge(
  changes: Partial<Omit<BridgeContext, "limits">> & { limits?: Partial<BridgeContext["limits"]> },
  use: (
    bridge: { socket: string; path: string; outside: string; sendsDone: Effect.Effect<void>; idleMs: () => number },
  ) => Promise<void>,
  token = makeBridgeToken("optional"),
  name = "job",
): Promise<void> {
  const place = temporary();
  const path = join(place.path, name), outside = join(place.path, "outside");
  mkdirSync(path, { mode: 0o700 });
  mkdirSync(outside);
  const bridge = await holdOpen(Effect.flatMap(openWorkDirectory(path), (directory) =>
    openBridge({
      directory,
      jobId: "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
      scheduler: peer,
      scope: anything,
      network: fakeNetwork({}),
      report: realPorts().report,
      now: realPorts().now,
      random: realPorts().random,
      web: openWeb,
      count: { round: 1, samples: 0 },
      ...changes,
      limits: { ...jobLimits, idleMs: 2_000, ...changes.limits },
    }, token)));
  try {
    const { socketPath: socket, sendsDone, idleMs = () => NaN } = bridge.value;
    await use({ socket, path, outside, sendsDone, idleMs });
  } finally {
    await bridge.close();
    assert.not.ok(existsSync(join(path, "bridge.sock")), "the socket goes with the bridge");
    place.remove();
  }
}

export async function withWeb(
  serve: Parameters<typeof createServer>[1] & object,
  use: (url: string) => Promise<void>,
): Promise<void> {
  const server = createServer(serve as never);
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
}
