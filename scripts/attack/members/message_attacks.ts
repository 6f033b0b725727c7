/**
 * Messages that never end, or are too large, on every protocol of a node.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { base58btc } from "multiformats/bases/base58";
import { Buffer } from "node:buffer";
import { kadProtocol } from "../../../transport/core/wire.ts";
import { streamProtocols } from "../../../transport/port.ts";
import { messageProtocols } from "../../../transport/protocols/messages.ts";
import { encodeMessage } from "../../../transport/protocols/mod.ts";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import { foreignProtocols, identification } from "./foreign_messages.ts";
import { catchesUp, openStream, pour, type StreamFate, trySend } from "./raw_member.ts";
import { victimRoles } from "./world.ts";

/** Every protocol that any node serves. */
const protocols = [...messageProtocols, ...streamProtocols, kadProtocol, ...Object.values(foreignProtocols)];

const question = encodeMessage("/hypha-api/0.0.1", "request", { Data: { dataset: "digits".repeat(5_000) } });
/** An indefinite map of CBOR. */
const openMap = Uint8Array.of(0xbf);
/** A head that claims so many bytes. */
const head = (bytes: number): Uint8Array => {
  const octets: number[] = [];
  for (; bytes > 0x7f; bytes = Math.floor(bytes / 0x80)) octets.push((bytes % 0x80) | 0x80);
  return Uint8Array.of(...octets, bytes, 1, 2, 3);
};

/** The beginning of a message that the protocol allows. */
function beginning(protocol: string): Uint8Array {
  if (protocol === "/hypha-api/0.0.1") return question.subarray(0, question.length - 1);
  if (protocol.startsWith("/hypha-")) return openMap;
  if (protocol === kadProtocol) return head(60_000);
  if (protocol === foreignProtocols.ping) return new Uint8Array(31);
  return head(protocol === foreignProtocols.gossip ? 100_000 : 4_000);
}

/** Streams of each protocol; those that the node does not serve are left out. */
async function openAll(means: AttackMeans, connection: Connection, each: number) {
  const opened: { readonly protocol: string; readonly fate: StreamFate }[] = [];
  await Promise.all(protocols.map(async (protocol) => {
    for (let nth = 0; nth < each; nth++) {
      means.attempts += 1;
      try {
        opened.push({ protocol, fate: await openStream(connection, protocol) });
      } catch {
        return; // it is not served here, or there are enough
      }
    }
  }));
  return opened;
}

/** Begins messages on every protocol, and leaves them. */
const unfinished = (target: MemberAttack["target"]): MemberAttack => ({
  id: `unfinished-messages-${target}`,
  target,
  expected: { acts: ["relay.connect"] },
  run: async (means) => {
    const { connection } = await means.intruder("worker");
    const opened = await openAll(means, connection, means.pick(4, 60));
    for (const { protocol, fate: { stream } } of opened) {
      trySend(stream, beginning(protocol));
    }
    if (opened.length < 4) means.escaped("too few protocols were open: nothing was attacked");
  },
});

/** Bytes that no message of any protocol may have, and the pieces that they come in. */
const tooLarge = { quick: 1.25 * 1_048_576, full: 3 * 1_048_576 };
const piece = new Uint8Array(65_536).fill(0xbf);

/** libp2p stops reading these streams and leaves them; the hoards measure what they hold. */
const unread: readonly string[] = [foreignProtocols.gossip, foreignProtocols.hop];

function* pieces(protocol: string, sizeBytes: number): Generator<Uint8Array> {
  // A head of its own makes the message one of two gigabytes; CBOR has none.
  if (!protocol.startsWith("/hypha-")) yield Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x07);
  for (let sent = 0; sent < sizeBytes; sent += piece.length) yield piece;
}

