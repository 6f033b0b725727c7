/**
 * A member that floods: what it sends costs it time, not the node; what it leaves open does not keep memory.
 */
import { Buffer } from "node:buffer";
import { connect as connectTcp } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki } from "../support/pki.ts";
import { of, startTransport, until } from "../support/transports.ts";

const test = suite("a member that floods");
const pki = await makeTestPki();
const victim = await startTransport({ pki, name: "victim" });
const member = await pki.node("member");
const port = Number(victim.addresses[0]?.split("/")[4]);

const line = (text: string) => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)]);
const frame = (type: number, flag: number, stream: number, length: number) => {
  const header = Buffer.alloc(12);
  header.writeUInt8(type, 1);
  header.writeUInt16BE(flag, 2);
  header.writeUInt32BE(stream, 4);
  header.writeUInt32BE(length, 8);
  return header;
};

/** Is let in as a member, up to the multiplexer. */
async function enter(): Promise<TLSSocket> {
  const raw = connectTcp(port, "127.0.0.1").on("error", () => {});
  raw.write(Buffer.concat([line("/multistream/1.0.0"), line("/tls/1.0.0")]));
  let negotiated = 0;
  await new Promise<void>((resolve) => {
    raw.on("data", function read(bytes) {
      negotiated += bytes.length;
      if (negotiated < 32) return;
      raw.off("data", read);
      resolve();
    });
  });
  const { chainPem: cert, keyPem: key } = member;
  const tls = connectTls({ socket: raw, cert, key, rejectUnauthorized: false, minVersion: "TLSv1.3" });
  await new Promise<void>((resolve) => tls.once("secureConnect", resolve));
  tls.on("error", () => {}).write(Buffer.concat([line("/multistream/1.0.0"), line("/yamux/1.0.0")]));
  await victim.fact(of("peer.established"));
  return tls;
}

async function leave(tls: TLSSocket): Promise<void> {
  tls.destroy();
  await victim.fact(of("peer.closed"));
  victim.facts.length = 0;
}

test("pings are answered at the rate of its budget, however many come at once", async () => {
  const tls = await enter();
  let answered = 0;
  tls.on("data", (bytes) => answered += bytes.length);
  const pings = 20_000;
  tls.write(Buffer.concat(Array.from({ length: pings }, (_, index) => frame(2, 1, 0, index))));
  await until("answers", () => answered > 12 * 500);
  // 25 ms at once and 100 ms a second, 20 µs each: 20,000 would take four seconds.
  assert.ok(answered < 12 * pings, `${answered} bytes came back at once`);
  await leave(tls);
});

test("a frame that claims 4 GiB ends the connection", async () => {
  const tls = await enter();
  tls.resume().write(Buffer.concat([frame(0, 1, 1, 0), frame(0, 0, 1, 0xffff_ffff)]));
  const { reason } = await victim.fact(of("peer.closed"));
  assert.is(reason.type, "by-us");
  assert.match("detail" in reason ? reason.detail : "", /a frame of 4294967295 bytes/);
  victim.facts.length = 0;
});

test("a stream on which no protocol is agreed on is reset, and the connection lives", async () => {
  const tls = await enter();
  let back = Buffer.alloc(0);
  tls.on("data", (bytes) => back = Buffer.concat([back, bytes]));
  const lines = Buffer.concat([line("/multistream/1.0.0"), ...Array.from({ length: 2_000 }, () => line("/x/1"))]);
  tls.write(Buffer.concat([frame(0, 1, 1, lines.length), lines]));
  await until("a reset", () => back.includes(Buffer.from([0, 1, 0, 8, 0, 0, 0, 1])));
  const refusals = back.toString("latin1").split("na\n").length - 1;
  assert.ok(refusals > 0 && refusals < 20, `${refusals} refusals`);
  assert.is(tls.destroyed, false);
  assert.not.ok(victim.facts.some(({ type }) => type === "peer.closed"));
  await leave(tls);
});

test("a stranger that proposes on and on before TLS is refused as protocol-mismatch", async () => {
  const raw = connectTcp(port, "127.0.0.1").on("error", () => {}).resume();
  raw.write(Buffer.concat([line("/multistream/1.0.0"), ...Array.from({ length: 2_000 }, () => line("/x/1"))]));
  const { refusal } = await victim.fact(of("peer.refused"));
  assert.is(refusal.code, "protocol-mismatch");
  await until("the end of the connection", () => raw.destroyed || raw.readableEnded);
});

test("it stops", () => victim.stop());

test.run();
