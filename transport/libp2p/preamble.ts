/**
 * The first bytes of a libp2p dialler, and how to see that other bytes came.
 *
 * multistream-select reads a length and then waits for that many bytes: the first byte of `GET / HTTP/1.1` is a length
 * of 71, so a short request would sit there until the deadline and look like silence.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { ProtocolMismatch } from "../../pki/refusal.ts";

/** Length, name and newline, as multistream-select writes them (libp2p specification: "multistream-select 1.0"). */
const preamble = Buffer.from("\x13/multistream/1.0.0\n", "latin1");

/**
 * Watches the first bytes that arrive on `socket` and calls `onMismatch` once when they are not a dialler's. Takes
 * nothing from the socket; stops watching as soon as it knows.
 */
export function watchPreamble(socket: Socket, onMismatch: (refusal: ProtocolMismatch) => void): void {
  let matched = 0;
  const onData = (bytes: Uint8Array) => {
    for (const byte of bytes.subarray(0, preamble.length - matched)) {
      if (byte !== preamble[matched]) {
        socket.removeListener("data", onData);
        const start = Buffer.from(bytes.subarray(0, 24)).toString("latin1").replace(/[^\x20-\x7e]/g, ".");
        onMismatch(new ProtocolMismatch({ detail: `it began with "${start}" instead of multistream-select` }));
        return;
      }
      matched += 1;
    }
    if (matched === preamble.length) socket.removeListener("data", onData);
  };
  socket.on("data", onData);
}
