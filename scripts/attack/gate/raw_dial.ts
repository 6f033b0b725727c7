/**
 * Dialling the victim by hand, up to where TLS begins.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";

/** A line of multistream-select. */
export const frame = (text: string): Buffer =>
  Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)]);
/** The bytes that a dialler sends before TLS. */
export const hello = Buffer.concat([frame("/multistream/1.0.0"), frame("/tls/1.0.0")]);
/** Longest that an attacker waits for its end, in milliseconds. */
const patienceMs = 20_000;

/** Connects from an address; undefined where that was refused at once. */
export function dialFrom(port: number, localAddress: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", localAddress }, () => resolve(socket));
    socket.on("error", () => resolve(undefined));
  });
}

/** Negotiates `/tls/1.0.0`. Returns the bytes after the answer. Throws where the connection ends. */
export function negotiate(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0);
    const ended = () => reject(new Error("closed during the negotiation"));
    const onData = (bytes: Uint8Array) => {
      read = Buffer.concat([read, bytes]);
      if (read.length < hello.length) return;
      socket.off("data", onData).off("close", ended);
      resolve(read.subarray(hello.length));
    };
    socket.on("data", onData).once("close", ended);
    socket.write(hello);
  });
}

/** Waits until the other side has closed. */
export function patient(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => socket.destroy(), patienceMs);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    socket.on("error", () => {}).once("close", done).resume();
    if (socket.destroyed) done();
  });
}
