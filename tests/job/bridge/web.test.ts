// Files from the web, through the bridge: what is followed, what is refused, and that nothing denied is ever connected to.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer as createTlsServer } from "node:https";
import { join } from "node:path";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fetchDefault } from "../../../actors/config/cell_config.ts";
import { type DigestCache, openDigestCache } from "../../../actors/files/digest_cache.ts";
import { askJson } from "../../support/bridge_client.ts";
import { withBridge, withWeb } from "../../support/job_bridge.ts";
import { openWeb, realPorts, temporary } from "../../support/job_world.ts";
import { needing } from "../../support/prerequisites.ts";

const test = suite("fetching from the web");

test("the web: redirects are followed and counted, sizes bounded, a broken body is no file", async () => {
  await withWeb((request, response) => {
    const path = request.url ?? "";
    if (path === "/file") return void response.end("0123456789");
    if (path === "/big") return void response.end("01234567890");
    if (path === "/loop") return void response.writeHead(302, { location: "/loop" }).end();
    if (path === "/away") return void response.writeHead(302, { location: "file:///etc/passwd" }).end();
    if (path === "/hop") return void response.writeHead(307, { location: "/file" }).end();
    if (path === "/short") {
      response.writeHead(200, { "content-length": "10" });
      response.write("012");
      return void setTimeout(() => response.destroy(), 20);
    }
    // "/silent": never answers.
  }, async (url) => {
    await withBridge(
      { web: { ...openWeb, rules: { ...openWeb.rules, fileBytesMax: 10 } } },
      async ({ socket, path }) => {
        const fetched = (value: string) => askJson(socket, "/resources/fetch", { type: "uri", value });
        assert.is((await fetched(`${url}/file`)).body, '[{"path":"artifacts/file","size":10}]');
        assert.is((await fetched(`${url}/hop`)).body, '[{"path":"artifacts/hop","size":10}]');
        for (const name of ["big", "loop", "away", "short"]) {
          const { status, body } = await fetched(`${url}/${name}`);
          assert.equal([name, status, JSON.parse(body).error], [name, 500, "connector_error"]);
        }
        for (const value of ["", "x", "ftp://x/y", "file:///etc/passwd", "http://", "unix:/x"]) {
          assert.is((await fetched(value)).status, 400, value);
        }
        assert.is((await fetched(`${url}/${"n".repeat(256)}`)).status, 500, "no such file there");
        assert.equal(readdirSync(join(path, "artifacts")).sort(), ["file", "hop"]);
      },
    );
    await withBridge({ limits: { idleMs: 300 } }, async ({ socket }) => {
      const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value: `${url}/silent` });
      assert.equal([status, JSON.parse(body).error], [500, "connector_error"]);
    });
  });
});

test("a model hub's files come under their names; its token stays with its origin", async () => {
  const seen: [string, string | undefined][] = [];
  await withWeb((request, response) => {
    seen.push(["elsewhere", request.headers.authorization]);
    response.end("weights");
  }, async (elsewhere) => {
    await withWeb((request, response) => {
      seen.push([request.url ?? "", request.headers.authorization]);
      if (request.url?.endsWith("config.json")) return void response.end("{}");
      response.writeHead(302, { location: `${elsewhere.replace("127.0.0.1", "localhost")}/blob` }).end();
    }, async (hubUrl) => {
      await withBridge({ web: { ...openWeb, hubUrl } }, async ({ socket }) => {
        const reference = (over: object) => ({
          type: "huggingface",
          repository: "org/model",
          revision: null,
          filenames: ["config.json", "sub/model.bin"],
          token: "hub-token",
          ...over,
        });
        const { body } = await askJson(socket, "/resources/fetch", reference({}));
        assert.is(body, '[{"path":"artifacts/config.json","size":2},{"path":"artifacts/sub/model.bin","size":7}]');
        assert.equal(seen, [
          ["/org/model/resolve/main/config.json", "Bearer hub-token"],
          ["/org/model/resolve/main/sub/model.bin", "Bearer hub-token"],
          ["elsewhere", undefined],
        ]);
        for (
          const over of [{ repository: "../x" }, { filenames: ["../x"] }, { filenames: ["/x"] }, { revision: ".." }]
        ) {
          assert.is((await askJson(socket, "/resources/fetch", reference(over))).status, 400, JSON.stringify(over));
        }
      });
    });
  });
});

