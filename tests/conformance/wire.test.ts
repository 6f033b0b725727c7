/** The captures of the existing network below the messages: TLS, identify, relay and Kademlia, and what we send there. */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { Result } from "effect";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  decodeKadMessage,
  decodeKadRecord,
  encodeKadMessage,
  encodeKadRecord,
  kadMessageMaxBytes,
} from "../../transport/protocols/kad_record.ts";
import { bytesOf, numberOf, protobufFields } from "../../transport/protocols/protobuf.ts";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { rawPeer } from "../support/raw_peer.ts";
import { of, startTransport } from "../support/transports.ts";

interface Row {
  readonly name: string;
  readonly from: string;
  readonly kind: string;
  readonly hex?: string;
  readonly decoded?: Record<string, unknown>;
  readonly note?: string;
}
const rows = (name: string): Row[] =>
  JSON.parse(readFileSync(new URL(`../vectors/wire/${name}.json`, import.meta.url), "utf8"));
const bytes = (row: Row | undefined) => Buffer.from(row?.hex ?? "", "hex");
const reserveProtocol = "/libp2p/circuit/relay/0.2.0/hop";
const text = (value: Uint8Array | number | undefined) => Buffer.from(value as Uint8Array).toString();

const test = suite("wire");
const pki = await makeTestPki();

// ── Kademlia ────────────────────────────────────────────────────────────────────────────────────────────────────────

test("every Kademlia capture decodes to what it says and encodes to the same bytes", () => {
  const outcomes: Record<string, number> = {};
  for (const row of rows("kad")) {
    const hex = bytes(row);
    let back: Uint8Array;
    if (row.kind === "record") {
      const record = Result.getOrThrow(decodeKadRecord(hex));
      assert.is(text(record.key), row.decoded?.["key"]);
      assert.is(record.ttl, row.decoded?.["ttl"]);
      back = encodeKadRecord(record);
    } else {
      const message = Result.getOrThrow(decodeKadMessage(hex));
      assert.is(message.type, row.decoded?.["type"], row.name);
      assert.is(message.closer.length, (row.decoded?.["closer"] as unknown[]).length);
      const expected = row.decoded?.["record"] as { value: string; ttl?: number } | undefined;
      if (expected !== undefined) {
        assert.is(text(message.record?.value), expected.value);
        assert.is(message.record?.ttl, expected.ttl);
      }
      back = encodeKadMessage(message);
    }
    const same = Buffer.compare(Buffer.from(back), hex) === 0;
    // Some of the JavaScript library's requests have the cluster level last; the order here is the existing nodes'.
    const reordered = !same && row.from === "js" && Buffer.from(back).length === hex.length;
    const outcome = same ? "same" : reordered ? "canonical order" : `different: ${row.name}`;
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (reordered) {
      const again = Result.getOrThrow(decodeKadMessage(back));
      assert.is(Buffer.compare(Buffer.from(encodeKadMessage(again)), Buffer.from(back)), 0);
    }
  }
  assert.equal(outcomes, { "same": 20, "canonical order": 3 });
  assert.is(rows("kad").length, 23);
});

const malformed: [name: string, bytes: Uint8Array][] = [
  ["a number cut off", Buffer.from("08ff", "hex")],
  ["a field cut off", Buffer.from("12056a73", "hex")],
  ["a number of eleven bytes", Buffer.from("08ffffffffffffffffffff01", "hex")],
  ["an unknown type", Buffer.from("0809", "hex")],
  ["a group", Buffer.from("0b", "hex")],
  ["a record without a key", Buffer.from("1a021200", "hex")],
  ["a number as key", Buffer.from("1005", "hex")],
  ["a peer without an id", Buffer.from("4200", "hex")],
  ["more than the limit", new Uint8Array(kadMessageMaxBytes + 1)],
];
for (const [name, given] of malformed) {
  test(`a Kademlia message with ${name} is refused`, () => assert.ok(Result.isFailure(decodeKadMessage(given))));
}

