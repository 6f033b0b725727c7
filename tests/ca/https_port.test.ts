/** Hostile clients of the CA's port: each is cut off in time and costs the others nothing. */
import { Buffer } from "node:buffer";
import { connect as connectTcp, type Socket } from "node:net";
import process from "node:process";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CaAnswer } from "../../actors/ca/answer.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import {
  httpsHandshakesPerAddressMax,
  type HttpsPort,
  type HttpsPortOptions,
  openHttpsPort,
} from "../../actors/ca/https_port.ts";
import { issueOwn } from "../../actors/ca/own_certificate.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { formatPem } from "../../pki/pem.ts";
import { hostileClient } from "../../scripts/attack/gate/hostile_tls.ts";
import { testCsr } from "../support/authority.ts";
import { shortTimes, type TestCaPort, testCaPort } from "../support/ca_port.ts";
import { ask } from "../support/https_client.ts";

const test = suite("hostile clients of the CA's port");
let world: TestCaPort;
test.before(async () => {
  world = await testCaPort({ times: shortTimes });
});
test.after(() => world.stop());

interface Visit {
  /** How long the connection lived, in milliseconds. */
  readonly ms: number;
  readonly received: string;
}

/** Waits until a connection ends. */
function ended(socket: Socket, act: () => void = () => {}): Promise<Visit> {
  const [from, parts] = [performance.now(), [] as Buffer[]];
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error("the connection was not ended"));
    }, 8_000);
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ ms: performance.now() - from, received: Buffer.concat(parts).toString("latin1") });
    });
    act();
  });
}

const at = () => ({ host: "127.0.0.1", port: world.port.port });
const tls = (more: ConnectionOptions = {}): TLSSocket =>
  connect({ ...at(), rejectUnauthorized: false, minVersion: "TLSv1.3", ...more });

/** Writes a text once the connection stands, and a letter more every 100 ms. */
function dripping(text: string): Promise<Visit> {
  const socket = tls();
  return ended(socket, () => {
    socket.on("secureConnect", () => socket.write(text));
    const timer = setInterval(() => void (socket.writable && socket.write("a")), 100);
    socket.on("close", () => clearInterval(timer));
  });
}

const head = (path: string, length: number) =>
  `POST ${path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\ncontent-length: ${length}\r\n\r\n`;
const enrolPath = "/.well-known/est/simpleenroll";

test("a client that says nothing", async () => {
  assert.ok((await ended(connectTcp(at()))).ms < 3_000);
});
test("a client that says nothing behind its handshake", async () => {
  assert.ok((await ended(tls())).ms < 3_000);
});
test("a client that sends its head letter by letter", async () => {
  assert.ok((await dripping("GET /healthz HTTP/1.1\r\nx: ")).ms < 3_000);
});
test("a client that sends its body letter by letter", async () => {
  assert.ok((await dripping(head(enrolPath, 60_000))).ms < 4_000);
});
test("a client that stays without asking again", async () => {
  const socket = tls();
  const visit = await ended(
    socket,
    () => socket.on("secureConnect", () => socket.write("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")),
  );
  assert.match(visit.received, /^HTTP\/1\.1 200 /);
  assert.ok(visit.ms < 4_000);
});

const sent: [what: string, text: () => string, received: RegExp][] = [
  ["a body that says it is too long", () => head(enrolPath, 65_537), /^HTTP\/1\.1 413 /],
  [
    "a body that is too long and does not say so",
    () =>
      `POST ${enrolPath} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n${
        `4000\r\n${"a".repeat(16_384)}\r\n`.repeat(5)
      }`,
    /^HTTP\/1\.1 413 /,
  ],
  [
    "a head that is too long",
    () => `GET / HTTP/1.1\r\nhost: a\r\nx: ${"a".repeat(20_000)}\r\n\r\n`,
    /^(?:HTTP\/1\.1 431 |$)/,
  ],
  ["what is no HTTP", () => "\x16\x03\x01 hello\r\n\r\n", /^(?:HTTP\/1\.1 400 |$)/],
  ["a length that is none", () => `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n`, /^(?:HTTP\/1\.1 400 |$)/],
];
for (const [what, text, received] of sent) {
  test(`a client that sends ${what}`, async () => {
    const socket = tls();
    const visit = await ended(socket, () => socket.on("secureConnect", () => socket.write(text())));
    assert.match(visit.received, received);
    assert.ok(visit.ms < 4_000);
  });
}

/** Uses a port of its own with the CA's times, which answers as given. */
function withPort<A>(answer: HttpsPortOptions["answer"], use: (port: HttpsPort) => Promise<A>): Promise<A> {
  const used = Effect.gen(function* () {
    const identity = yield* issueOwn(world.ca, "ca-02", new Date());
    const now = () => performance.now();
    const port = yield* openHttpsPort({ host: "127.0.0.1", port: 0, identity, answer, now });
    return yield* Effect.promise(() => use(port));
  });
  return Effect.runPromise(Effect.scoped(used));
}

const get = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

test("bug: pipelined requests were all answered in one turn of the event loop, and stopped the CA for seconds", async () => {
  let answers = 0;
  const answer = () => Promise.resolve({ status: 200, headers: {}, body: `${answers += 1}` });
  await withPort(answer, async ({ port }) => {
    const socket = tls({ port });
    await ended(socket, () => socket.on("secureConnect", () => socket.write(get.repeat(3_000))));
  });
  assert.ok(answers <= 1, `${answers} answers`);
});

