/** A partner's bundle over real sockets: what an honest CA serves is kept; whatever else answers changes nothing. */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { httpsWithin } from "../../actors/enrolment/ask_https.ts";
import { bundlePath } from "../../actors/files/state_directory.ts";
import type { BundleTerms } from "../../actors/partners/check_bundle.ts";
import { bundleBytesMax, fetchBundle } from "../../actors/partners/fetch_bundle.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { issueIntermediate } from "../../pki/issue/mod.ts";
import { formatSpiffeBundle, parseSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { forge } from "../support/forge.ts";
import { makeTestPki, type TestNode, type TestPki } from "../support/pki.ts";

const test = suite("fetchBundle()");
const own = await makeTestPki({ organization: "Own" });
const third = await makeTestPki({ organization: "Third" });
const partner = await makeTestPki({ organization: "Partner", domain: "partner.example" });
const certificate = ({ der }: { readonly der: Uint8Array }): Certificate => Result.getOrThrow(parseCertificate(der));
const pin = markKey(certificate(partner.root));
const folder = mkdtempSync(join(tmpdir(), "hypha-partners-"));
const path = bundlePath(folder, "partner.example");
const servers: Server[] = [];

test.after(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true });
});

const ca = await partner.node("ca-01", { role: "ca" });
const revokedCa = await partner.node("ca-02", { role: "ca" });
const second = await issueIntermediate({
  issuer: partner.root,
  commonName: "Partner CA 2",
  notBefore: new Date(Date.now() - 60_000),
  notAfter: new Date(Date.now() + 86_400_000),
});

type Answer = (response: ServerResponse) => void;