test("bug: hub files in sub-folders replaced each other, and names kept their percent signs", async () => {
  await withWeb((request, response) => void response.end(request.url), async (hubUrl) => {
    await withBridge({ web: { ...openWeb, hubUrl } }, async ({ socket, path }) => {
      const filenames = ["config.json", "unet/config.json", "text encoder/model é.bin"];
      const reference = { type: "huggingface", repository: "org/model", revision: null, filenames, token: null };
      const files = JSON.parse((await askJson(socket, "/resources/fetch", reference)).body) as { path: string }[];
      assert.equal(files.map((file) => file.path), filenames.map((name) => `artifacts/${name}`));
      assert.match(readFileSync(join(path, "artifacts/unet/config.json"), "utf8"), /main\/unet\/config\.json$/);
      assert.match(readFileSync(join(path, "artifacts/text encoder/model é.bin"), "utf8"), /text%20encoder\/model%20/);
      const names: [asked: string, name: string][] = [
        ["a%20b", "a b"],
        ["a%2Fb", "a%2Fb"],
        ["a%00b", "a%00b"],
        ["%2e%2e", "part-0.bin"],
        ["a%ffb", "a%ffb"],
        ["x?y=%20", "x?y=%20"],
        [`é?${"q".repeat(252)}`, `é?${"q".repeat(252)}`],
      ];
      for (const [asked, name] of names) {
        const { body } = await askJson(socket, "/resources/fetch", { type: "uri", value: `${hubUrl}/${asked}` });
        assert.is(JSON.parse(body)[0].path, `artifacts/${name}`, asked);
      }
    });
  });
});

