/**
 * Attacks of strangers on the port. No stranger has a certificate of the network together with its key.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { attackRate, type GateAttack, type GateWorld } from "./attack.ts";
import { hostileClient } from "./hostile_tls.ts";
import { malformed, version1 } from "./odd_certificates.ts";
import { frame, hello, negotiate, patient } from "./raw_dial.ts";

const extension = (type: number, body: Uint8Array) => {
  const head = Buffer.alloc(4);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
};
/** An offer to resume a session that there never was, with early data (RFC 8446 §4.2.11, §4.2.10). */
const resumption = Buffer.concat([
  extension(45, Buffer.from([1, 1])),
  extension(42, Buffer.alloc(0)),
  extension(
    41,
    Buffer.concat([
      Buffer.from([0, 22, 0, 16]),
      randomBytes(16),
      Buffer.alloc(4),
      Buffer.from([0, 33, 32]),
      randomBytes(32),
    ]),
  ),
]);
const earlyData = Buffer.concat([Buffer.from([23, 3, 3, 0, 64]), randomBytes(64)]);

const shows = (
  id: string,
  count: number,
  expected: readonly string[],
  show: (world: GateWorld) => Parameters<typeof hostileClient>[1],
  options: Parameters<typeof hostileClient>[2] = {},
  { parallel = 8, perSecond = attackRate } = {},
): GateAttack => ({
  id,
  count,
  parallel,
  perSecond,
  expected,
  run: async (world, socket) => {
    const ahead = await negotiate(socket);
    const then = Buffer.concat([frame("/multistream/1.0.0"), frame("/yamux/1.0.0")]);
    const outcome = await hostileClient(socket, show(world), { ahead, then, ...options });
    if (outcome.applicationBytes > 0) world.escaped(`${id}: the muxer answered without a verdict`);
  },
});

const tlsClient = (id: string, expected: readonly string[], options: ConnectionOptions): GateAttack => ({
  id,
  count: 1_200,
  parallel: 8,
  expected,
  run: async (_world, socket) => {
    await negotiate(socket);
    await patient(connectTls({ ...options, socket, rejectUnauthorized: false }));
  },
});

const writes = (
  id: string,
  expected: readonly string[],
  bytes: () => Uint8Array,
  { after = false, parallel = 16 } = {},
): GateAttack => ({
  id,
  count: 1_200,
  parallel,
  expected,
  run: async (_world, socket) => {
    if (after) await negotiate(socket);
    socket.write(bytes());
    await patient(socket);
  },
});

/** Sends a byte of the preamble from time to time. */
async function drip(_world: GateWorld, socket: Socket): Promise<void> {
  let at = 0;
  const timer = setInterval(
    () => socket.write(hello.subarray(at % hello.length, ++at % hello.length || undefined)),
    1_000,
  );
  await patient(socket);
  clearInterval(timer);
}

const flooding = ["handshake-timeout", "too-many-connections", "rate-limited", "hung-up"];
const tooLate = ["handshake-timeout", "too-many-connections", "rate-limited"];
const unreadable = ["tls-failed", "malformed-certificate", "unknown-issuer", "self-signed"];

