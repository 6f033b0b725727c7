/**
 * What a paused stream holds, in memory of about its size: a piece of one octet would keep the whole socket buffer that it came in.
 *
 * @module
 */
import type { Stream } from "@libp2p/interface";
import type { Uint8ArrayList } from "uint8arraylist";
import { isCopied } from "../core/growing_bytes.ts";
import { need, needMethods } from "./moved_internal.ts";

/** Buffers in use beyond what they are read for, in bytes: above that, and above what the stream holds, its pieces are joined. */
export const joinedAboveBytes = 262_144;
/** What a piece costs beside its buffer, in bytes. */
const pieceBytes = 256;

/** What arrives on a stream, and what of it was not read. */
interface Holding {
  readonly readBuffer: Uint8ArrayList;
  onData(bytes: Uint8Array | Uint8ArrayList): void;
}

/** Joins the pieces that a stream holds where their buffers are much larger. */
export function joinPieces(given: Stream): void {
  const stream = given as Stream & Holding;
  needMethods(stream, "@libp2p/utils", "stream", ["onData"]);
  const buffer = need(stream.readBuffer, "@libp2p/utils", "readBuffer in a stream");
  const { onData } = stream;
  let wastedBytes = 0;
  stream.onData = (data) => {
    onData.call(stream, data);
    if (buffer.byteLength === 0) return void (wastedBytes = 0);
    for (const piece of data instanceof Uint8Array ? [data] : data) {
      if (isCopied(piece)) wastedBytes += piece.buffer.byteLength + pieceBytes;
    }
    if (wastedBytes < Math.max(joinedAboveBytes, buffer.byteLength)) return;
    wastedBytes = 0;
    const joined = buffer.slice();
    buffer.consume(buffer.byteLength);
    buffer.append(joined);
  };
}