// ── Relay ───────────────────────────────────────────────────────────────────────────────────────────────────────────

test("the relay captures are what is said of them, each of them read", () => {
  let reserves = 0, connects = 0, granted = 0, opened = 0;
  for (const row of rows("relay")) {
    const fields = [...protobufFields(bytes(row))];
    const type = fields.find(({ field }) => field === 1)?.value;
    if (row.kind === "request") {
      assert.is(type, row.decoded?.["type"]);
      if (type === 0) reserves += 1;
      else {
        // CONNECT names the peer by its multihash.
        const peer = fields.find(({ field }) => field === 2);
        assert.is([...protobufFields(bytesOf(peer as never))][0]?.field, 1);
        connects += 1;
      }
      continue;
    }
    assert.is(type, 2);
    const reservation = fields.find(({ field }) => field === 3);
    if (reservation === undefined) {
      assert.is(fields.find(({ field }) => field === 5)?.value, 100); // OK
      opened += 1;
      continue;
    }
    const inside = [...protobufFields(bytesOf(reservation))];
    assert.ok(inside.filter(({ field }) => field === 2).length >= 1, "a Rust client refuses an empty list");
    assert.ok(numberOf(inside.find(({ field }) => field === 1) as never) > 1_700_000_000);
    granted += 1;
  }
  assert.equal({ reserves, connects, granted, opened }, { reserves: 3, connects: 4, granted: 3, opened: 1 });
});

// ── Identify ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What each node of the existing network offers beside what all of them do. */
const offers: Record<string, string[]> = {
  "rust-gateway": ["/libp2p/circuit/relay/0.2.0/hop", "/ipfs/kad/1.0.0", "/hypha-health/0.0.1", "/hypha-api/0.0.1"],
  "rust-scheduler": ["/hypha-api/0.0.1", "/hypha-progress/0.0.1", "/libp2p/circuit/relay/0.2.0/stop"],
  "rust-data": ["/hypha-tensor-stream/pull", "/libp2p/circuit/relay/0.2.0/stop"],
  "rust-worker": ["/hypha-api/0.0.1", "/hypha-health/0.0.1", "/libp2p/circuit/relay/0.2.0/stop"],
};

test("the identify captures say who they are, without a signed peer record", () => {
  for (const row of rows("identify")) {
    const fields = [...protobufFields(bytes(row))];
    const one = (wanted: number) => fields.find(({ field }) => field === wanted)?.value;
    assert.is(text(one(5)), "/hypha-identify/0.0.1");
    assert.is(text(one(6)), "rust-libp2p/0.47.0");
    assert.is(Buffer.from(one(1) as Uint8Array).toString("hex"), row.decoded?.["publicKey"]);
    assert.is(one(8), undefined);
    const protocols = fields.filter(({ field }) => field === 3).map(({ value }) => text(value));
    for (const protocol of ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", ...offers[row.from] ?? ["?"]]) {
      assert.ok(protocols.includes(protocol), `${row.from} offers ${protocol}`);
    }
  }
  assert.is(rows("identify").length, Object.keys(offers).length);
});

test("ours says the same version, and a gateway offers what the others start on", async () => {
  const gateway = await startTransport({ pki, name: "gateway", role: "gateway", relay: "server" });
  gateway.send({ type: "serve", protocol: "/hypha-health/0.0.1" });
  const raw = await rawPeer(pki, "raw", gateway.addresses[0] as string);
  const { protocolVersion, protocols, listenAddrs } = await raw.identified;
  assert.is(protocolVersion, "/hypha-identify/0.0.1");
  for (
    const protocol of [
      "/meshsub/1.2.0",
      "/ipfs/ping/1.0.0",
      "/ipfs/id/push/1.0.0",
      ...offers["rust-gateway"]?.slice(0, 3) ?? [],
    ]
  ) {
    assert.ok(protocols.includes(protocol), protocol);
  }
  assert.ok(listenAddrs.length >= 1);
  await Promise.all([raw.stop(), gateway.stop()]);
});

