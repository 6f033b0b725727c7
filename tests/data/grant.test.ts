/** Grants: signed by a scheduler, for one peer, one slice, until a moment; and a data node that insists on them. */
import { Buffer } from "node:buffer";
import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Effect, Result } from "effect";
import type { DataConfig } from "../../actors/config/config.ts";
import { dataMachine } from "../../actors/data/data.ts";
import { checkGrant, signerOf, signGrant } from "../../actors/data/grant.ts";
import type { Sign } from "../../actors/runtime/role.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import type { Role } from "../../pki/certificate.ts";
import { decodeDer } from "../../pki/der.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { ed25519KeyOf, peerIdOfKey } from "../../pki/peer_id.ts";
import { readPublicKey } from "../../pki/public_key.ts";
import { type RefusalCode, refusalCodes } from "../../pki/refusal.ts";
import type { StreamProtocol } from "../../transport/port.ts";
import type { Grant } from "../../transport/protocols/messages.ts";
import {
  encodeGrantedPullHeader,
  encodePullHeader,
  type GrantedPullHeader,
  signedBytesOf,
  type UnsignedGrant,
} from "../../transport/protocols/mod.ts";
import { beginning, identityOf, makeFakeWorld, startUnderParent } from "../support/fake_transport.ts";
import { eventually, streamPair, temporary } from "../support/job_world.ts";

const test = suite("grants");

function keyed(key: { readonly privateKey: KeyObject; readonly publicKey: KeyObject }) {
  const spki = new Uint8Array(key.publicKey.export({ format: "der", type: "spki" }));
  const peer = peerIdOfKey(Result.getOrThrow(decodeDer(spki, readPublicKey))) ?? "";
  const keyPem = String(key.privateKey.export({ format: "pem", type: "pkcs8" }));
  const signed = signerOf({ keyPem, peer });
  return { peer, sign: signed as Sign, key };
}
const scheduler = keyed(generateKeyPairSync("ed25519"));
const impostor = keyed(generateKeyPairSync("ed25519"));
const worker = keyed(generateKeyPairSync("ed25519")).peer;
const otherWorker = keyed(generateKeyPairSync("ed25519")).peer;
const expiresAt = beginning + 60_000;
const unsigned: UnsignedGrant = {
  dataset: "digits",
  index: 1,
  peer: worker,
  job: "0f0e0d0c-0b0a-4900-8807-060504030201",
  expires: instantFromMs(expiresAt),
};
const grant = signGrant(unsigned, scheduler.sign);
const asked = { dataset: "digits", index: 1, peer: worker, scheduler: scheduler.peer, now: beginning };
const whyNot = (shown: Grant, pull = asked) => {
  const outcome = checkGrant(shown, pull);
  return Result.isSuccess(outcome) ? "holds" : [outcome.failure.code, outcome.failure.why];
};

test("a grant holds for its slice, its peer, its scheduler, and until it expires", () => {
  assert.is(whyNot(grant), "holds");
  assert.is(whyNot(grant, { ...asked, now: expiresAt - 1 }), "holds");
  assert.equal(whyNot(grant, { ...asked, now: expiresAt }), ["job-scope", "the grant has expired"]);
  assert.equal(whyNot(grant, { ...asked, peer: otherWorker }), ["job-scope", `the grant is for ${worker}`]);
  assert.equal(whyNot(grant, { ...asked, index: 2 }), ["job-scope", "the grant is for another slice"]);
  assert.equal(whyNot(grant, { ...asked, dataset: "letters" }), ["job-scope", "the grant is for another slice"]);
  const own = signGrant({ ...unsigned, peer: scheduler.peer }, scheduler.sign);
  const toItself = ["job-scope", "a node grants nothing to itself"];
  assert.equal(whyNot(own, { ...asked, peer: scheduler.peer }), toItself);
  const unsignedBy = ["job-scope", "the grant is not signed by that scheduler"];
  assert.equal(whyNot(grant, { ...asked, scheduler: impostor.peer }), unsignedBy);
  assert.equal(whyNot(grant, { ...asked, scheduler: "nobody" }), unsignedBy);
  assert.equal(whyNot(signGrant(unsigned, impostor.sign)), unsignedBy);
});

