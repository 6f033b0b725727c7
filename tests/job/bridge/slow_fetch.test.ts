// A fetch that takes too long, or whose first address is dead.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BridgeClient, BridgeFailed } from "../../../actors/executor/bridge_client.ts";
import { withBridge, withWeb } from "../../support/job_bridge.ts";
import { openWeb } from "../../support/job_world.ts";

const test = suite("slow fetches");

test("bug: a file over [fetch] timeout_ms was fetched five times from its start, and the error named no key", async () => {
  let requests = 0;
  await withWeb((request, response) => {
    requests += 1;
    response.writeHead(200, request.url === "/known" ? { "content-length": "100000" } : {});
    response.on("error", () => {});
    const drops = setInterval(() => void response.write("0123456789"), 50);
    response.on("close", () => clearInterval(drops));
  }, async (url) => {
    const web = { ...openWeb, rules: { ...openWeb.rules, timeoutMs: 500 } };
    await withBridge({ web }, async ({ socket: socketPath }) => {
      const client = new BridgeClient({ socketPath, token: undefined, retryMs: 1 });
      for (
        const [name, bytes] of [["known", /: [1-9][0-9]*0 of 100000 bytes came/], [
          "unknown",
          /: [1-9][0-9]*0 bytes came/,
        ]] as const
      ) {
        requests = 0;
        const failed = await client.fetch({ type: "uri", value: `${url}/${name}` }).then(
          () => undefined,
          (error) => error,
        );
        assert.instance(failed, BridgeFailed);
        assert.is(failed.status, 403);
        assert.match(failed.message, /\[fetch\] timeout_ms = 500 /);
        assert.match(failed.message, bytes);
        assert.is(requests, 1);
      }
      client.close();
    });
  });
});

test.run();