test("bug: a presigned address could not be fetched: its query made the name too long", async () => {
  await withWeb((_, response) => void response.end("weights"), async (url) => {
    await withBridge({}, async ({ socket }) => {
      const query = `?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${"c".repeat(200)}&X-Amz-Signature=${
        "0".repeat(64)
      }`;
      const names: [asked: string, name: string][] = [
        ["model.safetensors", "model.safetensors"],
        ["%C3%A9", "é"],
        ["", "part-0.bin"],
      ];
      for (const [asked, name] of names) {
        const value = `${url}/weights/${asked}${query}`;
        const { body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
        assert.is(body, `[{"path":"artifacts/${name}","size":7}]`);
      }
      const long = await askJson(socket, "/resources/fetch", {
        type: "uri",
        value: `${url}/${"n".repeat(256)}${query}`,
      });
      assert.is(long.status, 400, "a name that is too long without it is refused");
    });
  });
});

test("bug: an address whose query has slashes was refused as a path, or its file lay in folders that it named", async () => {
  await withWeb((_, response) => void response.end("weights"), async (url) => {
    await withBridge({}, async ({ socket }) => {
      for (const query of ["?from=https://example.org/a", "?p=a/../b", "?sig=ab/cd="]) {
        const value = `${url}/model.bin${query}`;
        const { body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
        assert.is(body, '[{"path":"artifacts/model.bin","size":7}]');
      }
    });
  });
});

test("bug: the log had the signatures, tokens and passwords of addresses", async () => {
  const ports = realPorts();
  let requests = 0;
  await withWeb((request, response) => {
    requests += 1;
    const path = request.url ?? "";
    response.on("error", () => {});
    if (path.startsWith("/refused")) return void response.writeHead(403).end();
    if (path.startsWith("/signed")) return void response.writeHead(302, { location: "/refused?to=SECRET" }).end();
    if (path.startsWith("/user")) {
      return void response.writeHead(302, { location: `//u:SECRET@${"127.0.0.1"}/x` }).end();
    }
    if (path.startsWith("/again")) return void response.writeHead(302, { location: "/again?to=SECRET" }).end();
    if (path.startsWith("/large")) return void response.end("0123456789");
    if (path.startsWith("/short")) {
      response.writeHead(200, { "content-length": "5" });
      response.write("012");
      return void setTimeout(() => response.destroy(), 20);
    }
    if (path.startsWith("/file")) return void response.end("01234");
    // "/silent": never answers.
  }, async (url) => {
    const rules = { ...openWeb.rules, fileBytesMax: 9, hosts: ["127.0.0.1", "nowhere.test"] };
    const resolve = () => Promise.reject(new Error("ENOTFOUND"));
    await withBridge(
      { report: ports.report, web: { ...openWeb, rules, resolve } },
      async ({ socket, path }) => {
        const fetched = async (value: string) => {
          const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
          return { status, body };
        };
        for (const name of ["refused", "signed", "user", "again", "large", "short"]) {
          const { status, body } = await fetched(`${url}/${name}?X-Amz-Signature=SECRET`);
          assert.equal([name, status, body.includes("SECRET")], [name, 500, false]);
        }
        assert.is((await fetched("http://other.test/x?token=SECRET")).status, 403);
        assert.is((await fetched("http://nowhere.test/x?token=SECRET#SECRET")).status, 500);
        const before = requests;
        for (
          const value of [url.replace("//", "//user:SECRET@"), url.replace("//", "//SECRET@"), "http://u:SE/CRET@h"]
        ) {
          const { status, body } = await fetched(`${value}/file`);
          assert.equal([status, JSON.parse(body).error, /SE.?CRET/.test(body)], [400, "invalid_request", false]);
        }
        assert.is(requests, before, "an address with a user or a password is not requested");
        const { body } = await fetched(`${url}/file?token=SECRET`);
        assert.is(body, '[{"path":"artifacts/file?token=SECRET","size":5}]', "the executor's name of it stays");
        mkdirSync(join(path, "artifacts/file?token=SECRET2"));
        await fetched(`${url}/file?token=SECRET2`);
      },
    );
    await withBridge(
      { limits: { idleMs: 300 }, report: ports.report, web: { ...openWeb, rules, resolve } },
      async ({ socket }) => {
        const value = `${url}/silent?X-Amz-Signature=SECRET`;
        const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
        assert.equal([status, body.includes("SECRET")], [500, false]);
      },
    );
  });
  const done = ports.reports.find(({ event }) => event === "job.fetch.done");
  assert.is(done?.fields?.["path"], "artifacts/file?…");
  assert.match(String(ports.reports.find(({ event }) => event === "job.bridge.problem")?.message), /\/refused\?…/);
  const told = ports.reports.map((report) => JSON.stringify(report));
  assert.equal(told.filter((line) => /SE.?CRET/.test(line)), []);
});

test("bug: a file over the limit was refused after all of the limit was loaded", async () => {
  let sent = 0;
  await withWeb((_, response) => {
    response.writeHead(200, { "content-length": "100000000" });
    response.on("error", () => {});
    sent += 1;
    response.write("x");
  }, async (url) => {
    await withBridge({ limits: { fileBytesMax: 1_000 } }, async ({ socket, path }) => {
      const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value: `${url}/shard` });
      assert.is(status, 500);
      assert.match(JSON.parse(body).detail, /over 1000 bytes/);
      assert.equal(readdirSync(path).includes("artifacts"), false, "nothing was made for it");
    });
  });
  assert.is(sent, 1);
});

test("a large file of the hub is fetched once for all jobs; each asks the hub, with its own token", async () => {
  const place = temporary();
  const cachePath = join(place.path, "cache");
  let names = 0, blobs = 0;
  const cache = openDigestCache({ path: cachePath, bytesMax: 1_000, uuid: () => `n${++names}`, now: () => names });
  const sha256 = createHash("sha256").update("weights").digest("hex");
  await withWeb((_, response) => {
    blobs += 1;
    response.end("weights");
  }, async (elsewhere) => {
    await withWeb((request, response) => {
      if (request.headers.authorization !== "Bearer allowed") return void response.writeHead(401).end();
      if (request.url?.includes("claim")) {
        // A file that the hub itself names otherwise than its content is not given to a job.
        return void response.writeHead(200, { "x-linked-etag": `"${"0".repeat(64)}"` }).end("other");
      }
      response.writeHead(302, { location: `${elsewhere}/blob`, "x-linked-etag": `"${sha256}"` }).end();
    }, async (hubUrl) => {
      const fetched = (token: string, file = "model.bin") =>
        new Promise<string>((resolve, reject) => {
          const job = withBridge({ web: { ...openWeb, hubUrl, cache } }, async ({ socket, path }) => {
            const reference = { type: "huggingface", repository: "a/b", revision: null, filenames: [file], token };
            const { status } = await askJson(socket, "/resources/fetch", reference);
            resolve(status === 200 ? readFileSync(join(path, "artifacts", file), "utf8") : String(status));
          });
          job.catch(reject);
        });
      assert.equal([await fetched("allowed"), blobs], ["weights", 1]);
      assert.equal([await fetched("allowed"), blobs], ["weights", 1], "the second job's comes from the cache");
      assert.equal([await fetched("stranger"), blobs], ["500", 1], "a job that may not have it does not get it");
      writeFileSync(join(cachePath, sha256), "poison!");
      assert.equal([await fetched("allowed"), blobs], ["weights", 2], "a wrong content is noticed and fetched anew");
      assert.equal([await fetched("allowed"), blobs], ["weights", 2]);
      assert.equal([await fetched("allowed", "claim"), blobs], ["500", 2]);
      assert.equal(readdirSync(cachePath), [sha256], "nothing is kept under a digest that it has not");
    });
  });
  place.remove();
});

