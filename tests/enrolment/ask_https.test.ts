/** Requests to a CA over real sockets: nothing is sent to a server that was not accepted, and each request ends. */
import { Buffer } from "node:buffer";
import { createServer as createHttps, type Server } from "node:https";
import type { Socket } from "node:net";
import { createServer as createTls, type Server as TlsServer } from "node:tls";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { askHttps, type HttpsAnswer, type HttpsAsk, httpsWithin } from "../../actors/enrolment/ask_https.ts";
import { enrolmentRefused } from "../../actors/enrolment/enrolment_refused.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("askHttps");
const pki = await makeTestPki();
const node = await pki.node("ca-01", { role: "ca" });
const member = await pki.node("worker-01", { role: "worker" });
const servers: (Server | TlsServer)[] = [];
const open = { cert: node.chainPem, key: node.keyPem };

test.after(() => {
  for (const server of servers) server.close();
});

async function listening<S extends Server | TlsServer>(server: S): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `https://127.0.0.1:${(server.address() as { port: number }).port}`;
}

const accept = () => undefined;
const get = (url: string, more: Partial<HttpsAsk> = {}): HttpsAsk => (
  { url, path: "/x", method: "GET", judge: accept, ...more }
);

async function codeOf(asked: Effect.Effect<HttpsAnswer, { readonly code: string }>): Promise<string | number> {
  const outcome = await Effect.runPromise(Effect.result(asked));
  return Result.isSuccess(outcome) ? outcome.success.status : outcome.failure.code;
}

test("shows the pair, sends headers and body, and reads the answer whole", async () => {
  const url = await listening(
    createHttps({ ...open, requestCert: true, rejectUnauthorized: false }, (request, response) => {
      const parts: Uint8Array[] = [];
      request.on("data", (part: Uint8Array) => parts.push(part));
      request.on("end", () => {
        const shown = (request.socket as unknown as { getPeerX509Certificate(): { subject: string } | undefined })
          .getPeerX509Certificate()?.subject;
        response.writeHead(202, { "retry-after": "7" });
        response.end(JSON.stringify([request.headers["x-one"], Buffer.concat(parts).toString(), shown]));
      });
    }),
  );
  const chains: (readonly Uint8Array[])[] = [];
  const answer = await Effect.runPromise(askHttps(get(url, {
    method: "POST",
    headers: { "x-one": "1" },
    body: "hello",
    pair: { certPem: member.chainPem, keyPem: member.keyPem },
    judge: (chain) => void chains.push(chain),
  })));
  assert.equal([answer.status, answer.headers["retry-after"]], [202, "7"]);
  assert.equal(JSON.parse(Buffer.from(answer.body).toString()), ["1", "hello", "CN=worker-01"]);
  assert.equal(chains.map((chain) => chain.map((der) => der.length)), [node.chain.map((der) => der.length)]);
});

test("sends nothing, not a byte, to a server that is not accepted", async () => {
  let bytes = 0;
  let connections = 0;
  const ended = Promise.withResolvers<void>();
  const server = createTls({ ...open, minVersion: "TLSv1.3" }, (socket) => {
    socket.on("data", (part: Uint8Array) => bytes += part.length);
    socket.on("error", () => {});
  });
  server.on("tlsClientError", () => {});
  server.on("connection", (socket: Socket) => {
    connections += 1;
    socket.on("close", () => ended.resolve());
  });
  const url = await listening(server);
  const judge = () => enrolmentRefused("ca-not-trusted", "impostor");
  const headers = { authorization: "Bearer secret" };
  assert.is(await codeOf(askHttps(get(url, { method: "POST", headers, body: "csr", judge }))), "ca-not-trusted");
  await ended.promise;
  assert.equal([connections, bytes], [1, 0]);
});

test("a verdict that throws is a refusal", async () => {
  const url = await listening(createHttps(open, (_, response) => response.end("x")));
  const judge = () => {
    throw new Error("broken");
  };
  assert.is(await codeOf(askHttps(get(url, { judge }))), "ca-not-trusted");
});

const silent = (answer: string) =>
  createTls({ ...open, minVersion: "TLSv1.3" }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", () => void (answer === "" || socket.write(answer)));
  });
