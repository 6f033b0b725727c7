// A fetch that takes too long, or whose first address is dead.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BridgeClient, BridgeFailed } from "../../../actors/executor/bridge_client.ts";
import { askJson } from "../../support/bridge_client.ts";
import { withBridge, withWeb } from "../../support/job_bridge.ts";
import { openWeb } from "../../support/job_world.ts";

const test = suite("requests to the web");

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

/** The outcomes of fetches from a server on 127.0.0.1, under names with these addresses. `/broken` ends without an answer. */
async function fetchedFrom(names: Readonly<Record<string, readonly string[]>>, paths: readonly string[]) {
  const outcomes: (readonly [status: number, detail: string])[] = [];
  await withWeb((request, response) => {
    if (request.url === "/broken") return void response.destroy();
    response.end("weights");
  }, async (url) => {
    const { port } = new URL(url);
    const web = { ...openWeb, resolve: (host: string) => Promise.resolve(names[host] ?? []) };
    await withBridge({ web, limits: { idleMs: 4_000 } }, async ({ socket }) => {
      for (const path of paths) {
        const value = `http://${path.replace("/", `:${port}/`)}`;
        const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
        outcomes.push([status, body]);
      }
    });
  });
  return outcomes;
}

const dead = (count: number) => Array.from({ length: count }, (_, index) => `127.0.1.${index + 1}`);

test("bug: a name whose first address is dead could not be fetched from", async () => {
  const names = {
    "refused.test": ["127.0.1.1", "127.0.0.1"],
    // Without a route it fails at once, else nothing answers.
    "silent.test": ["2001:db8::1", "127.0.1.1", "127.0.0.1"],
    "many.test": [...dead(15), ...dead(15), "127.0.0.1"],
    "dead.test": dead(3),
    "too-many.test": [...dead(16), "127.0.0.1"],
  };
  const outcomes = await fetchedFrom(names, Object.keys(names).map((name) => `${name}/file`));
  assert.equal(outcomes.map(([status]) => status), [200, 200, 200, 500, 500]);
  assert.match(outcomes[3]?.[1] ?? "", /127\.0\.1\.3/, "the last one that was tried");
});

test("a server that was reached is the only one that is requested", async () => {
  const [broken] = await fetchedFrom({ "broken.test": ["127.0.0.1", "127.0.1.1"] }, ["broken.test/broken"]);
  assert.is(broken?.[0], 500);
  assert.not.match(broken?.[1] ?? "", /ECONNREFUSED|127\.0\.1\.1/);
});

test.run();
