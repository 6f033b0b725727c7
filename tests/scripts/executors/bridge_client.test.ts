import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BridgeClient } from "../../../scripts/executors/bridge_client.ts";

const test = suite("a receive that waits");

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
    const receiving = await client.receive({}, (file) => Promise.resolve(file.path));
    assert.is(await receiving.next(5_000), "a");
    receiving.close();
    client.close();
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test.run();
