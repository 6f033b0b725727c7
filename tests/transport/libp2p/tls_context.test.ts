/**
 * No TLS session is resumed: a resumed session proves no certificate, and would go around the gate's checks of it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { connect, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki } from "../../support/pki.ts";
import { startTransport, until } from "../../support/transports.ts";

const test = suite("TLS sessions");

const pki = await makeTestPki();
const a = await startTransport({ pki, name: "a" });
const port = Number((a.addresses[0] as string).split("/")[4]);
const member = await pki.node("member");

const frame = (text: string) => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)]);
const hello = Buffer.concat([frame("/multistream/1.0.0"), frame("/tls/1.0.0")]);

/** A socket on which `/tls/1.0.0` was agreed. */
async function negotiated(): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(hello);
  for (let read = 0; read < hello.length;) {
    read += await new Promise<number>((resolve) => socket.once("data", (bytes) => resolve(bytes.length)));
  }
  return socket;
}

interface Client {
  readonly sessions: readonly Buffer[];
  readonly reused: boolean | undefined;
  readonly error: string | undefined;
}

/** A member with `node:tls`, which offers a session where it has one, and ends once it was verified or refused. */
async function visit(session?: Buffer): Promise<Client & { readonly code: string; readonly detail: string }> {
  const already = a.facts.length;
  const raw = await negotiated();
  const sessions: Buffer[] = [];
  let error: string | undefined;
  const { chainPem: cert, keyPem: key } = member;
  const offered = session === undefined ? {} : { session };
  const socket = connectTls({ socket: raw, cert, key, rejectUnauthorized: false, minVersion: "TLSv1.3", ...offered });
  socket.on("session", (each) => sessions.push(each));
  socket.on("error", (each) => error ??= String(each));
  // The listener answers this only after its verdict.
  socket.write(frame("/multistream/1.0.0"));
  await new Promise<void>((resolve) => (socket.once("data", () => resolve()), socket.once("close", () => resolve())));
  const reused = error === undefined ? socket.isSessionReused() : undefined;
  socket.destroy();
  const refusals = () => a.facts.slice(already).flatMap((fact) => fact.type === "peer.refused" ? [fact.refusal] : []);
  const { code, message: detail } = await until("a refusal", () => refusals()[0], 10_000);
  return { sessions, reused, error, code, detail };
}

test("a client that offers the session of an earlier connection goes through a whole handshake again", async () => {
  const first = await visit();
  assert.equal([first.reused, first.error, first.code], [false, undefined, "hung-up"]);
  const [session] = first.sessions;
  // Deno sends none. OpenSSL sends the name of a session that this node does not store.
  if (session === undefined) return assert.ok("Deno" in globalThis, "Node sends sessions");
  const again = await visit(session);
  assert.equal([again.reused, again.error, again.code], [false, undefined, "hung-up"]);
});

test("a handshake of which TLS says that it resumed a session is refused: it proves no certificate", async () => {
  const { isSessionReused } = TLSSocket.prototype;
  TLSSocket.prototype.isSessionReused = () => true;
  try {
    const { code, detail } = await visit();
    assert.is(code, "tls-failed");
    assert.match(detail, "a resumed session proves no certificate");
  } finally {
    TLSSocket.prototype.isSessionReused = isSessionReused;
  }
  await a.stop();
});

test.run();