/** Its time ends a request that is not answered. */
const quick = httpsWithin({ askMs: 300, answerBytesMax: 100_000 });
/** Its time ends none: a busy machine takes longer than {@linkcode quick} has. */
const patient = httpsWithin({ askMs: 30_000, answerBytesMax: 100_000 });

test("ends in time where a server says nothing, or speaks on and on", async () => {
  const began = performance.now();
  assert.is(await codeOf(quick(get(await listening(silent(""))))), "ca-unreachable");
  assert.is(await codeOf(quick(get(await listening(silent("HTTP/1.1 200 OK\r\n"))))), "ca-unreachable");
  assert.ok(performance.now() - began < 5_000);
});

test("an answer that is too large, or breaks off, is none", async () => {
  const large = await listening(createHttps(open, (_, response) => response.end("x".repeat(100_001))));
  assert.is(await codeOf(patient(get(large))), "answer-malformed");
  const fits = await listening(createHttps(open, (_, response) => response.end("x".repeat(100_000))));
  assert.is(await codeOf(patient(get(fits))), 200);
  const torn = await listening(createTls({ ...open, minVersion: "TLSv1.3" }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"));
  }));
  assert.is(await codeOf(patient(get(torn))), "ca-unreachable");
});

test("a server that speaks TLS 1.2, none at all, or something else is not reached", async () => {
  const old = await listening(createHttps({ ...open, maxVersion: "TLSv1.2" }, (_, response) => response.end("x")));
  assert.is(await codeOf(patient(get(old))), "ca-unreachable");
  assert.is(await codeOf(patient(get("https://127.0.0.1:1"))), "ca-unreachable");
  const rubbish = await listening(silent("rubbish\r\n\r\n"));
  assert.is(await codeOf(patient(get(rubbish))), "ca-unreachable");
});

test("bug: a list that took longer than other answers may was given up: a large one has time in proportion to its size", async () => {
  const drip = (ms: number) =>
    createHttps(open, (_, response) => {
      response.writeHead(200, { "content-length": "2" });
      response.write("a");
      setTimeout(() => response.end("b"), ms).unref();
    });
  const slow = await listening(drip(2_500));
  // Until the head, which comes at once, it has more time than a busy machine takes for a handshake.
  const shorter = httpsWithin({ askMs: 2_000, answerBytesMax: 100_000 });
  assert.is(await codeOf(shorter(get(slow))), "ca-unreachable");
  assert.is(await codeOf(shorter(get(slow, { isLarge: true }))), 200);
  assert.is(await codeOf(quick(get(await listening(silent("")), { isLarge: true }))), "ca-unreachable");
  const began = performance.now();
  assert.is(await codeOf(quick(get(await listening(drip(60_000)), { isLarge: true }))), "ca-unreachable");
  const tookMs = performance.now() - began;
  assert.ok(tookMs > 4_500 && tookMs < 15_000, `${tookMs} ms`);
});

test("bug: a pair that the TLS library cannot read ended the process when the request's time was over", async () => {
  const url = await listening(createHttps(open, (_, response) => response.end("x")));
  const indented = (pem: string) => pem.replaceAll(/\n(?=.)/g, "\n    ");
  const [certPem, keyPem] = [member.chainPem, member.keyPem];
  for (const pair of [{ certPem: indented(certPem), keyPem }, { certPem, keyPem: indented(keyPem) }]) {
    const code = await codeOf(quick(get(url, { pair })));
    // Deno looks at the pair later, or shows none.
    if (!("Deno" in globalThis)) assert.is(code, "key-unreadable");
  }
  assert.is(await codeOf(quick(get("https://in valid"))), "ca-unreachable");
  // Beyond the time of the requests.
  await new Promise((wake) => setTimeout(wake, 500));
});

test("follows no redirect: the status is the answer", async () => {
  const url = await listening(createHttps(open, (_, response) => {
    response.writeHead(302, { location: "https://127.0.0.1:1/" });
    response.end();
  }));
  assert.is(await codeOf(askHttps(get(url))), 302);
});

test.run();