test("whatever is changed in a signed grant, it holds no more", () => {
  const changes: Partial<Grant>[] = [
    { dataset: "letters" },
    { index: 2 },
    { peer: otherWorker },
    { job: "0f0e0d0c-0b0a-4900-8807-060504030202" },
    { expires: instantFromMs(expiresAt + 1) },
    { expires: instantFromMs(expiresAt + 86_400_000) },
    { signature: new Uint8Array(64) },
    { signature: grant.signature.subarray(0, 63) },
    { signature: new Uint8Array(0) },
  ];
  for (const change of changes) {
    const changed = { ...grant, ...change };
    const pull = { ...asked, dataset: changed.dataset, index: changed.index, peer: changed.peer };
    assert.is.not(whyNot(changed, pull), "holds", JSON.stringify(change));
  }
  for (let at = 0; at < 64; at++) {
    const signature = grant.signature.map((octet, index) => index === at ? octet ^ 1 : octet);
    assert.is.not(whyNot({ ...grant, signature }), "holds", `octet ${at}`);
  }
});

test("what is signed: a domain of its own, then one CBOR map, as docs/wire.md writes it down", () => {
  const bytes = Buffer.from(signedBytesOf(unsigned));
  const domain = Buffer.from("hypha-slice-grant/1\0");
  assert.ok(bytes.subarray(0, domain.length).equals(domain));
  const text = (value: string) => (0x60 + value.length).toString(16) + Buffer.from(value).toString("hex");
  const multihash = Buffer.from([0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...ed25519KeyOf(worker)!.raw]).toString("hex");
  const { secs_since_epoch: seconds } = unsigned.expires;
  assert.is(
    bytes.subarray(domain.length).toString("hex"),
    `a5${text("dataset")}${text("digits")}${text("index")}01${text("peer")}5826${multihash}${text("job")}50` +
      `0f0e0d0c0b0a49008807060504030201${text("expires")}a2${text("secs_since_epoch")}1a${seconds.toString(16)}` +
      `${text("nanos_since_epoch")}00`,
  );
  // Any library verifies it with the scheduler's public key alone.
  assert.ok(verify(null, bytes, scheduler.key.publicKey, grant.signature));
  // The fields alone, as another protocol might have them signed, are no grant.
  const elsewhere = new Uint8Array(sign(null, bytes.subarray(domain.length), scheduler.key.privateKey));
  assert.is.not(whyNot({ ...grant, signature: elsewhere }), "holds");
});

test("a PeerID gives its Ed25519 key back; one of another key gives none, and its node no signer", () => {
  const spki = createPublicKey(scheduler.key.privateKey).export({ format: "der", type: "spki" });
  assert.ok(Buffer.from(ed25519KeyOf(scheduler.peer)!.spki).equals(spki));
  for (
    const key of [
      generateKeyPairSync("ec", { namedCurve: "P-256" }),
      generateKeyPairSync("rsa", { modulusLength: 2048 }),
    ]
  ) {
    const other = keyed(key);
    assert.match(other.peer, /^(Qm|1)/);
    assert.is(ed25519KeyOf(other.peer), undefined);
    assert.is(other.sign, undefined);
  }
  for (const text of ["", "0", "12D3KooW", `${scheduler.peer}x`, "1".repeat(5_000)]) {
    assert.is(ed25519KeyOf(text), undefined);
  }
});

interface Shown {
  readonly header?: Partial<GrantedPullHeader>;
  readonly peer?: string;
  readonly role?: Role;
  readonly protocol?: StreamProtocol;
}

