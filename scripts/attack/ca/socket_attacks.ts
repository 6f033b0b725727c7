/**
 * Local processes on the admin socket of a CA: of another user, and of the operator's own user with broken, huge and countless requests.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import process from "node:process";
import { adminStreamsMax } from "../../../actors/admin/event_stream.ts";
import { adminHeadMs } from "../../../actors/admin/serve_admin.ts";
import { type CaAttack, inParallel, note } from "./attack.ts";
import { ended } from "./client_attacks.ts";
import type { CaWorld } from "./world.ts";

/** The user `nobody` of every Linux: owner of nothing. */
const nobody = 65_534;
/** A connection that asks nothing is gone by then, in milliseconds, on a busy machine too. */
const limitMs = adminHeadMs + 10_000;
/** How long a reader of the events stays that does not read, in milliseconds. */
const unreadMs = 2_000;
/** Octets of a huge body. */
const hugeBytes = 1024 * 1024;

/** Connects as another user, which only the superuser can try: the error's code. */
function asAnotherUser(path: string): Promise<{ readonly code: string }> {
  if (process.geteuid?.() !== 0) return Promise.resolve({ code: "not-tried" });
  const script = `require("node:net").connect(process.argv[1]).on("connect", () => console.log("connected"))
    .on("error", ({ code }) => console.log(code)).on("close", () => process.exit())`;
  const child = spawn(process.execPath, ["-e", script, path], { uid: nobody, gid: nobody, cwd: "/" });
  let said = "";
  child.stdout.on("data", (piece) => said += piece);
  return new Promise((resolve) => {
    child.on("error", () => resolve({ code: "not-tried" }));
    child.on("close", () => resolve({ code: said.trim() }));
  });
}

/** A connection that sends this. */
function sending(world: CaWorld, path: string, body: Uint8Array): Socket {
  const socket = connect(world.socket);
  socket.write(`POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n`);
  socket.write(body);
  return socket;
}

const bodies = (id: string, expected: string, make: () => Uint8Array): CaAttack => ({
  id,
  count: { full: 500, quick: 5 },
  expected: [expected],
  run: (world, count, loot) =>
    inParallel(count, () => note(loot, ended(sending(world, "/ca/token", make()), limitMs))).then(() => {}),
});

/** Asks for the events, reads the answer's head and nothing more; leaves after a while. */
function followsWithoutReading(world: CaWorld): Promise<{ readonly code: string }> {
  const socket = connect(world.socket);
  socket.write("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
  socket.once("data", () => socket.pause());
  setTimeout(() => socket.destroy(), unreadMs);
  return ended(socket, limitMs);
}

export const socketAttacks: readonly CaAttack[] = [
  {
    id: "socket-other-user",
    count: { full: 20, quick: 2 },
    expected: ["EACCES", "not-tried"],
    run: (world, count, loot) => inParallel(count, () => note(loot, asAnotherUser(world.socket))),
  },
  bodies("socket-not-json", "status-400", () => randomBytes(200)),
  bodies("socket-wrong-shape", "status-400", () => Buffer.from('{"role": "ca", "name": "ca-02"}')),
  bodies("socket-huge", "status-413", () => new Uint8Array(hugeBytes)),
  {
    id: "socket-streams",
    count: { full: 1_000, quick: 40 },
    expected: ["closed"],
    run: async (world, count, loot) => {
      const sockets = Array.from({ length: count }, () => connect(world.socket));
      await Promise.all(sockets.map((socket) => note(loot, ended(socket, limitMs))));
    },
  },
  {
    id: "socket-events-unread",
    count: { full: 1_000, quick: 40 },
    expected: ["closed", "status-200", "status-503"],
    run: async (world, count, loot) => {
      await Promise.all(Array.from({ length: count }, () => note(loot, followsWithoutReading(world))));
      const followed = loot.codes.get("status-200") ?? 0;
      if (followed > adminStreamsMax) loot.problems.push(`${followed} followed the events at once`);
    },
  },
];