/** A varint in front, as every message of relay and identify has on the wire. */
const delimited = (message: string) => Buffer.concat([Buffer.from([message.length / 2]), Buffer.from(message, "hex")]);

test("a gateway of ours lets existing nodes start: an address outside exclude_cidr, DHT, a reservation with addresses", async () => {
  const announced = "/ip4/203.0.113.7/tcp/4001";
  const excludeCidr = ["127.0.0.0/8", "10.0.0.0/8"];
  const here = `/ip4/127.0.0.1/tcp/${await freePort()}`;
  const options = {
    role: "gateway",
    relay: "server",
    listenAddresses: [here],
    excludeCidr,
    externalAddresses: [announced],
  } as const;
  const gateway = await startTransport({ pki, name: "gateway", ...options });
  const raw = await rawPeer(pki, "raw", here);
  const { listenAddrs, protocols } = await raw.identified;
  assert.equal(listenAddrs.map(String).toSorted(), [here, announced].toSorted(), "both are configured by hand");
  assert.ok(protocols.includes("/ipfs/kad/1.0.0"), "a DHT server at once");
  // The existing scheduler's own request, as captured.
  const reserve = rows("relay").find(({ kind, decoded }) => kind === "request" && decoded?.["type"] === 0);
  const answer = await raw.converse(reserveProtocol, delimited(reserve?.hex ?? ""));
  // The answer is longer than 127 bytes, so its length takes two.
  const status = [...protobufFields(answer.subarray(2))];
  assert.is(status.find(({ field }) => field === 1)?.value, 2, "STATUS");
  assert.is(status.find(({ field }) => field === 5)?.value, 100, "OK");
  const reservation = [...protobufFields(bytesOf(status.find(({ field }) => field === 3) as never))];
  const granted = reservation.filter(({ field }) => field === 2).map(({ value }) => multiaddr(value as Uint8Array));
  assert.ok(granted.length >= 1, "a Rust client refuses an empty list");
  assert.ok(granted.some((address) => address.toString().startsWith(announced)), granted.join(" "));
  const expiresInMs = numberOf(reservation.find(({ field }) => field === 1) as never) * 1_000 - Date.now();
  assert.ok(expiresInMs > 3_500_000 && expiresInMs < 3_700_000, `an hour, not ${expiresInMs} ms`);
  await Promise.all([raw.stop(), gateway.stop()]);
});

// ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const [dialler, listener, clientHello, serverHello, certificateRequest] = rows("tls");