/** Sends messages larger than any may be: the node ends each stream, and the connection stays. */
const oversized = (target: MemberAttack["target"]): MemberAttack => ({
  id: `oversized-messages-${target}`,
  target,
  expected: { acts: ["relay.connect"] },
  run: async (means) => {
    const { connection } = await means.intruder("worker");
    // Pings have no length: every 32 bytes are one, and are answered.
    const opened = (await openAll(means, connection, 1)).filter(({ protocol }) => protocol !== foreignProtocols.ping);
    await Promise.all(opened.map(async ({ protocol, fate }) => {
      await Promise.race([
        pour(fate.stream, pieces(protocol, means.pick(tooLarge.quick, tooLarge.full))),
        pause(means.pick(1_000, 5_000)),
      ]);
      const ended = unread.includes(protocol) || await holds(() => fate.end !== undefined, means.actsWithinMs);
      if (!ended) means.escaped(`${protocol}: the stream goes on`);
      if (fate.received > 0 && protocol.startsWith("/hypha-")) means.escaped(`${protocol}: it was answered`);
      fate.stream.abort(new Error("enough"));
    }));
    if (opened.length < 4) means.escaped("too few protocols were open: nothing was attacked");
    if (connection.status !== "open") means.escaped("one stream cost the whole connection");
  },
});

/** What a stream of a hoard is filled with, in bytes. */
const hoardBytes = { quick: 262_144, full: 3 * 1_048_576 };
/** Connections of one member at once (`connectionsPerPeerMax`). */
const connectionsPerPeer = 8;

/** Fills the streams of a protocol, over all the connections that a member may have, and leaves them unread. */
const hoards = (
  target: MemberAttack["target"],
  name: string,
  { protocol, expected = {} }: { readonly protocol: string; readonly expected?: MemberAttack["expected"] },
): MemberAttack => ({
  id: `hoard-of-${name}`,
  target,
  expected,
  run: async (means) => {
    const member = await means.member(await means.certificate("worker"));
    for (let nth = 0; nth < means.pick(1, connectionsPerPeer); nth++) {
      const connection = await member.connect(means.place.address);
      await Promise.all(Array.from({ length: means.pick(32, 64) }, async () => {
        means.attempts += 1;
        const fate = await openStream(connection, protocol).catch(() => undefined);
        if (fate !== undefined) {
          await Promise.race([
            pour(fate.stream, pieces(protocol, means.pick(hoardBytes.quick, hoardBytes.full))),
            pause(means.pick(500, 3_000)),
          ]);
        }
      }));
      await catchesUp(connection, means.actsWithinMs);
    }
  },
});

/** Answers the node's own question who it is with as much as libp2p reads, on one connection after the other. */
const longAnswers: MemberAttack = {
  id: "identify-answers-of-80-kb",
  target: "gateway",
  group: "identify",
  expected: {},
  run: async (means) => {
    const member = await means.member(await means.certificate("worker"));
    const name = base58btc.baseDecode(member.peer);
    const answer = Buffer.concat(Array.from({ length: 10 }, () => identification(800, name)));
    await member.serve(foreignProtocols.identify, (stream) => {
      means.attempts += 1;
      pour(stream, [answer]).then(() => stream.close()).catch(() => {}); // the node may not read it to the end
    });
    for (let nth = 0; nth < means.pick(2, 40); nth++) {
      const asked = means.attempts;
      const connection = await member.connect(means.place.address);
      if (!await holds(() => means.attempts > asked, means.actsWithinMs)) {
        means.escaped("the node did not ask: nothing was attacked");
      }
      await catchesUp(connection);
      await pause(200);
      connection.abort(new Error("again"));
    }
  },
};

/** The attacks. */
export const messageAttacks: readonly MemberAttack[] = [
  ...victimRoles.flatMap((target) => [unfinished(target), oversized(target)]),
  longAnswers,
  hoards("gateway", "kademlia", { protocol: kadProtocol }),
  hoards("gateway", "reservations", { protocol: foreignProtocols.hop }),
  hoards("gateway", "gossip", { protocol: foreignProtocols.gossip }),
  hoards("gateway", "identify-pushes", { protocol: foreignProtocols.identifyPush }),
  hoards("scheduler", "requests", { protocol: "/hypha-api/0.0.1" }),
  hoards("worker", "files", { protocol: "/hypha-tensor-stream/push" }),
  hoards("worker", "circuits", { protocol: foreignProtocols.stop, expected: { acts: ["relay.connect"] } }),
];
