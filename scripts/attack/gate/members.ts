/**
 * Attacks of a hostile member: the gate establishes its connection, and the member abuses it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { GateAttack, GateWorld } from "./attack.ts";
import { hostileClient } from "./hostile_tls.ts";
import { frame, negotiate, patient } from "./raw_dial.ts";

/** How long a member continues that the node does not disconnect, in milliseconds. */
const abuseMs = 1_000;

/** Frame types and flags of yamux. */
const types = { data: 0, window: 1, ping: 2 } as const;
const flags = { none: 0, syn: 1, fin: 4 } as const;

/** A frame of yamux: version, type, flags, stream, length. */
export function yamux(type: keyof typeof types, flag: keyof typeof flags, stream: number, length: number): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt8(types[type], 1);
  header.writeUInt16BE(flags[flag], 2);
  header.writeUInt32BE(stream, 4);
  header.writeUInt32BE(length, 8);
  return header;
}

/** Goes through TLS and the multiplexer's negotiation as a member. */
export async function enter({ member }: GateWorld, socket: Socket): Promise<TLSSocket> {
  await negotiate(socket);
  const tls = connectTls({
    socket,
    cert: member.certPem,
    key: member.keyPem,
    rejectUnauthorized: false,
    minVersion: "TLSv1.3",
  });
  await new Promise<void>((resolve, reject) => {
    tls.once("secureConnect", resolve).once("error", reject).once("close", () => reject(new Error("closed")));
  });
  tls.on("error", () => {});
  tls.write(Buffer.concat([frame("/multistream/1.0.0"), frame("/yamux/1.0.0")]));
  return tls;
}

const abuses = (id: string, count: number, bytes: () => Buffer, read = true): GateAttack => ({
  id,
  count,
  parallel: 4,
  expected: [],
  run: async (world, socket) => {
    const tls = await enter(world, socket);
    if (read) tls.resume();
    else tls.pause();
    tls.write(bytes());
    setTimeout(() => socket.destroy(), abuseMs);
    await (read ? patient(tls) : new Promise<void>((resolve) => socket.once("close", () => resolve())));
  },
});

/** Gets an established connection, then repeats the handshake. */
const afterwards = (id: string, last: "hello" | "key-update"): GateAttack => ({
  id,
  count: 200,
  parallel: 4,
  expected: [],
  run: async ({ member }, socket) => {
    const ahead = await negotiate(socket);
    const then = Buffer.concat([frame("/multistream/1.0.0"), frame("/yamux/1.0.0")]);
    setTimeout(() => socket.destroy(), abuseMs);
    await hostileClient(socket, member, { ahead, then, last });
  },
});

const repeated = (count: number, one: (index: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, index) => one(index)));
const opening = (index: number) => yamux("data", "syn", 2 * index + 1, 0);

/** Their attacks. */
export const members: readonly GateAttack[] = [
  abuses("yamux-ping-flood", 100, () => repeated(20_000, (index) => yamux("ping", "syn", 0, index))),
  abuses("yamux-stream-flood", 100, () => repeated(4_000, opening)),
  abuses(
    "yamux-window-overflow",
    100,
    () => Buffer.concat([opening(0), repeated(64, () => yamux("window", "none", 1, 0xffff_ffff))]),
  ),
  abuses("yamux-frame-of-4-gb", 100, () => Buffer.concat([opening(0), yamux("data", "none", 1, 0xffff_ffff)])),
  abuses(
    "multistream-bomb-in-a-stream",
    100,
    () => {
      const lines = Buffer.concat([frame("/multistream/1.0.0"), ...Array.from({ length: 2_000 }, () => frame("/x/1"))]);
      return Buffer.concat([yamux("data", "syn", 1, lines.length), lines]);
    },
  ),
  afterwards("renegotiation", "hello"),
  afterwards("key-update", "key-update"),
  abuses("stops-reading", 100, () => repeated(20_000, (index) => yamux("ping", "syn", 0, index)), false),
];