/** A data node that insists on grants, and what became of a pull. */
async function dataNode(
  options: { readonly requireGrant?: boolean; readonly schedulerRole?: Role; readonly dial?: RefusalCode } = {},
) {
  const { requireGrant = true, schedulerRole, dial = "certificate-revoked" } = options;
  const folder = temporary();
  const datasetPath = join(folder.path, "digits");
  mkdirSync(datasetPath);
  for (const name of ["a", "b"]) writeFileSync(join(datasetPath, name), `slice ${name}`);
  const world = makeFakeWorld();
  const data = startUnderParent(world, dataMachine, {
    config: { role: "data", datasetPath, requireGrant } as DataConfig,
    ports: world.ports,
    transport: world.transport,
    self: "data",
    members: [],
  });
  await eventually("the directory is scanned", () => data.state() !== "scanning");
  /** The peers that are established; the others that can be dialled. */
  const there = new Set<string>(), reachable = new Set<string>(), others: PeerIdentity[] = [];
  const answering = setInterval(() => {
    const members = [...[...there].map((peer) => identityOf(peer, schedulerRole)), ...others];
    const list = members.map((identity) => ({ peer: identity.peer, identity }));
    for (const ask of world.take("peers")) ask.replyTo.send({ type: "peers", list });
    for (const { id, target, replyTo } of world.take("dial")) {
      const peer = "peer" in target ? target.peer : "";
      if (reachable.has(peer)) there.add(peer);
      replyTo.send(
        there.has(peer)
          ? { type: "dial.done", id, peer }
          : { type: "dial.failed", id, refusal: { code: dial } as never },
      );
    }
  }, 1);
  let exchanges = 0;
  const pull = async ({ header, peer = worker, role, protocol = "/hypha-tensor-stream/pull/2" }: Shown) => {
    const exchange = `x-${exchanges += 1}`;
    data.send({ type: "stream.received", exchange, peer, identity: identityOf(peer, role), protocol });
    const [accept] = world.take("stream.accept");
    if (accept === undefined) return "rejected";
    const { near, far } = streamPair({ near: "data", far: peer }, protocol);
    accept.replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    const whole = { dataset: "digits", index: 1, scheduler: scheduler.peer, grant, ...header };
    const asked = protocol.endsWith("/2") ? encodeGrantedPullHeader(whole) : encodePullHeader(whole);
    return await Effect.runPromise(
      Effect.gen(function* () {
        yield* far.write(asked);
        yield* far.end;
        const pieces: Uint8Array[] = [];
        for (;;) {
          const chunk = yield* far.read;
          if (chunk.type === "end" && chunk.outcome === "broken") return "reset";
          if (chunk.type === "end") return Buffer.concat(pieces).subarray(8).toString("latin1");
          pieces.push(chunk.bytes);
        }
      }).pipe(Effect.catch(({ code }) => Effect.succeed(code as string))),
    );
  };
  const refusals = () =>
    data.said.filter(({ type }) => type === "peer.refused").map((fact) => {
      const { refusal, peer, untold } = fact as unknown as {
        refusal: { code: string; why: string };
        peer: { id: string };
        untold: number;
      };
      return [refusal.code, peer.id, refusal.why, untold];
    });
  return {
    pull,
    there,
    reachable,
    others,
    world,
    refusals,
    stop: () => {
      clearInterval(answering);
      folder.remove();
    },
  };
}
const refused = '{"refused":"job-scope"}';
const served = `{"size":7}slice b${createHash("sha256").update("slice b").digest().toString("latin1")}`;

test("with require_grant: a slice goes to the member that has a grant for it, of a scheduler that is verified here", async () => {
  const node = await dataNode();
  node.there.add(scheduler.peer);
  assert.is(await node.pull({}), served);
  assert.equal(node.refusals(), []);
  // The grant of one peer, in the hands of another: replayed.
  assert.is(await node.pull({ peer: otherWorker }), refused);
  assert.is(await node.pull({ header: { index: 0 } }), refused);
  assert.is(await node.pull({ header: { grant: signGrant(unsigned, impostor.sign) } }), refused);
  assert.is(await node.pull({ header: { grant: { ...grant, signature: new Uint8Array(64) } } }), refused);
  node.world.pass(60_000);
  assert.is(await node.pull({}), refused);
  await eventually("a minute later another refusal is reported", () => node.refusals().length === 3);
  assert.equal(node.refusals().map(([code, peer, , untold]) => [code, peer, untold]), [
    ["job-scope", otherWorker, 0],
    ["job-scope", worker, 0],
    ["job-scope", worker, 2],
  ]);
  assert.match(String(node.refusals()[2]?.[2]), "expired");
  node.stop();
});

test("bug: each refused pull was a line and a record; a member's are reported once a minute, with their number", async () => {
  const node = await dataNode();
  for (let nth = 0; nth < 25; nth++) {
    assert.is(await node.pull({ header: { grant: undefined, scheduler: undefined } as never }), refused);
    assert.is(await node.pull({ protocol: "/hypha-tensor-stream/pull" }), "rejected");
  }
  assert.equal(node.refusals().map(([, peer, , untold]) => [peer, untold]), [[worker, 0]]);
  node.world.pass(60_000);
  await node.pull({ protocol: "/hypha-tensor-stream/pull" });
  assert.equal(node.refusals().map(([, peer, , untold]) => [peer, untold]), [[worker, 0], [worker, 49]]);
  node.stop();
});

test("without a grant: a framed pull ends with the code, a plain one is rejected; both are reported", async () => {
  const node = await dataNode();
  assert.is(await node.pull({ header: { grant: undefined, scheduler: undefined } as never }), refused);
  node.world.pass(60_000);
  assert.is(await node.pull({ protocol: "/hypha-tensor-stream/pull" }), "rejected");
  await eventually("two refusals are reported", () => node.refusals().length === 2);
  node.stop();
});

