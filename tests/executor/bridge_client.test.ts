import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BridgeClient, BridgeFailed } from "../../actors/executor/bridge_client.ts";

const test = suite("a receive that waits");
const peers = { type: "peers", peers: [], strategy: { type: "All" }, resource: null } as const;

test("regression: a keepalive of the bridge does not end it", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-keepalive-"));
  const socketPath = join(folder, "b.sock");
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": open\n\n");
    setTimeout(() => response.write(": keepalive\n\n"), 50);
    setTimeout(() => response.write('data: {"path":"a","size":1,"from_peer":"p"}\n\n'), 150);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  try {
    const client = new BridgeClient({ socketPath, token: undefined });
    const receiving = await client.receive(peers, (file) => Promise.resolve(file.path));
    // bug: a timer of Node and Deno that is longer than 2^31 ms ends at once.
    assert.is(await receiving.next(Infinity), "a");
    receiving.close();
    client.close();
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test.run();

/** A bridge that answers each request with the next of these, and the bodies that it got. */
async function answering(
  answers: readonly (readonly [status: number, body: string])[],
  use: (client: BridgeClient, heard: readonly string[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-answers-"));
  const socketPath = join(folder, "b.sock");
  const heard: string[] = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request as AsyncIterable<Uint8Array>) body += new TextDecoder().decode(piece);
    const [status, text] = answers[heard.length] ?? [404, ""];
    heard.push(`${request.url} ${request.headers.authorization ?? ""} ${body}`);
    response.writeHead(status).end(text);
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const client = new BridgeClient({ socketPath, token: "secret", retryMs: 1 });
  try {
    await use(client, heard);
  } finally {
    client.close();
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
}

const requests = suite("BridgeClient");
const slice = { type: "scheduler", peer: "p", dataset: "rows" } as const;

requests(
  "fetches, sends and reports with the token, in the shapes of the bridge",
  () =>
    answering(
      [[200, '[{"path":"artifacts/0","size":3}]'], [200, ""], ...Array(3).fill([200, '{"type":"Done"}'])],
      async (client, heard) => {
        assert.equal(await client.fetch(slice), [{ path: "artifacts/0", size: 3 }]);
        await client.send(peers, "update-1");
        assert.equal(await client.report("update-received", "ab", 3), { type: "Done" });
        await client.report("update-received", undefined, 3);
        await client.report("update-received", "ab");
        assert.equal(heard, [
          `/resources/fetch Bearer secret ${JSON.stringify(slice)}`,
          `/resources/send Bearer secret ${JSON.stringify({ resource: peers, path: "update-1" })}`,
          '/status/send?parameters=ab&round=3 Bearer secret "update-received"',
          '/status/send?round=3 Bearer secret "update-received"',
          '/status/send?parameters=ab Bearer secret "update-received"',
        ]);
      },
    ),
);

const failures: [name: string, answers: [number, string][], status: number | undefined, attempts: number][] = [
  ["a refusal at once, with its status", [[403, "no"]], 403, 1],
  ["what does not pass after five attempts", Array(5).fill([503, "busy"]), 503, 5],
  ["a fetch that names no file", [[200, "[]"]], undefined, 1],
];
for (const [name, answers, status, attempts] of failures) {
  requests(`rejects ${name}`, () =>
    answering(answers, async (client, heard) => {
      const error = await client.fetch(slice).then(() => undefined, (failure: unknown) => failure);
      assert.ok(error instanceof BridgeFailed);
      assert.equal([error.status, heard.length], [status, attempts]);
    }));
}

requests("bug: the opening of a receive was tried once", async () => {
  const busy: [number, string][] = [[503, "busy"], [500, ""]];
  await answering([...busy, [200, 'data: {"path":"a","size":1,"from_peer":"p"}\n\n']], async (client, heard) => {
    const receiving = await client.receive(peers, (file) => Promise.resolve(file.path));
    assert.equal([await receiving.next(5_000), heard.length], ["a", 3]);
  });
  for (const [status, attempts] of [[503, 5], [403, 1]] as const) {
    await answering(Array(5).fill([status, "no"]), async (client, heard) => {
      const error = await client.receive(peers, () => Promise.resolve()).then(() => "", String);
      assert.match(error, `Cannot receive: ${status}`);
      assert.is(heard.length, attempts);
    });
  }
});

requests("bug: a report waited for a fetch under way", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hypha-fetch-"));
  const socketPath = join(folder, "b.sock");
  const heard: string[] = [];
  let fetched: (() => void) | undefined;
  const server = createServer((request, response) => {
    request.resume();
    heard.push(request.url ?? "");
    if (request.url === "/resources/fetch") fetched = () => void response.end('[{"path":"artifacts/0","size":3}]');
    else response.end('{"type":"Continue"}');
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const client = new BridgeClient({ socketPath });
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const fetching = client.fetch(slice);
    const late = new Promise<string>((resolve) => timer = setTimeout(resolve, 5_000, "it waits"));
    assert.equal(await Promise.race([client.report({ status: { batch_size: 1 } }), late]), { type: "Continue" });
    assert.equal(heard, ["/resources/fetch", "/status/send"]);
    fetched?.();
    assert.is((await fetching)[0]?.path, "artifacts/0");
  } finally {
    clearTimeout(timer);
    client.close();
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

requests(
  "rejects an answer to a report that is none",
  () =>
    answering([[200, '{"type":"Perhaps"}']], async (client) => {
      const error = await client.report("update").then(() => "", String);
      assert.match(error, /BridgeFailed: Cannot post \/status\/send: 200 .*Perhaps/);
    }),
);
requests.run();