/** A server with this certificate. */
async function serve({ chainPem, keyPem }: Pick<TestNode, "chainPem" | "keyPem">, answer: Answer) {
  let requests = 0;
  const server = createServer({ cert: chainPem, key: keyPem, minVersion: "TLSv1.3" }, (_request, response) => {
    requests += 1;
    answer(response);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `https://127.0.0.1:${(server.address() as { port: number }).port}/bundle.json`;
  return { url, requests: () => requests };
}

const bundleOf = (cas: readonly { readonly der: Uint8Array }[], sequence?: number) =>
  formatSpiffeBundle(cas.map(certificate), { sequence, refreshHintSeconds: 120 });
const cas = ({ root, intermediate }: TestPki) => [root, intermediate];
const text = (content: string): Answer => (response) => response.end(content);

const snapshot = Result.getOrThrow(makeTrustSnapshot({
  trustPem: own.trustPem,
  policy: defaultPolicy,
  ownName: "own.example",
  generation: 1,
  at: new Date(),
  domains: [
    { name: "third.example", trust: third.trustPem },
    {
      name: "partner.example",
      trust: partner.trustPem + partner.intermediate.certPem,
      crlsPem: await partner.crls({ revoked: [revokedCa] }),
    },
  ],
})).snapshot;

/** No file can be opened for reading. */
const busy = (real: FileSystem): FileSystem => ({
  ...real,
  open: (file, options) =>
    options?.flag === "r"
      ? Effect.fail(systemError({ _tag: "Unknown", module: "FileSystem", method: "open", description: "EMFILE" }))
      : real.open(file, options),
});

/** `new`, `same`, or the code of the refusal. On the web, the root of `third` vouches for servers. */
async function outcomeOf(
  url: string,
  server: Pick<BundleTerms, "profile" | "pin"> = { profile: "https_ca", pin },
  files: (real: FileSystem) => FileSystem = (real) => real,
  trust: TrustSnapshot = snapshot,
): Promise<string> {
  const ask = httpsWithin({ askMs: 2_000, answerBytesMax: 64 * 1024 * 1024, webRoots: [third.root.certPem] });
  const place = { ask, domain: "partner.example", url, path, snapshot: trust, at: new Date(), ...server };
  const fetched = Effect.flatMap(
    FileSystem,
    (real) => Effect.provideService(Effect.result(fetchBundle(place)), FileSystem, files(real)),
  );
  const outcome = await Effect.runPromise(Effect.provide(fetched, realServices));
  return Result.isSuccess(outcome) ? outcome.success.news : outcome.failure.code;
}

test("an honest bundle is kept, without what nobody reads; the same one changes nothing", async () => {
  const served = JSON.parse(bundleOf(cas(partner), 7)) as { readonly keys: readonly unknown[] };
  const more = { ...served, keys: [...served.keys, { use: "jwt-svid", kty: "RSA" }], padding: "x".repeat(1_000) };
  const { url } = await serve(ca, text(JSON.stringify(more)));
  assert.is(await outcomeOf(url), "new");
  const kept = readFileSync(path, "utf8");
  assert.is(kept, bundleOf(cas(partner), 7));
  const { ino } = statSync(path);
  assert.is(await outcomeOf(url), "same");
  assert.is(statSync(path).ino, ino, "the file is not written again");
  assert.is(readFileSync(path, "utf8"), kept);
});

/** A CA that names other domains than the partner's; below it, one that names the partner's. */
const naming = (uri: string) => forge("Naming CA", { ca: true, san: [`URI:${uri}`] });

const hostile: [
  name: string,
  server: () => Promise<Pick<TestNode, "chainPem" | "keyPem">>,
  answer: Answer,
  code: string,
][] = [
  ["another root", () => third.node("ca", { role: "ca" }), text(bundleOf(cas(third), 9)), "bundle-unpinned"],
  [
    "the pinned root, served by a CA of another",
    () => third.node("c", { role: "ca" }),
    text(bundleOf(cas(partner), 9)),
    "bundle-server",
  ],
  [
    "a worker of the partner",
    () => partner.node("w", { role: "worker" }),
    text(bundleOf(cas(partner), 9)),
    "bundle-server",
  ],
  [
    "a node without a role",
    () => partner.node("n", { san: ["IP:127.0.0.1"] }),
    text(bundleOf(cas(partner), 9)),
    "bundle-server",
  ],
  [
    "a CA of another domain below the same root",
    () => partner.node("o", { san: ["URI:spiffe://own.example/ca/ca-01"] }),
    text(bundleOf(cas(partner), 9)),
    "bundle-server",
  ],
  [
    "a CA's certificate that is revoked",
    () => Promise.resolve(revokedCa),
    text(bundleOf(cas(partner), 9)),
    "bundle-server",
  ],
  ["our own root in it", () => Promise.resolve(ca), text(bundleOf([...cas(partner), own.root], 9)), "bundle-foreign"],
  [
    "a third partner's root in it",
    () => Promise.resolve(ca),
    text(bundleOf([...cas(partner), third.root], 9)),
    "bundle-foreign",
  ],
  [
    "a CA that names another domain",
    () => Promise.resolve(ca),
    text(bundleOf([...cas(partner), naming("spiffe://own.example")], 9)),
    "bundle-foreign",
  ],
  [
    "a CA that names a longer domain",
    () => Promise.resolve(ca),
    text(bundleOf([...cas(partner), naming("spiffe://partner.example.evil")], 9)),
    "bundle-foreign",
  ],
  ["a lower sequence", () => Promise.resolve(ca), text(bundleOf([...cas(partner), second], 6)), "bundle-rollback"],
  ["no sequence after one", () => Promise.resolve(ca), text(bundleOf([...cas(partner), second])), "bundle-rollback"],
  [
    "other content under the same sequence",
    () => Promise.resolve(ca),
    text(bundleOf([...cas(partner), second], 7)),
    "bundle-equivocation",
  ],
  ["no root in it", () => Promise.resolve(ca), text(bundleOf([partner.intermediate], 9)), "bundle-unpinned"],
  ["no JSON", () => Promise.resolve(ca), text("<html>"), "bundle-malformed"],
  ["an empty set", () => Promise.resolve(ca), text('{"keys":[]}'), "bundle-unpinned"],
  [
    "a server error",
    () => Promise.resolve(ca),
    (response) => response.writeHead(500).end(bundleOf(cas(partner), 9)),
    "bundle-unreachable",
  ],
  [
    "an answer that does not end",
    () => Promise.resolve(ca),
    (response) => void response.write(bundleOf(cas(partner), 9)),
    "bundle-unreachable",
  ],
];

for (const [name, server, answer, code] of hostile) {
  test(`refused, and nothing is written: ${name}`, async () => {
    const before = readFileSync(path, "utf8");
    const { url } = await serve(await server(), answer);
    assert.is(await outcomeOf(url), code);
    assert.is(readFileSync(path, "utf8"), before);
  });
}

test("a redirect is not followed", async () => {
  const target = await serve(ca, text(bundleOf([...cas(partner), second], 9)));
  const { url } = await serve(ca, (response) => response.writeHead(302, { location: target.url }).end());
  assert.is(await outcomeOf(url), "bundle-unreachable");
  assert.is(target.requests(), 0);
});

test("an endless body ends at the limit", async () => {
  let sent = 0;
  const { url } = await serve(ca, (response) => {
    const chunk = new Uint8Array(65_536).fill(32);
    const more = (): void => {
      if (response.destroyed || response.writableEnded) return;
      sent += chunk.length;
      response.write(chunk, () => setTimeout(more, 0));
    };
    more();
  });
  assert.is(await outcomeOf(url), "bundle-malformed");
  // What was under way when the client ended: socket buffers of both ends.
  assert.ok(sent < bundleBytesMax + 32 * 1024 * 1024, `${sent} bytes`);
});

test("nobody answers", async () => {
  assert.is(await outcomeOf("https://127.0.0.1:1/bundle.json"), "bundle-unreachable");
});

test("a higher sequence replaces what is kept", async () => {
  const { url } = await serve(ca, text(bundleOf([...cas(partner), second], 8)));
  assert.is(await outcomeOf(url), "new");
  assert.is(Result.getOrThrow(parseSpiffeBundle(readFileSync(path, "utf8"))).authorities.length, 3);
});

test("bug: an older bundle counted where the kept one could not be read once", async () => {
  const { url } = await serve(ca, text(bundleOf(cas(partner), 7)));
  const before = readFileSync(path, "utf8");
  assert.is(await outcomeOf(url, { profile: "https_ca", pin }, busy), "bundle-unstored");
  assert.is(readFileSync(path, "utf8"), before);
  assert.is(await outcomeOf(url), "bundle-rollback");
});

test("a torn file, and one of another root, count for nothing", async () => {
  const { url } = await serve(ca, text(bundleOf(cas(partner), 3)));
  for (const torn of ["{", bundleOf(cas(third), 99)]) {
    writeFileSync(path, torn);
    assert.is(await outcomeOf(url), "new");
  }
  rmSync(dirname(path), { recursive: true });
  assert.is(await outcomeOf(url), "new");
  assert.ok(existsSync(path));
});

const web = { profile: "https_web", pin } as const;
const unpinned = { profile: "https_web", pin: undefined } as const;
/** A server of the web. */
const host = (san: string) => third.node("www", { san: [san] });

test("a server of the web is judged by the web's roots and its host name, with and without a pin", async () => {
  const [www, stranger] = [await host("IP:127.0.0.1"), await partner.node("www", { san: ["IP:127.0.0.1"] })];
  const honest = text(bundleOf(cas(partner), 20));
  for (const server of [web, unpinned]) {
    rmSync(path, { force: true });
    const { url } = await serve(www, honest);
    assert.is(await outcomeOf(url), "bundle-server", "as a CA of the domain it does not count");
    assert.is(await outcomeOf((await serve(stranger, honest)).url, server), "bundle-server", "another root");
    assert.is(await outcomeOf((await serve(ca, honest)).url, server), "bundle-server", "the domain's own CA");
    assert.is(await outcomeOf((await serve(await host("DNS:other.example"), honest)).url, server), "bundle-server");
    assert.not(existsSync(path));
    assert.is(await outcomeOf(url, server), "new");
    assert.is(await outcomeOf(url, server), "same");
  }
});

test("what a server of the web may not put into a bundle changes nothing", async () => {
  const www = await host("IP:127.0.0.1");
  writeFileSync(path, bundleOf(cas(partner), 20));
  const before = readFileSync(path, "utf8");
  const bodies: [content: string, pinned: string, unpinned: string][] = [
    [bundleOf(cas(own), 21), "bundle-unpinned", "bundle-replaced"],
    [bundleOf([second], 21), "bundle-unpinned", "bundle-unpinned"],
    [bundleOf([...cas(partner), own.root], 21), "bundle-foreign", "bundle-foreign"],
    [bundleOf(cas(partner), 19), "bundle-rollback", "bundle-rollback"],
    [bundleOf([...cas(partner), second], 20), "bundle-equivocation", "bundle-equivocation"],
    ["<html>", "bundle-malformed", "bundle-malformed"],
    ['{"keys":[]}', "bundle-unpinned", "bundle-unpinned"],
  ];
  for (const [content, ...codes] of bodies) {
    const { url } = await serve(www, text(content));
    assert.equal([await outcomeOf(url, web), await outcomeOf(url, unpinned)], codes, content.slice(0, 40));
  }
  const target = await serve(www, text(bundleOf(cas(partner), 21)));
  const redirect = await serve(www, (response) => response.writeHead(302, { location: target.url }).end());
  assert.is(await outcomeOf(redirect.url, unpinned), "bundle-unreachable");
  assert.is(target.requests(), 0);
  const slow = await serve(www, (response) => void response.write("{"));
  assert.is(await outcomeOf(slow.url, unpinned), "bundle-unreachable");
  assert.is(readFileSync(path, "utf8"), before);
});

/** What the node trusts where `third` has these CAs of a bundle that was fetched; the partner has those of the test before. */
function fetchedBy(
  pinned: string | undefined,
  thirds: readonly { readonly der: Uint8Array }[],
  partners = cas(partner),
) {
  const trust = (authorities: readonly { readonly der: Uint8Array }[]) =>
    authorities.length === 0 ? undefined : bundleOf(authorities, 1);
  const terms = {
    trustPem: own.trustPem,
    policy: defaultPolicy,
    ownName: "own.example",
    generation: 1,
    at: new Date(),
  };
  const domains = [
    { name: "third.example", trust: trust(thirds), fetched: { pin: pinned } },
    { name: "partner.example", trust: trust(partners), fetched: { pin } },
  ];
  return Result.getOrThrow(makeTrustSnapshot({ ...terms, domains })).snapshot;
}

test("bug: a partner froze another partner's bundle by having its CAs first", async () => {
  const newRoot = forge("Partner Root CA 2", { ca: true });
  const now = [...cas(partner), second, newRoot];
  const [https, www] = [
    await serve(ca, text(bundleOf(now, 30))),
    await serve(await host("IP:127.0.0.1"), text(bundleOf(now, 30))),
  ];
  for (const pinned of [markKey(certificate(third.root)), undefined]) {
    for (const partners of [cas(partner), []]) {
      const trust = fetchedBy(pinned, [...cas(third), ...now], partners);
      for (const [server, { url }] of [[{ profile: "https_ca", pin }, https], [web, www], [unpinned, www]] as const) {
        rmSync(path, { force: true });
        assert.is(
          await outcomeOf(url, server, undefined, trust),
          "new",
          `${pinned} ${partners.length} ${server.profile}`,
        );
        assert.is(await outcomeOf(url, server, undefined, trust), "same");
      }
    }
  }
});

test("a CA that is another partner's pin is refused, in either order of the fetches", async () => {
  const pinned = markKey(certificate(third.root));
  const outcome = async (more: { readonly der: Uint8Array }, trust: TrustSnapshot) => {
    rmSync(path, { force: true });
    return await outcomeOf(
      (await serve(ca, text(bundleOf([...cas(partner), more], 31)))).url,
      undefined,
      undefined,
      trust,
    );
  };
  assert.is(await outcome(third.root, fetchedBy(pinned, [])), "bundle-foreign", "before the other's first fetch");
  assert.is(await outcome(third.root, fetchedBy(pinned, [], [...cas(partner), third.root])), "bundle-foreign");
  assert.is(await outcome(third.intermediate, fetchedBy(pinned, cas(third))), "bundle-foreign");
  assert.is(
    await outcome(third.intermediate, fetchedBy(pinned, cas(third), [...cas(partner), third.intermediate])),
    "bundle-foreign",
  );
  assert.is(await outcome(own.root, fetchedBy(pinned, [])), "bundle-foreign");
  writeFileSync(path, bundleOf(cas(partner), 20));
});

test("a place that cannot be written is told", async () => {
  rmSync(dirname(path), { recursive: true });
  writeFileSync(dirname(path), "a file");
  const { url } = await serve(ca, text(bundleOf(cas(partner), 3)));
  assert.is(await outcomeOf(url), "bundle-unstored");
  rmSync(dirname(path));
});

test.run();
