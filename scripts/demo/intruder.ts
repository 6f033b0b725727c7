/**
 * An intruder that tries to join. It is no node, because a node would not start with such a certificate. It uses only the
 * protocols of a node's handshake.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { Result } from "effect";
import { parseCertificate, parsePem, peerIdOf } from "../../pki/mod.ts";
import type { Intruder } from "./intruders.ts";
import type { Layout } from "./configuration.ts";
import { BrokenPromise } from "./broken_promise.ts";
import type { NodeProcess } from "./processes.ts";

const attemptTimeoutMs = 10_000;

/** The PeerID of the first certificate in a PEM file. */
export function certificatePeer(path: string): string {
  const blocks = Result.getOrThrow(parsePem(readFileSync(path, "utf8")));
  const leaf = blocks[0];
  if (leaf === undefined) throw new BrokenPromise(`no certificate in ${path}`);
  return Result.getOrThrow(peerIdOf(Result.getOrThrow(parseCertificate(leaf.der))));
}

/** One multistream-select message: its length as a varint (all of ours are short), the text, a line feed. */
const multistream = (text: string): Buffer => Buffer.from(`${String.fromCharCode(text.length + 1)}${text}\n`, "latin1");

/** Negotiates TLS with the listener, as a libp2p dialler does. */
function selectTls(socket: Socket): Promise<void> {
  const answer = Buffer.concat([multistream("/multistream/1.0.0"), multistream("/tls/1.0.0")]);
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const read = (bytes: Buffer) => {
      seen = Buffer.concat([seen, bytes]);
      if (seen.length < answer.length) return;
      socket.off("data", read);
      socket.pause();
      if (seen.equals(answer)) resolve();
      else reject(new BrokenPromise(`unexpected multistream answer ${seen.toString("latin1")}`));
    };
    socket.on("data", read).on("error", reject).on("close", () => reject(new BrokenPromise("closed before TLS")));
    socket.write(answer);
  });
}

/** Dials, shows the certificate, asks for the muxer; resolves when the other side has hung up. */
async function knock({ certPem, keyPem }: Intruder, port: number): Promise<void> {
  const socket = connectTcp({ host: "127.0.0.1", port });
  const timer = setTimeout(() => socket.destroy(), attemptTimeoutMs);
  try {
    await selectTls(socket);
    await new Promise<void>((resolve) => {
      const secure = connectTls({
        socket,
        cert: certPem,
        key: keyPem,
        rejectUnauthorized: false,
        minVersion: "TLSv1.3",
      });
      secure.on("secureConnect", () => secure.write(multistream("/multistream/1.0.0")));
      secure.on("error", () => resolve()).on("end", () => resolve()).on("close", () => resolve());
      secure.resume();
    });
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Makes an intruder dial the gateway. Returns the code of the refusal in the gateway's log. */
export async function tryIntruder(
  intruder: Intruder,
  { gatewayPort }: Pick<Layout, "gatewayPort">,
  gateway: NodeProcess | undefined,
): Promise<string> {
  if (gateway === undefined) throw new BrokenPromise("there is no gateway");
  const before = gateway.events.length;
  await knock(intruder, gatewayPort);
  const refusal = await gateway.waitFor(
    (event) =>
      event.event === "peer.refused" && gateway.events.indexOf(event) >= before &&
      JSON.stringify(event).includes(intruder.commonName),
    `refusal of the intruder (${intruder.name})`,
    attemptTimeoutMs,
  );
  return String(refusal["code"]);
}