/** The extensions of a ClientHello, by type. */
function extensionsOf(hello: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  let at = 38 + 1 + (hello[38] as number);
  at += 2 + hello.readUInt16BE(at);
  at += 1 + (hello[at] as number) + 2;
  while (at < hello.length) {
    const length = hello.readUInt16BE(at + 2);
    found.set(hello.readUInt16BE(at), hello.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return found;
}

test("the TLS captures are what is said of them, each of them read", () => {
  assert.is(bytes(dialler).toString(), "\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n");
  assert.is(Buffer.compare(bytes(dialler), bytes(listener)), 0);
  const extensions = extensionsOf(bytes(clientHello));
  assert.is(extensions.get(43)?.toString("hex"), "020304"); // TLS 1.3 only
  assert.is(extensions.get(10)?.toString("hex"), "0006001d00170018"); // x25519, P-256, P-384
  assert.not(extensions.has(0)); // no server name
  assert.not(extensions.has(16)); // no ALPN
  assert.is(serverHello?.decoded?.["versions"], "0304");
  assert.equal(serverHello?.decoded?.["key_shares"], ["x25519"]);
  const request = certificateRequest?.decoded?.["certificate_request"] as { signature_algorithms: string[] };
  assert.ok(request.signature_algorithms.includes("ed25519"));
  assert.is(rows("tls").length, 5);
});

test("a listener of ours answers a captured ClientHello that came in one segment with the negotiation", async () => {
  const node = await startTransport({ pki, name: "listener" });
  const socket = connect(Number((node.addresses[0] as string).split("/")[4]), "127.0.0.1");
  socket.on("error", () => {});
  const hello = bytes(clientHello);
  const record = Buffer.concat([Buffer.from([22, 3, 1, hello.length >> 8, hello.length & 255]), hello]);
  socket.write(Buffer.concat([bytes(dialler), record]));
  let read = Buffer.alloc(0);
  const wanted = bytes(listener).length + 5 + 90;
  while (read.length < wanted) {
    read = Buffer.concat([
      read,
      await new Promise<Buffer>((resolve) => socket.once("data", (b) => resolve(b as Buffer))),
    ]);
  }
  assert.is(Buffer.compare(read.subarray(0, bytes(listener).length), bytes(listener)), 0);
  const answer = read.subarray(bytes(listener).length);
  assert.is(answer[0], 22, "a handshake record");
  assert.is(answer[5], 2, "a ServerHello");
  const body = answer.subarray(5, 5 + answer.readUInt16BE(3));
  const suite = body.subarray(39 + 32, 39 + 34).toString("hex");
  assert.ok(["1301", "1302", "1303"].includes(suite), suite);
  assert.ok(body.includes(Buffer.from("002b00020304", "hex")), "TLS 1.3");
  assert.ok(body.includes(Buffer.from("00330024001d0020", "hex")), "x25519");
  socket.destroy();
  assert.is((await node.fact(of("peer.refused"))).refusal.code, "hung-up");
  await node.stop();
});

for (const keyExchange of ["hybrid", "classical"] as const) {
  test(`a dialler of ours (${keyExchange}) offers TLS 1.3, yamux, no server name, no resumption, X25519`, async () => {
    const received = Promise.withResolvers<Buffer>();
    const server = createServer((socket) => {
      let read = Buffer.alloc(0);
      socket.on("error", () => {});
      socket.on("data", (data) => {
        if (read.length === 0) socket.write(bytes(listener));
        read = Buffer.concat([read, data as Buffer]);
        const at = bytes(dialler).length;
        if (read.length < at + 5 || read.length < at + 5 + read.readUInt16BE(at + 3)) return;
        received.resolve(read);
        socket.destroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const node = await startTransport({ pki, name: "dialler", keyExchange });
    const { port } = server.address() as { port: number };
    const dialled = node.ask({ type: "dial", id: "1", target: { address: `/ip4/127.0.0.1/tcp/${port}` } });
    const read = await received.promise;
    const at = bytes(dialler).length;
    assert.is(Buffer.compare(read.subarray(0, at), bytes(dialler)), 0);
    const extensions = extensionsOf(read.subarray(at + 5, at + 5 + read.readUInt16BE(at + 3)));
    assert.is(extensions.get(43)?.toString("hex"), "020304");
    const names = ["/yamux/1.0.0", "libp2p"].map((name) =>
      Buffer.concat([Buffer.from([name.length]), Buffer.from(name)])
    );
    assert.is(extensions.get(16)?.subarray(2).toString("hex"), Buffer.concat(names).toString("hex"));
    for (const absent of [0, 41]) assert.not(extensions.has(absent), `extension ${absent}`);
    const groups: string[] = extensions.get(10)?.subarray(2).toString("hex").match(/.{4}/g) ?? [];
    assert.ok(groups.includes("001d"));
    if (keyExchange === "classical" && !("Deno" in globalThis)) assert.equal(groups, ["001d"]);
    console.log(`  groups offered: ${groups.join(" ")}`);
    const answer = await dialled;
    assert.is(answer.type === "dial.failed" && answer.refusal.code, "hung-up");
    await node.stop();
    server.close();
  });
}

test.run();
