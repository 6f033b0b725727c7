/**
 * Malformed input at every layer of the port: multistream-select, TLS, yamux, CBOR. Each run draws from its own seed, so
 * that a connection that did harm can be found again by its number.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { encodeMessage } from "../../../transport/protocols/mod.ts";
import { makeRandom, type Random } from "../../fuzz/random.ts";
import type { GateAttack } from "./attack.ts";
import { soundHello } from "./hostile_tls.ts";
import { enter, yamux } from "./members.ts";
import { frame, hello, negotiate, patient } from "./raw_dial.ts";

/** How long a member waits for the effect of its input, in milliseconds. */
const waitMs = 60;
const framesPerConnection = 5;
const streamsPerConnection = 50;

/** Every connection has its own stream of random numbers. */
const runSeed = 1;
let stream = 0;

/** Turns bits, cuts, repeats, lies about lengths, puts in octets: one to four times. */
function mutate(sound: Uint8Array, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(sound);
  for (let changes = 1 + random.int(4); changes > 0; changes--) {
    const at = random.int(Math.max(1, bytes.length));
    const kind = random.int(6);
    if (bytes.length === 0) bytes = Buffer.from(random.bytes(1 + random.int(8)));
    else if (kind === 0) bytes[at]! ^= 1 << random.int(8);
    else if (kind === 1) bytes = bytes.subarray(0, at);
    else if (kind === 2) bytes[at] = random.pick([0, 0x7f, 0x80, 0xff]);
    else if (kind === 3) {
      bytes = Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.int(16)), bytes.subarray(at)]);
    } else if (kind === 4) bytes = Buffer.concat([bytes, bytes.subarray(at)]);
    else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.int(8))]);
  }
  return bytes;
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const streamOf = (number: number, protocol: string, body: Uint8Array): Buffer => {
  const bytes = Buffer.concat([frame("/multistream/1.0.0"), frame(protocol), body]);
  return Buffer.concat([yamux("data", "syn", number, bytes.length), bytes, yamux("data", "fin", number, 0)]);
};

/** Messages that a node takes, to be spoilt. */
const sound: readonly (readonly [string, Uint8Array])[] = [
  ["/hypha-health/0.0.1", encodeMessage("/hypha-health/0.0.1", "request", {})],
  [
    "/hypha-api/0.0.1",
    encodeMessage("/hypha-api/0.0.1", "request", {
      WorkerOffer: {
        id: "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        request_id: "3f2504e0-4f89-41d3-9a0c-0305e82c3302",
        price: 1.5,
        resources: { gpu: 0, cpu: 1, storage: 0, memory: 1 },
        timeout: { secs_since_epoch: 1, nanos_since_epoch: 0 },
      },
    }),
  ],
  [
    "/hypha-progress/0.0.1",
    encodeMessage("/hypha-progress/0.0.1", "request", {
      job_id: "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
      progress: { metrics: { round: 1, metrics: { loss: 0.5 } } },
    }),
  ],
];

/** Their attacks: 100,000 inputs in full. */
export const fuzzing: readonly GateAttack[] = [
  {
    id: "fuzz-multistream",
    count: 25_000,
    parallel: 32,
    perSecond: 500,
    expected: ["protocol-mismatch", "hung-up", "handshake-timeout", "tls-failed"],
    run: async (_world, socket) => {
      socket.end(mutate(hello, makeRandom(runSeed, stream++)));
      await patient(socket);
    },
  },
  {
    id: "fuzz-tls",
    count: 25_000,
    parallel: 32,
    perSecond: 500,
    expected: ["tls-failed", "tls-version", "protocol-mismatch", "hung-up", "handshake-timeout", "no-certificate"],
    run: async (_world, socket) => {
      await negotiate(socket);
      socket.end(mutate(soundHello(), makeRandom(runSeed, stream++)));
      await patient(socket);
    },
  },
  {
    id: "fuzz-yamux",
    count: 5_000,
    inputs: framesPerConnection,
    parallel: 8,
    expected: [],
    run: async (world, socket) => {
      const tls = await enter(world, socket);
      tls.resume();
      const random = makeRandom(runSeed, stream++);
      const frames = Array.from(
        { length: framesPerConnection },
        (_, index) => mutate(Buffer.concat([yamux("data", "syn", 2 * index + 1, 64), random.bytes(64)]), random),
      );
      tls.write(Buffer.concat(frames));
      await pause(waitMs);
    },
  },
  {
    id: "fuzz-cbor",
    count: 500,
    inputs: streamsPerConnection,
    parallel: 4,
    expected: [],
    run: async (world, socket) => {
      const tls = await enter(world, socket);
      tls.resume();
      const random = makeRandom(runSeed, stream++);
      for (let index = 0; index < streamsPerConnection; index++) {
        const [protocol, message] = sound[index % sound.length]!;
        tls.write(streamOf(2 * index + 1, protocol, mutate(message, random)));
      }
      await pause(10 * waitMs);
    },
  },
];