test("a scheduler that is not connected is dialled; one that the gate refuses grants nothing", async () => {
  const node = await dataNode();
  assert.is(await node.pull({}), refused);
  await eventually("the refusal is reported", () => node.refusals().length === 1);
  assert.match(String(node.refusals()[0]?.[2]), "not verified here");
  node.reachable.add(scheduler.peer);
  assert.is(await node.pull({}), served);
  node.stop();
});

/** Refusals of the certificate of the scheduler that was dialled. Any other says nothing about it, or may be over in a while. */
const finalCodes: readonly RefusalCode[] = [
  ...["self-signed", "unknown-issuer", "bad-signature", "path-too-long", "not-a-ca", "key-usage"] as const,
  ...["extended-key-usage", "name-constraint", "unknown-critical-extension"] as const,
  ...["certificate-expired", "certificate-revoked", "role-not-allowed"] as const,
];

test("bug: any refusal of a dial but a few made a grant forged: lists that had ended, a clock that was behind, a peer that cost too much", async () => {
  for (const dial of refusalCodes) {
    const node = await dataNode({ dial });
    assert.is(await node.pull({}), finalCodes.includes(dial) ? refused : "reset", dial);
    node.stop();
  }
});

test("bug: a scheduler that the data node could not reach for ten seconds was a forged grant, which ends executors", async () => {
  for (const dial of ["unreachable", "peer-id-mismatch", "tls-failed", "revocation-unknown"] as const) {
    const node = await dataNode({ dial });
    assert.is(await node.pull({}), "reset", dial);
    assert.equal(node.refusals(), []);
    node.reachable.add(scheduler.peer);
    assert.is(await node.pull({}), served);
    node.stop();
  }
});

test("bug: the line of a pull whose scheduler is not reached did not name the scheduler", async () => {
  const node = await dataNode({ dial: "unreachable" });
  await node.pull({});
  await eventually("the pull is reported", () => node.world.reported("slice.refused").length === 1);
  const [{ reason } = {}] = node.world.reported("slice.refused");
  assert.match(String(reason), `scheduler ${scheduler.peer}, which granted it, is not reached: `);
  node.stop();
});

test("a node of another role grants nothing", async () => {
  const node = await dataNode({ schedulerRole: "worker" });
  node.there.add(scheduler.peer);
  assert.is(await node.pull({}), refused);
  await eventually("the refusal is reported", () => node.refusals().length === 1);
  assert.match(String(node.refusals()[0]?.[2]), "schedulers grant");
  node.stop();
  const right = await dataNode({ schedulerRole: "scheduler" });
  right.there.add(scheduler.peer);
  assert.is(await right.pull({ role: "worker" }), served);
  right.stop();
});

test("bug: a rule that lets another role pull slices had no effect: the data node looked for a worker's certificate", async () => {
  const node = await dataNode();
  node.there.add(scheduler.peer);
  // The transport passes on what the table of acts or a rule allows (`tests/transport/port_acts.test.ts`).
  assert.is(await node.pull({ role: "gateway" }), served);
  assert.is(await node.pull({ role: "gateway", header: { index: 2 } }), refused, "a grant for another slice");
  node.stop();
});

test("of several members of the grantor's PeerID, one that may be a scheduler is believed", async () => {
  for (const roles of [["worker", "scheduler"], ["gateway", undefined], ["scheduler", "worker"]] as const) {
    const node = await dataNode();
    node.others.push(...roles.map((role) => identityOf(scheduler.peer, role, `as ${role}`)));
    assert.is(await node.pull({}), served, roles.join());
    node.stop();
  }
  const node = await dataNode();
  node.others.push(identityOf(scheduler.peer, "worker"), identityOf(scheduler.peer, "data"));
  node.others.push(identityOf(otherWorker, "scheduler"));
  assert.is(await node.pull({}), refused);
  await eventually("the refusal is reported", () => node.refusals().length === 1);
  assert.match(String(node.refusals()[0]?.[2]), "is a worker, and schedulers grant");
  node.stop();
});

test("without require_grant: no grant is served, on either protocol; a bad one is refused all the same", async () => {
  const node = await dataNode({ requireGrant: false });
  node.there.add(scheduler.peer);
  assert.is(await node.pull({ header: { grant: undefined, scheduler: undefined } as never }), served);
  assert.is.not(await node.pull({ protocol: "/hypha-tensor-stream/pull" }), "rejected");
  assert.is(await node.pull({ peer: otherWorker }), refused);
  assert.is(
    await node.pull({ header: { index: 9, grant: undefined, scheduler: undefined } as never }),
    '{"refused":"not-found"}',
  );
  node.stop();
});

test.run();
