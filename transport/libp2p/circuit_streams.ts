/**
 * The two streams of a circuit, at the relay that joins them. The library reads both as fast as they come: what an end does not read
 * would fill the relay's memory. Here a stream is paused while the other one does not take more.
 *
 * @module
 */
import type { Connection, PeerId, Stream } from "@libp2p/interface";
import { drained } from "./drained.ts";

/** What the library's relay joins; each end of a circuit may also be a duplex of iterables. */
interface Joint {
  readonly source: readonly never[];
  /** Resolves when both streams are closed. */
  sink(): Promise<unknown>;
  abort(error: Error): void;
}

/** A request for a circuit, and the stream that it came on. */
interface Hop {
  readonly stream: { unwrap(): Stream | Joint };
}

/** What is sent to the destination of a circuit. */
interface Stop {
  readonly connection: Pick<Connection, "remotePeer">;
}

/** What is used of a relay's server. */
export interface JoinsCircuits {
  readonly components: { readonly connectionManager: { getConnections(peer: PeerId): Connection[] } };
  /** Calls {@linkcode stopHop}, answers, and joins the two streams. */
  handleConnect(hop: Hop, options: unknown): Promise<void>;
  /** Opens the stream to the destination; undefined where it refuses. */
  stopHop(stop: Stop, options: unknown): Promise<Stream | Joint | undefined>;
}

/**
 * Makes a relay's server read a stream of a circuit only as fast as the other end takes it, and reach a destination over its newest open
 * connection: an older one may have lost its link.
 */
export function joinWithBackPressure(server: JoinsCircuits): void {
  const { handleConnect, stopHop } = server;
  const { connectionManager } = server.components;
  server.handleConnect = async (hop, options) => {
    const streams: Stream[] = [];
    const joint: Joint = {
      source: [],
      sink: () => Promise.all(streams.map(closed)),
      abort: (error) => streams.forEach((stream) => stream.abort(error)),
    };
    const unwrap = () => {
      const near = hop.stream.unwrap() as Stream;
      const [far] = streams as [Stream];
      streams.push(near);
      pour(near, far);
      pour(far, near);
      return joint;
    };
    const forOne: JoinsCircuits = Object.create(server, {
      stopHop: {
        value: async (stop: Stop, stopOptions: unknown) => {
          const newest = connectionManager.getConnections(stop.connection.remotePeer).findLast(isDirect);
          const far = await stopHop.call(forOne, { ...stop, connection: newest ?? stop.connection }, stopOptions);
          if (far === undefined) return undefined;
          streams.push(far as Stream);
          return joint;
        },
      },
    });
    try {
      await handleConnect.call(forOne, { ...hop, stream: { ...hop.stream, unwrap } }, options);
    } catch (error) {
      joint.abort(error as Error);
      throw error;
    }
  };
}

const isDirect = ({ status, remoteAddr }: Connection) =>
  status === "open" && !remoteAddr.toString().includes("/p2p-circuit");

const isOver = ({ status }: Stream) => status !== "open" && status !== "closing";

function closed(stream: Stream): Promise<void> {
  if (isOver(stream)) return Promise.resolve();
  return new Promise((resolve) => stream.addEventListener("close", () => resolve(), { once: true }));
}

/** Sends on what arrives, and the end after it; resets one where the other was reset, or lost before its end. */
function pour(from: Stream, to: Stream): void {
  let hasEnded = from.remoteWriteStatus === "closed";
  let isResuming = false;
  const hold = () => {
    if (from.readStatus !== "readable") return;
    from.pause();
    drained(to).then(goOn, () => {}); // where it closes first, nothing is left to do
  };
  const goOn = () => {
    if (from.readStatus !== "paused") return;
    // What was held comes within this call, and the window opens at its end: a pause within it would be lost.
    isResuming = true;
    try {
      from.resume();
    } catch {
      // its connection is gone; what was held has come
    }
    isResuming = false;
    if (to.writableNeedsDrain) hold();
  };
  const end = () => {
    if (hasEnded && from.status !== "aborted" && from.status !== "reset") to.close().catch(() => {});
  };
  from.addEventListener("remoteCloseWrite", () => hasEnded = true);
  from.addEventListener("end", end);
  from.addEventListener("close", ({ error }) => {
    if (error !== undefined || !hasEnded) to.abort(error ?? lost());
  });
  if (isOver(from) && !(hasEnded && from.status === "closed")) return to.abort(lost());
  from.addEventListener("message", ({ data }) => {
    try {
      if (!to.send(data) && !isResuming) hold();
    } catch (error) {
      from.abort(error as Error);
    }
  });
  if (from.readableEnded) end();
}

const lost = () => new Error("the other end of the circuit is gone");