test("bug: a cached file that is longer, or cannot be read, failed every later job, and the hub was blamed", async () => {
  const place = temporary();
  const cachePath = join(place.path, "cache");
  let names = 0, blobs = 0, isBad = false;
  const kept = openDigestCache({ path: cachePath, bytesMax: 1_000, uuid: () => `n${++names}`, now: () => names });
  const sector = { next: () => Promise.reject(new Error("EIO: i/o error, read")) };
  /** A disk with a bad sector, while `isBad`. */
  const cache: DigestCache = {
    ...kept,
    find: (sha256) =>
      Effect.map(kept.find(sha256), (file) => isBad && file !== undefined ? { ...file, pieces: sector } : file),
  };
  const sha256 = createHash("sha256").update("weights").digest("hex");
  await withWeb((_, response) => {
    blobs += 1;
    response.writeHead(200, { "x-linked-etag": `"${sha256}"`, "x-linked-size": "7" }).end("weights");
  }, async (hubUrl) => {
    const fetched = async () => {
      let text = "";
      await withBridge({ web: { ...openWeb, hubUrl, cache } }, async ({ socket, path }) => {
        const reference = {
          ...{ type: "huggingface", repository: "a/b", revision: null, filenames: ["model.bin"], token: null },
        };
        const { status, body } = await askJson(socket, "/resources/fetch", reference);
        text = status === 200 ? readFileSync(join(path, "artifacts/model.bin"), "utf8") : body;
      });
      return text;
    };
    assert.equal([await fetched(), blobs], ["weights", 1]);
    for (const wrong of ["weights and more", "weight", "x".repeat(1_001)]) {
      writeFileSync(join(cachePath, sha256), wrong);
      assert.is(await fetched(), "weights", wrong.slice(0, 20));
      assert.is(readFileSync(join(cachePath, sha256), "utf8"), "weights");
    }
    isBad = true;
    assert.is(await fetched(), "weights");
  });
  place.remove();
});

/** The rules as they are by default, under a resolver of the test's own. */
const strictWeb = (resolve: (host: string) => string[], over: Partial<typeof fetchDefault> = {}) => ({
  ...openWeb,
  rules: { ...fetchDefault, ...over },
  resolve: (host: string) => Promise.resolve(resolve(host)),
});

test("what lies inside deny_cidr is not connected to, however it is spelt, and the refusal is counted", async () => {
  let connections = 0;
  await withWeb((_, response) => {
    connections += 1;
    response.end("secret");
  }, async (url) => {
    const { port } = new URL(url);
    const ports = realPorts();
    const names: Record<string, string[]> = {
      "metadata.test": ["169.254.169.254"],
      "mixed.test": ["93.184.216.34", "127.0.0.1"],
      "mapped.test": ["::ffff:127.0.0.1"],
      "private.test": ["fd00::1"],
    };
    await withBridge(
      { web: strictWeb((host) => names[host] ?? []), report: ports.report },
      async ({ socket, path }) => {
        for (
          const host of [
            ...["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::]", "[::ffff:7f00:1]"],
            ...[
              "169.254.169.254",
              "10.0.0.1",
              "[fe80::1]",
              "[64:ff9b::7f00:1]",
              "[2002:7f00:1::]",
              ...Object.keys(names),
            ],
          ]
        ) {
          const value = `http://${host}:${port}/x`;
          const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
          assert.equal([host, status, JSON.parse(body).error], [host, 403, "job-scope"]);
        }
        assert.equal(readdirSync(path).includes("artifacts"), false, "nothing was made for it");
      },
    );
    const told = ports.reports.filter(({ event }) => event === "job.refused-scope");
    assert.equal(told.length, 17, "each is reported");
    assert.equal(told.at(-1)?.fields?.["count"], 17);
  });
  assert.is(connections, 0);
});

