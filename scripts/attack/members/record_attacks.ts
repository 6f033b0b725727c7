/**
 * Members that lie about data sets.
 *
 * @module
 */
import { prefixLength } from "../../../transport/core/length_prefixed.ts";
import { kadProtocol } from "../../../transport/core/wire.ts";
import { decodeKadMessage, encodeKadMessage } from "../../../transport/protocols/kad_record.ts";
import { Result } from "effect";
import { base58btc } from "multiformats/bases/base58";
import { type AttackMeans, type MemberAttack, pause } from "./attack.ts";
import type { HonestMember } from "./honest.ts";
import { trySend } from "./raw_member.ts";
import { dataset } from "./world.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const listenAddresses = ["/ip4/127.0.0.1/tcp/0"];

/** Looks a data set up; its publisher, where there is one. */
async function publisherOf(friend: HonestMember, key: string, nth: number): Promise<string | undefined> {
  const answer = await friend.ask({ type: "record.get", id: `${key}/${nth}`, key, timeoutMs: 30_000 });
  return answer.type === "record" ? answer.publisher : undefined;
}

/**
 * All liars agree: each answers every question about a record with that of the first of them. Half of them are gateways, because a node
 * sends no question to a member of another role.
 */
async function lie(means: AttackMeans, liars: number, friend: HonestMember): Promise<void> {
  const members = await Promise.all(Array.from(
    { length: liars },
    async (_, nth) => means.member(await means.certificate(nth % 2 === 0 ? "gateway" : "worker"), { listens: true }),
  ));
  const publisher = base58btc.baseDecode(members[0]?.peer ?? "");
  const key = utf8(dataset);
  const record = { key, value: utf8('{"num_slices":1}'), publisher };
  const answerTo = (question: Uint8Array) => {
    const read = decodeKadMessage(question.subarray(question[0]! > 0x7f ? 2 : 1));
    const type = Result.isSuccess(read) ? read.success.type : "PING";
    if (type === "GET_VALUE") means.attempts += 1;
    const forgery = type === "GET_VALUE" ? { key, record } : {};
    return prefixLength(encodeKadMessage({ type, ...forgery, closer: [], providers: [] }));
  };
  await Promise.all(members.map(async (liar) => {
    await liar.serve(kadProtocol, (stream) => {
      stream.addEventListener("message", ({ data }) => void trySend(stream, answerTo(new Uint8Array(data.subarray()))));
    });
    await liar.connect(means.place.address);
    await liar.connect(friend.addresses[0] ?? "");
  }));
}

/** Further look-ups at most, where none has reached a liar yet. */
const laterMax = 20;

const forged = (liars: number): MemberAttack => ({
  id: `forged-records-${liars}`,
  target: "gateway",
  group: "records",
  expected: {},
  run: async (means) => {
    const gatewayAddresses = [means.place.address];
    const friend = await means.friend("scheduler", { gatewayAddresses, listenAddresses });
    await friend.dial(means.place.address);
    await lie(means, liars, friend);
    await pause(500); // the DHT learns of them
    const least = means.pick(3, 20);
    // On a busy machine the DHT learns of them later.
    for (let nth = 0; nth < least || (means.attempts === 0 && nth < least + laterMax); nth++) {
      if (nth >= least) await pause(500);
      const publisher = await publisherOf(friend, dataset, nth);
      if (publisher !== means.world.nodes.data.peer) {
        means.escaped(publisher === undefined ? "a look-up found nothing" : "a look-up believed a liar");
      }
    }
    if (means.attempts === 0) means.escaped("no liar was asked: nothing was attacked");
  },
});

/** A worker publishes a data set's name first; the data node publishes after it. */
const squatted: MemberAttack = {
  id: "squatted-data-set",
  target: "gateway",
  group: "squatted",
  expected: { acts: ["record.put"] },
  run: async (means) => {
    const key = `squatted-${Date.now()}`;
    const gatewayAddresses = [means.place.address];
    const put = async (role: "worker" | "data", certificate = means.certificate(role)) => {
      const publisher = await means.friend(role, { certificate: await certificate, gatewayAddresses, listenAddresses });
      await publisher.dial(means.place.address);
      const ask = { type: "record.put", id: role, key, value: utf8('{"num_slices":2}'), timeoutMs: 30_000 } as const;
      return { peer: publisher.identity.peer, answer: await publisher.ask(ask) };
    };
    means.attempts += 1;
    await put("worker");
    const honest = await put("data", means.certificate("data", undefined, `friend.${means.id}`));
    if (honest.answer.type !== "record.stored") means.escaped("the data node could not publish");
    const friend = await means.friend("scheduler", { gatewayAddresses });
    await friend.dial(means.place.address);
    if (await publisherOf(friend, key, 0) !== honest.peer) means.escaped("the look-up did not find the data node");
  },
};

/** The attacks. */
export const recordAttacks: readonly MemberAttack[] = [forged(1), forged(3), forged(10), squatted];
