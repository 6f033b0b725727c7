// A fetch that takes too long, or whose first address is dead.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { BridgeClient, BridgeFailed } from "../../../actors/executor/bridge_client.ts";
import { askJson } from "../../support/bridge_client.ts";
import { withBridge, withWeb } from "../../support/job_bridge.ts";
import { openWeb } from "../../support/job_world.ts";

const test = suite("requests to the web");

/** Use of a bridge whose files take longer than `timeoutMs`: of one nothing comes, of the others ten bytes at a time. */
async function withSlowWeb(timeoutMs: number, use: (socket: string, url: string, paths: string[]) => Promise<void>) {
  const requested: string[] = [];
  await withWeb(({ url: path = "" }, response) => {
    requested.push(path);
    if (path === "/stalled") return;
    response.writeHead(200, path === "/known" ? { "content-length": "100000" } : {});
    response.on("error", () => {});
    const drops = setInterval(() => void response.write("0123456789"), 50);
    response.on("close", () => clearInterval(drops));
  }, async (url) => {
    const web = { ...openWeb, rules: { ...openWeb.rules, timeoutMs } };
    await withBridge({ web, limits: { idleMs: 60_000 } }, ({ socket }) => use(socket, url, requested));
  });
}

test("bug: a file over [fetch] timeout_ms was fetched five times from its start, and the error named no key", async () => {
  await withSlowWeb(3_000, async (socketPath, url, requested) => {
    const client = new BridgeClient({ socketPath, token: undefined, retryMs: 1 });
    const failed = (name: string) =>
      client.fetch({ type: "uri", value: `${url}/${name}` }).then(() => undefined, (error) => error);
    const [known, unknown] = await Promise.all([failed("known"), failed("unknown")]);
    for (const each of [known, unknown]) {
      assert.instance(each, BridgeFailed);
      assert.is(each.status, 403);
      assert.match(each.message, /\[fetch\] timeout_ms = 3000 /);
    }
    assert.match(known.message, /: [1-9][0-9]*0 of 100000 bytes came/);
    assert.match(unknown.message, /: [1-9][0-9]*0 bytes came/);
    assert.equal(requested.toSorted(), ["/known", "/unknown"]);
    client.close();
  });
});

test("bug: a fetch of which nothing came within [fetch] timeout_ms was final; it is tried again", async () => {
  await withSlowWeb(200, async (socket, url) => {
    const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value: `${url}/stalled` });
    assert.equal([status, JSON.parse(body).error], [500, "connector_error"]);
    assert.match(body, /\[fetch\] timeout_ms = 200 .*: 0 bytes came/);
  });
});

/**
 * The outcomes of fetches from a server on 127.0.0.1, under names with these addresses. `/broken` ends without an answer, `/late` gets one
 * after the longest wait for a connection to one of two addresses.
 */
async function fetchedFrom(names: Readonly<Record<string, readonly string[]>>, paths: readonly string[]) {
  const idleMs = 6_000;
  const outcomes: (readonly [status: number, detail: string])[] = [];
  await withWeb((request, response) => {
    if (request.url === "/broken") return void response.destroy();
    setTimeout(() => response.end("weights"), request.url === "/late" ? idleMs / 4 + 500 : 0);
  }, async (url) => {
    const { port } = new URL(url);
    const web = { ...openWeb, resolve: (host: string) => Promise.resolve(names[host] ?? []) };
    await withBridge({ web, limits: { idleMs } }, async ({ socket }) => {
      for (const path of paths) {
        const value = `http://${path.replace("/", `:${port}/`)}`;
        const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
        outcomes.push([status, body]);
      }
    });
  });
  return outcomes;
}

const statuses = (outcomes: readonly (readonly [status: number, detail: string])[]) =>
  outcomes.map(([status]) => status);
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
  assert.equal(statuses(outcomes), [200, 200, 200, 500, 500]);
  assert.match(outcomes[3]?.[1] ?? "", /127\.0\.1\.3/, "the last one that was tried");
});

test("a server that was reached is the only one that is requested", async () => {
  const [broken] = await fetchedFrom({ "broken.test": ["127.0.0.1", "127.0.1.1"] }, ["broken.test/broken"]);
  assert.is(broken?.[0], 500);
  assert.not.match(broken?.[1] ?? "", /ECONNREFUSED|127\.0\.1\.1/);
});

test("a server that was reached may answer later than a connection may take", async () => {
  assert.equal(await fetchedFrom({ "late.test": ["127.0.0.1", "127.0.1.1"] }, ["late.test/late"]).then(statuses), [
    200,
  ]);
});

test.run();