test("a redirect is checked as the first address was, and a name is asked for once", async () => {
  let asked = 0;
  await withWeb((request, response) => {
    if (request.url === "/hop") return void response.writeHead(302, { location: "http://inner.test/secret" }).end();
    response.end("public");
  }, async (url) => {
    const { port } = new URL(url);
    // 127.0.0.1 plays the public address; 10/8 is denied. A second answer for the same name would be the inner one.
    const resolve = (host: string) => host === "outer.test" ? [asked++ === 0 ? "127.0.0.1" : "10.0.0.1"] : ["10.0.0.2"];
    await withBridge({ web: strictWeb(resolve, { denyCidr: ["10.0.0.0/8"] }) }, async ({ socket, path }) => {
      const fetched = (value: string) => askJson(socket, "/resources/fetch", { type: "uri", value });
      assert.is((await fetched(`http://outer.test:${port}/file`)).status, 200);
      assert.is(asked, 1, "connected to the address that was checked");
      assert.is((await fetched(`http://outer.test:${port}/file`)).status, 403, "a rebound name");
      asked = 0;
      assert.is((await fetched(`http://outer.test:${port}/hop`)).status, 403);
      assert.equal(readdirSync(join(path, "artifacts")), ["file"]);
    });
  });
});

test("schemes and hosts are the operator's", async () => {
  await withWeb((_, response) => void response.end("x"), async (url) => {
    const { port } = new URL(url);
    const web = strictWeb(() => ["127.0.0.1"], { denyCidr: [], hosts: ["Hub.test"], schemes: ["http"] });
    await withBridge({ web }, async ({ socket }) => {
      const status = async (value: string) =>
        (await askJson(socket, "/resources/fetch", { type: "uri", value })).status;
      assert.is(await status(`http://hub.test:${port}/a`), 200);
      assert.is(await status(`http://files.hub.test:${port}/a`), 200);
      assert.is(await status(`http://evilhub.test:${port}/a`), 403);
      assert.is(await status(`https://hub.test:${port}/a`), 403);
    });
  });
});

needing(test, "openssl")(
  "over TLS the certificate is checked for the name, though the connection goes to an address",
  async () => {
    const place = temporary();
    const [keyFile, certFile] = [join(place.path, "key.pem"), join(place.path, "cert.pem")];
    const made = spawnSync("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
      ...["-subj", "/CN=hub.test", "-addext", "subjectAltName=DNS:hub.test", "-keyout", keyFile, "-out", certFile],
    ]);
    assert.is(made.status, 0, String(made.stderr));
    const [key, cert] = [readFileSync(keyFile, "utf8"), readFileSync(certFile, "utf8")];
    const server = createTlsServer({ cert, key }, (_, response) => void response.end("x"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const { port } = server.address() as { port: number };
    const fetched = async (host: string, ca?: string): Promise<string> => {
      const web = { ...strictWeb(() => ["127.0.0.1"], { denyCidr: [] }), ...(ca === undefined ? {} : { ca }) };
      let text = "";
      await withBridge({ web }, async ({ socket }) => {
        const value = `https://${host}:${port}/a`;
        const { status, body } = await askJson(socket, "/resources/fetch", { type: "uri", value });
        text = `${status} ${body}`;
      });
      return text;
    };
    try {
      assert.match(await fetched("hub.test", cert), /^200 /);
      assert.match(await fetched("other.test", cert), /^500 .*connector_error/, "a certificate of another name");
      assert.match(await fetched("hub.test"), /^500 .*connector_error/, "an authority that nobody trusts");
    } finally {
      server.close();
      server.closeAllConnections();
      place.remove();
    }
  },
);

test.run();