test("a connection has many requests, each sent as soon as the answer before it is read", async () => {
  const [body, requests] = [`${"a".repeat(200_000)}z`, 100];
  const answer = () => Promise.resolve({ status: 200, headers: {}, body });
  const { received } = await withPort(answer, ({ port }) => {
    const socket = tls({ port });
    let answers = 0;
    socket.on("data", (part: Buffer) => {
      if (part.at(-1) !== 0x7a) return; // the answer goes on
      if (++answers === requests) socket.end();
      else socket.write(get);
    });
    return ended(socket, () => socket.on("secureConnect", () => socket.write(get)));
  });
  assert.is(received.split("HTTP/1.1 200 ").length - 1, requests);
});

test("bug: an answer to a client that had left kept its timer, body and socket for ten seconds or more", async () => {
  const composing = Promise.withResolvers<void>();
  const composed = Promise.withResolvers<CaAnswer>();
  const answer = () => {
    composing.resolve();
    return composed.promise;
  };
  await withPort(answer, async (port) => {
    const socket = tls({ port: port.port });
    socket.on("secureConnect", () => socket.write(get));
    await composing.promise;
    socket.destroy();
    await until("the connection is over", () => port.connections() === 0);
    composed.resolve({ status: 200, headers: {}, body: "late" });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.not(process.getActiveResourcesInfo().includes("Timeout"));
  });
});

test("bug: a long answer left a listener for each of its pieces, and Node warned of a leak", async () => {
  const warnings: string[] = [];
  const hear = ({ name }: Error) => void warnings.push(name);
  process.on("warning", hear);
  const length = 4_000_000;
  const answer = () => Promise.resolve({ status: 200, headers: {}, body: new Uint8Array(length) });
  const { body } = await withPort(answer, ({ port }) => ask(`https://127.0.0.1:${port}/`));
  await new Promise((resolve) => setTimeout(resolve, 10));
  process.off("warning", hear);
  assert.equal([body.length, warnings], [length, []]);
});

test("TLS 1.2", async () => {
  const visit = await ended(
    connect({ ...at(), rejectUnauthorized: false, minVersion: "TLSv1.2", maxVersion: "TLSv1.2" }),
  );
  assert.is(visit.received, "");
});

test("a client without a certificate that offers a member's session is nobody", async () => {
  const token = await world.token("worker-01");
  const { der: csr, keyPem: key } = await testCsr();
  const leaf = await Effect.runPromise(enrol(world.ca, { token, csr, address: "10.0.0.1" }, new Date()));
  const sessions: Buffer[] = [];
  const request = "GET /.well-known/hypha/network HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
  const member = tls({ cert: formatPem("CERTIFICATE", leaf), key });
  member.on("session", (session: Buffer) => sessions.push(session));
  const first = await ended(member, () => member.on("secureConnect", () => member.write(request)));
  assert.match(first.received, /^HTTP\/1\.1 200 /);
  for (const session of sessions) {
    const thief = tls({ session });
    const visit = await ended(thief, () => thief.on("secureConnect", () => thief.write(request)));
    assert.match(visit.received, /^HTTP\/1\.1 40[13] /);
  }
});

test("a client with a member's certificate and another key renews nothing", async () => {
  const token = await world.token("worker-02");
  const { der: csr } = await testCsr();
  const leaf = await Effect.runPromise(enrol(world.ca, { token, csr, address: "10.0.0.1" }, new Date()));
  const { keyPem } = await testCsr();
  const socket = connectTcp(at());
  await new Promise((resolve) => socket.once("connect", resolve));
  const outcome = await hostileClient(socket, { chain: [leaf], keyPem });
  socket.destroy();
  assert.is.not(outcome.alert, undefined);
  const { fingerprint } = Result.getOrThrow(parseCertificate(leaf));
  const renewed = world.ca.register.read((rows) =>
    rows.first("SELECT 1 FROM certificates WHERE predecessor = ?", fingerprint)
  );
  assert.is(Result.getOrThrow(renewed), undefined);
});

test("connections behind their handshake do not count as handshakes", async () => {
  const sockets: TLSSocket[] = [];
  for (let index = 0; index < httpsHandshakesPerAddressMax + 8; index++) {
    const socket = tls({ localAddress: "127.0.2.1" } as ConnectionOptions);
    socket.on("error", () => {});
    sockets.push(socket);
    await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("close", reject));
    socket.write("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
  }
  sockets.forEach((socket) => socket.destroy());
});

/** Waits for a condition. */
async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 4_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("handshakes from one address have a limit, and others are served meanwhile", async () => {
  await until("the port is empty", () => world.port.connections() === 0);
  const sockets = Array.from(
    { length: httpsHandshakesPerAddressMax + 20 },
    () => connectTcp({ ...at(), localAddress: "127.0.1.1" }),
  );
  const ends = Promise.all(sockets.map((socket) => ended(socket)));
  await until("the limit is reached", () => world.port.connections() === httpsHandshakesPerAddressMax);
  assert.is((await ask(`${world.url}/healthz`)).status, 200);
  assert.ok(world.port.connections() <= httpsHandshakesPerAddressMax + 1);
  await ends;
  await until("nothing is left", () => world.port.connections() === 0);
});

test.run();