/** Their attacks. */
export const strangers: readonly GateAttack[] = [
  {
    id: "half-open",
    count: 10_000,
    parallel: 1_000,
    perSecond: 500,
    expected: tooLate,
    run: (_world, socket) => patient(socket),
  },
  {
    id: "half-open-at-once",
    count: 3_000,
    parallel: 1_000,
    perSecond: 1_000,
    expected: tooLate,
    run: (_world, socket) => patient(socket),
  },
  { id: "byte-a-second", count: 3_000, parallel: 1_000, perSecond: 1_000, expected: tooLate, run: drip },
  {
    id: "half-a-hello",
    count: 1_200,
    parallel: 500,
    expected: tooLate,
    run: async (_world, socket) => {
      socket.write(Buffer.concat([hello, Buffer.from("16030102000100", "hex")]));
      await patient(socket);
    },
  },
  {
    id: "connect-abort",
    count: 20_000,
    parallel: 32,
    perSecond: 500,
    expected: flooding,
    unseen: true,
    run: (_world, socket) => {
      socket.resetAndDestroy();
      return Promise.resolve();
    },
  },
  writes("random-bytes", ["protocol-mismatch"], () => Buffer.concat([Buffer.from([0x9f]), randomBytes(512)])),
  writes("http", ["protocol-mismatch"], () => Buffer.from("GET / HTTP/1.1\r\n\r\n")),
  writes(
    "another-protocol",
    ["protocol-mismatch", "handshake-timeout", "too-many-connections"],
    () => Buffer.concat([frame("/multistream/1.0.0"), frame("/noise"), Buffer.from([0x9f])]),
    { parallel: 500 }, // they wait for more until their time is over
  ),
  writes("random-bytes-for-tls", ["protocol-mismatch", "tls-failed"], () => Buffer.alloc(64, 0x55), { after: true }),
  {
    id: "truncated-record",
    count: 1_200,
    parallel: 16,
    expected: ["hung-up", "tls-failed"],
    run: async (_world, socket) => {
      await negotiate(socket);
      socket.end(Buffer.from("16030102000100010203", "hex"));
      await patient(socket);
    },
  },
  {
    id: "multistream-bomb",
    count: 500,
    parallel: 8,
    perSecond: 50,
    expected: ["protocol-mismatch", "hung-up"],
    run: async (_world, socket) => {
      socket.write(Buffer.concat([frame("/multistream/1.0.0"), ...Array.from({ length: 2_000 }, () => frame("/x/1"))]));
      socket.resume();
      await patient(socket);
    },
  },
  tlsClient("tls-1.2", ["tls-version"], { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" }),
  tlsClient("no-certificate", ["no-certificate"], { minVersion: "TLSv1.3" }),
  shows("empty-certificate", 1_200, ["no-certificate"], () => ({ chain: [], keyPem: "" })),
  shows(
    "stolen-certificate",
    1_200,
    ["tls-failed"],
    ({ member, thief }) => ({ chain: member.chain, keyPem: thief.keyPem }),
  ),
  shows("corrupted-verify", 1_200, ["tls-failed"], ({ member }) => member, { corrupt: true }),
  shows("malformed-certificate", 1_200, unreadable, ({ member }) => ({ ...member, chain: [malformed(member)] })),
  shows(
    "stolen-malformed-certificate",
    1_200,
    unreadable,
    ({ member, thief }) => ({ chain: [malformed(member)], keyPem: thief.keyPem }),
  ),
  shows(
    "version-1-certificate",
    1_200,
    unreadable,
    ({ thief }) => ({ chain: [version1(thief, thief)], keyPem: thief.keyPem }),
  ),
  shows(
    "stolen-version-1-certificate",
    1_200,
    unreadable, // Deno's TLS skips the proof of possession for it: the gate refuses it for its version
    ({ member, thief }) => ({ chain: [version1(member, thief)], keyPem: thief.keyPem }),
  ),
  shows("silent-after-the-server", 1_000, tooLate, ({ member }) => member, { silent: true }, { parallel: 250 }),
  shows(
    "resumption-and-0-rtt",
    1_200,
    ["tls-failed"],
    ({ member, thief }) => ({ chain: member.chain, keyPem: thief.keyPem }),
    {
      offer: resumption,
      early: earlyData,
    },
  ),
  shows(
    "certificate-16-mb",
    20,
    ["tls-failed", "hung-up", "handshake-timeout"],
    ({ member }) => ({
      ...member,
      chain: [Buffer.alloc(16_700_000, 0x30)],
    }),
    {},
    { perSecond: 2 },
  ),
  shows(
    "certificates-1000",
    100,
    ["tls-failed", "hung-up"],
    ({ member }) => ({
      ...member,
      chain: Array.from({ length: 1_000 }, () => member.chain[0]!),
    }),
    {},
    { perSecond: 10 },
  ),
];
