/** Streams to peers: our protocol first, the existing network's where the peer doesn't know it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Effect, Result } from "effect";
import type { ProposedProtocols } from "../../actors/job/network.ts";
import { openPull, openPush } from "../../actors/job/peer_streams.ts";
import { type StreamProtocol, TransportError } from "../../transport/port.ts";
import { decodeGrantedPullHeader, decodePullHeader } from "../../transport/protocols/mod.ts";
import { runOf, streamPair } from "../support/job_world.ts";

const test = suite("streams to peers");
const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const grant = {
  dataset: "digits",
  index: 3,
  peer,
  job: "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
  expires: { secs_since_epoch: 1, nanos_since_epoch: 0 },
  signature: new Uint8Array(64),
};
const header = { dataset: "digits", index: 3, scheduler: peer, grant };

/** A peer that speaks these protocols, or fails with a code. */
function peerWith(spoken: readonly StreamProtocol[], code: TransportError["code"] = "unsupported") {
  const asked: ProposedProtocols[] = [];
  const far: ReturnType<typeof streamPair>["far"][] = [];
  const openStream = (_: string, protocols: ProposedProtocols) => {
    asked.push(protocols);
    const running = protocols.find((protocol) => protocol !== undefined && spoken.includes(protocol));
    if (running === undefined) return Effect.fail(new TransportError({ code, detail: protocols[0] }));
    const pair = streamPair({ near: "me", far: peer }, running);
    far.push(pair.far);
    return Effect.succeed(pair.near);
  };
  return { asked, far, openStream };
}

async function headerAt(far: ReturnType<typeof streamPair>["far"] | undefined) {
  const chunk = await runOf(far!.read);
  assert.is((await runOf(far!.read)).type, "end", "the puller half-closes behind its header");
  return chunk.type === "bytes" ? chunk.bytes : new Uint8Array(0);
}

test("a data node of ours is shown the grant", async () => {
  const ours = peerWith(["/hypha-tensor-stream/pull/2", "/hypha-tensor-stream/pull"]);
  await runOf(openPull(ours, peer, header));
  assert.equal(ours.asked, [["/hypha-tensor-stream/pull/2", "/hypha-tensor-stream/pull"]]);
  const read = Result.getOrThrow(decodeGrantedPullHeader(await headerAt(ours.far[0])));
  assert.equal(read?.header, header);
});

test("one of the existing network gets the plain header, and no grant", async () => {
  const plain = peerWith(["/hypha-tensor-stream/pull"]);
  await runOf(openPull(plain, peer, header));
  assert.equal(plain.asked, [["/hypha-tensor-stream/pull/2", "/hypha-tensor-stream/pull"]]);
  const bytes = await headerAt(plain.far[0]);
  assert.equal(Result.getOrThrow(decodePullHeader(bytes))?.header, { dataset: "digits", index: 3 });
  assert.is(new TextDecoder().decode(bytes).includes("grant"), false);
});

test("bug: a peer of ours that began to serve between two tries got a result without its round: both protocols are proposed at once", async () => {
  const both = [["/hypha-tensor-stream/push/2", "/hypha-tensor-stream/push"]] as const;
  const plain = peerWith(["/hypha-tensor-stream/push"]);
  assert.is((await runOf(openPush(plain, peer))).protocol, "/hypha-tensor-stream/push");
  const ours = peerWith(["/hypha-tensor-stream/push", "/hypha-tensor-stream/push/2"]);
  assert.is((await runOf(openPush(ours, peer))).protocol, "/hypha-tensor-stream/push/2");
  const gone = peerWith([], "not-connected");
  assert.is((await runOf(Effect.flip(openPush(gone, peer)))).code, "not-connected");
  assert.equal([plain.asked, ours.asked, gone.asked], [both, both, both]);
});

test("creating the Effect opens no stream, and each run opens one", async () => {
  const ours = peerWith(["/hypha-tensor-stream/push/2", "/hypha-tensor-stream/pull/2"]);
  const [push, pull] = [openPush(ours, peer), openPull(ours, peer, header)];
  assert.is(ours.asked.length, 0);
  for (const opening of [push, push, pull, pull]) await runOf(opening);
  assert.is(ours.asked.length, 4);
});

test.run();
