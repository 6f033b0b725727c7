/**
 * Clients that are silent, slow or huge: each is cut off in time.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect as connectTcp, type Socket } from "node:net";
import { connect, type ConnectionOptions } from "node:tls";
import { portTimes } from "../../../actors/ca/https_port.ts";
import { type CaAttack, inParallel, note } from "./attack.ts";
import type { CaWorld } from "./world.ts";

/** How late the CA may be, in milliseconds: one round of checks, and what a busy machine takes. */
const lateMs = 10_000;
/** A client is cut off after its request's time at the latest. */
const lifeMaxMs = portTimes.idleMs + portTimes.requestMs + lateMs;

/** Waits for a connection's end; the status of its answer where it had one. */
export function ended(socket: Socket, limitMs: number): Promise<{ readonly code: string }> {
  const [from, parts] = [performance.now(), [] as Buffer[]];
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.destroy();
      resolve({ code: `open after ${Math.round(performance.now() - from)} ms` });
    }, limitMs);
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      const status = /^HTTP\/1\.1 (\d+)/.exec(Buffer.concat(parts).toString("latin1"))?.[1];
      resolve({ code: status === undefined ? "closed" : `status-${status}` });
    });
  });
}

const tcp = (world: CaWorld, index: number) =>
  connectTcp({ host: "127.0.0.1", port: world.port, localAddress: world.addressOf(index) });
const tls = (world: CaWorld, index: number, more: ConnectionOptions = {}) =>
  connect({
    ...{ host: "127.0.0.1", port: world.port, localAddress: world.addressOf(index), rejectUnauthorized: false },
    ...more,
  });

/** Clients that open a connection and do something with it. */
function clients(
  id: string,
  { count, expected, limitMs }: Pick<CaAttack, "count" | "expected"> & { readonly limitMs: number },
  open: (world: CaWorld, index: number) => Socket,
): CaAttack {
  return {
    id,
    count,
    expected,
    run: async (world, total, loot) => {
      const attempts: Promise<string>[] = [];
      for (let index = 0; index < total; index++) {
        attempts.push(note(loot, ended(open(world, index), limitMs)));
        await new Promise((resolve) => setTimeout(resolve, everyMs));
      }
      await Promise.all(attempts);
    },
  };
}

const head = (length: number) =>
  `POST /.well-known/est/simpleenroll HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\ncontent-length: ${length}\r\n\r\n`;

/** Sends a text, then a letter a tenth of a second. */
function dripping(world: CaWorld, index: number, text: string): Socket {
  const socket = tls(world, index);
  socket.on("secureConnect", () => socket.write(text));
  const timer = setInterval(() => void (socket.writable && socket.write("a")), 100);
  socket.on("close", () => clearInterval(timer));
  return socket;
}

function sending(world: CaWorld, index: number, text: string): Socket {
  const socket = tls(world, index);
  socket.on("secureConnect", () => socket.write(text));
  return socket;
}

/** Connections begin so far apart, in milliseconds: what many handshakes cost at once is the machine's speed, not the CA's work. */
const everyMs = 20;
const few = { full: 200, quick: 3 };
const handshake = portTimes.handshakeMs + lateMs;
/** A request's time begins after its handshake. */
const request = portTimes.handshakeMs + portTimes.requestMs + lateMs;

export const clientAttacks: readonly CaAttack[] = [
  clients("silent", { count: few, expected: ["closed"], limitMs: handshake }, tcp),
  clients(
    "silent-behind-the-handshake",
    { count: few, expected: ["closed", "status-408"], limitMs: lifeMaxMs },
    (world, index) => tls(world, index),
  ),
  clients(
    "head-letter-by-letter",
    { count: few, expected: ["closed", "status-408"], limitMs: request },
    (world, index) => dripping(world, index, "GET /healthz HTTP/1.1\r\nx: "),
  ),
  clients(
    "body-letter-by-letter",
    { count: few, expected: ["closed", "status-408"], limitMs: request },
    (world, index) => dripping(world, index, head(60_000)),
  ),
  clients(
    "body-too-long",
    { count: few, expected: ["status-413"], limitMs: request },
    (world, index) => sending(world, index, head(65_537)),
  ),
  clients(
    "head-too-long",
    { count: few, expected: ["status-431", "closed"], limitMs: request },
    (world, index) => sending(world, index, `GET / HTTP/1.1\r\nhost: a\r\nx: ${"a".repeat(20_000)}\r\n\r\n`),
  ),
  clients(
    "no-http",
    { count: few, expected: ["status-400", "closed"], limitMs: request },
    (world, index) => sending(world, index, "\x16\x03\x01 hello\r\n\r\n"),
  ),
  clients(
    "requests-pipelined",
    { count: few, expected: ["closed"], limitMs: request },
    (world, index) => sending(world, index, "GET /bundle.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50)),
  ),
  clients(
    "tls-1.2",
    { count: few, expected: ["closed"], limitMs: handshake },
    (world, index) => tls(world, index, { minVersion: "TLSv1.2", maxVersion: "TLSv1.2" }),
  ),
  {
    id: "handshakes-from-one-address",
    count: { full: 5_000, quick: 60 },
    expected: ["closed"],
    async run(world, count, loot) {
      const open = () => connectTcp({ host: "127.0.0.1", port: world.port, localAddress: "127.0.202.1" });
      await Promise.all(Array.from({ length: 60 }, () => note(loot, ended(open(), handshake))));
      await inParallel(Math.max(0, count - 60), () => {
        const socket = open();
        socket.on("connect", () => socket.destroy());
        return note(loot, ended(socket, handshake));
      });
    },
  },
];
