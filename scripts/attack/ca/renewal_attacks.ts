/**
 * Attacks on renewal.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect as connectTcp } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { issueNode, issueRoot } from "../../../pki/issue/mod.ts";
import { hostileClient } from "../gate/hostile_tls.ts";
import { type CaAttack, inParallel, note } from "./attack.ts";
import { type CaWorld, honestAddress, makeCsr } from "./world.ts";

export const renewalAttacks: readonly CaAttack[] = [
  {
    id: "renewal-of-a-stolen-key",
    count: { full: 20, quick: 2 },
    expected: ["renewal-forked", "name-locked"],
    alarm: "ca.alarm.renewal-forked",
    async run(world, count, loot) {
      await inParallel(count, async (index) => {
        const owner = await world.member();
        const thief = await world.renew(owner, (await makeCsr(owner.name)).csr, {
          localAddress: world.addressOf(index * 10),
        });
        loot.issued += 2;
        if (thief.code !== "ok") loot.problems.push(`the thief came first and got ${thief.code}`);
        // The owner comes second: both are stopped.
        await note(
          loot,
          world.renew(owner, (await makeCsr(owner.name)).csr, { localAddress: world.addressOf(index * 10 + 5_000) }),
        );
        const again = world.renew(owner, (await makeCsr(owner.name)).csr, {
          localAddress: world.addressOf(index * 10 + 5_000),
        });
        await note(loot, again);
      });
    },
  },
  {
    id: "renewal-of-a-foreign-certificate",
    count: { full: 50, quick: 4 },
    expected: ["not-issued-here"],
    async run(world, count, loot) {
      const dates = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000) };
      const root = await issueRoot({ commonName: "Issuing CA", organization: "acme.example", ...dates });
      const san = ["URI:spiffe://acme.example/worker/w-1"];
      const { certPem, keyPem } = await issueNode({ issuer: root, commonName: "w-1", san, ...dates });
      const { csr } = await makeCsr("w-1", keyPem);
      await inParallel(
        count,
        (index) => note(loot, world.renew({ certPem, keyPem }, csr, { localAddress: world.addressOf(index) })),
      );
    },
  },
  {
    id: "renewal-without-a-certificate",
    count: { full: 50, quick: 4 },
    expected: ["no-client-certificate"],
    async run(world, count, loot) {
      const body = Buffer.from((await makeCsr("any")).csr).toString("base64");
      const path = "/.well-known/est/simplereenroll";
      await inParallel(
        count,
        (index) => note(loot, world.ask(path, { method: "POST", body, localAddress: world.addressOf(index) })),
      );
    },
  },
  {
    id: "certificate-without-its-key",
    count: { full: 50, quick: 4 },
    expected: ["closed"],
    async run(world, count, loot) {
      const [owner, thief] = [await world.member(), await makeCsr("any")];
      loot.issued += 1;
      await inParallel(
        count,
        (index) => note(loot, withoutKey(world, owner.leaf, thief.keyPem, world.addressOf(index))),
      );
    },
  },
  {
    id: "resumed-session",
    count: { full: 50, quick: 4 },
    expected: ["no-ticket", "session-resumed", "no-client-certificate"],
    async run(world, count, loot) {
      const member = await world.member();
      loot.issued += 1;
      const sessions = await sessionsOf(world, member);
      if (sessions.length === 0) await note(loot, Promise.resolve({ code: "no-ticket" }));
      await inParallel(
        sessions.length === 0 ? 0 : count,
        (index) =>
          note(
            loot,
            getOver(world, { session: sessions[index % sessions.length]!, localAddress: world.addressOf(index) }),
          ),
      );
    },
  },
];

async function withoutKey(world: CaWorld, leaf: Uint8Array, keyPem: string, localAddress: string) {
  const socket = connectTcp({ host: "127.0.0.1", port: world.port, localAddress });
  socket.on("error", () => {});
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("close", reject));
  const { alert } = await hostileClient(socket, { chain: [leaf], keyPem });
  socket.destroy();
  return { code: alert === undefined ? "let in" : "closed" };
}

const request = "GET /.well-known/hypha/network HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/** Sessions that a member's connection was given. */
async function sessionsOf(world: CaWorld, { certPem: cert, keyPem: key }: { certPem: string; keyPem: string }) {
  const sessions: Buffer[] = [];
  const socket = connect({
    ...{ host: "127.0.0.1", port: world.port, localAddress: honestAddress, rejectUnauthorized: false, cert, key },
  });
  socket.on("session", (session: Buffer) => sessions.push(session));
  await textOver(socket);
  return sessions;
}

async function getOver(world: CaWorld, { session, localAddress }: { session: Buffer; localAddress: string }) {
  const text = await textOver(
    connect({ ...{ host: "127.0.0.1", port: world.port, localAddress, rejectUnauthorized: false }, session }),
  );
  return { code: /\r\n\r\n([a-z-]+):/.exec(text)?.[1] ?? (text.startsWith("HTTP/1.1 200") ? "let in" : "closed") };
}

function textOver(socket: TLSSocket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("error", () => {});
    socket.on("secureConnect", () => socket.write(request));
    socket.on("data", (part: Buffer) => text += part.toString("latin1"));
    socket.on("close", () => resolve(text));
  });
}
