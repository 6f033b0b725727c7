import { type Message as GossipMessage, TopicValidatorResult } from "@libp2p/gossipsub";
import type { PeerId } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Gossip } from "../../../transport/core/gossip.ts";
import type { TransportFact } from "../../../transport/port.ts";
import type { WorkerRequest } from "../../../transport/protocols/messages.ts";
import { encodeWorkerRequest } from "../../../transport/protocols/mod.ts";
import type { SessionParts } from "../../../transport/core/requests.ts";
import type { VerifiedPeers } from "../../../transport/core/verified_peers.ts";

const test = suite("Gossip");
type Validator = (via: PeerId, message: GossipMessage) => Promise<TopicValidatorResult>;

const wanted: WorkerRequest = {
  id: "3c508384-6829-4d62-83d3-061ae58b76fa",
  spec: {
    resources: { gpu: 10, cpu: 1, storage: 0.1, memory: 1 },
    executor: [{ class: "train", name: "diloco-transformer" }],
  },
  timeout: { secs_since_epoch: 1_795_563_780, nanos_since_epoch: 0 },
  bid: 100.1,
};
const named = (text: string) => ({ toString: () => text }) as unknown as PeerId;
const message = (fields: object = {}) =>
  ({ type: "signed", from: named("author"), data: encodeWorkerRequest(wanted), ...fields }) as unknown as GossipMessage;

/** A topic of which the test is libp2p; `verify` says whether an author counts. */
function topic(verify: (gossip: Gossip) => boolean) {
  const facts: TransportFact[] = [];
  const topicValidators = new Map<string, Validator>();
  const pubsub = { topicValidators, subscribe: () => {}, unsubscribe: () => {} };
  const parts = { libp2p: { services: { pubsub } }, outbox: { tell: (fact: TransportFact) => facts.push(fact) } };
  const verified = { verify: () => Promise.resolve(verify(gossip)) };
  const gossip: Gossip = new Gossip(parts as unknown as SessionParts, verified as unknown as VerifiedPeers);
  gossip.subscribe("topic");
  const validate = topicValidators.get("topic") as Validator;
  return { facts, validate: (what: GossipMessage) => validate(named("carrier"), what) };
}

test("a signed message of a verified author is delivered and handed on", async () => {
  const { facts, validate } = topic(() => true);
  assert.is(await validate(message()), TopicValidatorResult.Accept);
  assert.equal(facts, [{ type: "published", topic: "topic", from: "author", via: "carrier", message: wanted }]);
});

test("one of an author that does not count is neither, though the topic is subscribed to", async () => {
  const { facts, validate } = topic(() => false);
  assert.is(await validate(message()), TopicValidatorResult.Ignore);
  assert.equal(facts, []);
});

test("one on a topic that was left while its author was verified is neither", async () => {
  const { facts, validate } = topic((gossip) => {
    gossip.unsubscribe("topic");
    return true;
  });
  assert.is(await validate(message()), TopicValidatorResult.Ignore);
  assert.equal(facts, []);
});

test("one without a signature, or that does not decode, counts against who brought it", async () => {
  const { facts, validate } = topic(() => true);
  assert.is(await validate(message({ type: "unsigned" })), TopicValidatorResult.Reject);
  assert.is(await validate(message({ data: Uint8Array.of(0xff) })), TopicValidatorResult.Reject);
  assert.equal(facts, []);
});

test.run();
