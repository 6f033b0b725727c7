/** A node whose identity is a key in a token: it enrols and renews with its signature, and says what is wrong with the token. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { revoke } from "../../actors/ca/revoke.ts";
import { refusalOfKey, tokenKey } from "../../actors/enrolment/identity_key.ts";
import { generatePkcs11Key } from "../../actors/pkcs11/pkcs11_signer.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { type TestCaPort, testCaPort } from "../support/ca_port.ts";
import { EnrollingNode, losing, reaches, SkippingClock } from "../support/enrolment_world.ts";
import { needing } from "../support/prerequisites.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("a node's identity in a token"), "softhsm2-util");
let [token, world] = [{} as SoftToken, {} as TestCaPort];
test.before(async () => {
  [token, world] = [makeSoftToken(), await testCaPort()];
  await generatePkcs11Key(token.uri("w"), "ed25519");
});
test.after(async () => {
  await world.stop();
  token.remove();
});

/** Limits short enough for tests; a runtime takes half a second to start. */
const timing = { answerMs: 3_000, startMs: 5_000, tryAgainMs: 200 };
const started = 20_000;

/** A node that has joined. */
async function joined(name: string) {
  const node = new EnrollingNode("hardware");
  const hardware = tokenKey(token.uri("w"), { timing });
  const actor = node.start([world.url], { hardware, token: await world.token(name, { key: "hardware" }, new Date()) });
  await reaches(actor, "resting", started);
  node.stop();
  return { node, hardware };
}

const uriOf = (certificate: EnrollingNode["leaf"]) =>
  certificate?.subjectAltNames.find(({ type }) => type === "uri")?.value;

/** Whether both ends of a TLS connection show and accept this pair. */
function servesMutualTls({ certPem, keyPem }: EnrollingNode["paths"]): Promise<boolean> {
  const pair = { cert: readFileSync(certPem), key: readFileSync(keyPem), ca: [world.root.certPem] };
  const options = { ...pair, minVersion: "TLSv1.3", checkServerIdentity: () => undefined } as const;
  return new Promise((resolve) => {
    const server = createServer({ ...options, requestCert: true, rejectUnauthorized: true }, (socket: TLSSocket) => {
      resolve(socket.authorized);
      socket.end();
      server.close();
    });
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { readonly port: number };
      connect({ ...options, port, host: "127.0.0.1" }).on("error", () => resolve(false)).resume();
    });
  });
}

test("joins with a token, serves mutual TLS with what it got, renews, and starts again with an empty folder of TLS", async () => {
  const { node, hardware } = await joined("w-1");
  assert.is(uriOf(node.certificates(node.paths.identityPem!)[0]), "spiffe://acme.example/identity/w-1");
  assert.is(uriOf(node.leaf), "spiffe://acme.example/worker/w-1");
  assert.is(statSync(node.paths.keyPem).mode & 0o777, 0o600);
  assert.is(statSync(dirname(node.paths.keyPem)).mode & 0o777, 0o700);
  assert.ok(await servesMutualTls(node.paths));
  const [first, key] = [node.leaf!.fingerprint, readFileSync(node.paths.keyPem, "utf8")];
  const actor = node.start([world.url], { hardware });
  await reaches(actor, "resting", started);
  actor.send({ type: "pair.renew" });
  while (node.leaf!.fingerprint === first) await new Promise((resolve) => setTimeout(resolve, 20));
  await reaches(actor, "resting", started);
  assert.is(readFileSync(node.paths.keyPem, "utf8"), key, "a renewal keeps the key");
  node.stop();
  rmSync(dirname(node.paths.keyPem), { recursive: true });
  await reaches(node.start([world.url], { hardware }), "resting", started);
  assert.is.not(readFileSync(node.paths.keyPem, "utf8"), key);
  assert.ok(await servesMutualTls(node.paths));
  assert.ok(!existsSync(join(node.paths.stateDir, "enrolment.json")), "no key was left behind");
  assert.equal(node.errors, []);
  node.close();
});

test("while the token is away it keeps its pair and tries again; when it is back, it renews by itself", async () => {
  const { node, hardware } = await joined("w-2");
  const [first, skipping] = [node.leaf!.fingerprint, new SkippingClock()];
  renameSync(join(token.dir, "tokens"), join(token.dir, "away"));
  const actor = node.start([world.url], { hardware, clock: skipping.clock });
  await reaches(actor, "resting", started);
  actor.send({ type: "pair.renew" });
  const retried = () => node.reports.filter(({ event }) => event === "enrolment.retry");
  while (retried().length < 1) await new Promise((resolve) => setTimeout(resolve, 20));
  const message = retried()[0]!.message;
  assert.match(message, /^Cannot get certificate \([a-z-]+\): identity_key pkcs11:token=acme;object=w: /);
  assert.match(message, /the one in force ends at/);
  assert.not.match(message, /\n|1234/);
  assert.is(node.leaf!.fingerprint, first);
  renameSync(join(token.dir, "away"), join(token.dir, "tokens"));
  while (node.leaf!.fingerprint === first) await new Promise((resolve) => setTimeout(resolve, 20));
  node.close();
});

test("with the CA away a node without a pair waits and says so, and enrols when it is there", async () => {
  const { node, hardware } = await joined("w-3");
  rmSync(dirname(node.paths.keyPem), { recursive: true });
  const nowhere = "https://127.0.0.1:1";
  const actor = node.start([nowhere], { hardware });
  await reaches(actor, "waiting", started);
  const { message } = node.reports.find(({ event }) => event === "enrolment.retry")!;
  assert.match(message, /\(ca-unreachable\).*; there is none yet, trying again in \d+ s$/);
  node.stop();
  await reaches(node.start([nowhere, world.url], { hardware }), "resting", started);
  await Effect.runPromise(revoke(world.ca, { name: "w-3" }, "superseded", new Date()));
  rmSync(dirname(node.paths.keyPem), { recursive: true });
  await reaches(node.start([world.url], { hardware }), "failed", started);
  assert.is(
    node.reports.findLast(({ event }) => event === "enrolment.failed")?.fields?.["code"],
    "certificate-revoked",
  );
  node.close();
});

test("the identity's own certificate is renewed with the token's signature; a lost answer does not delay TLS, and comes again", async () => {
  // Certificates begin five minutes early: one of less than ten more is in the second half of its life, and due below two and a half.
  let seconds = 60;
  const lifetimeMs = (role: unknown) => (role === "identity" ? seconds += 10 : 86_400) * 1_000;
  const ca = await testCaPort({ lifetimeMs });
  const [node, hardware] = [new EnrollingNode("hardware"), tokenKey(token.uri("w"), { timing })];
  let lost = 0;
  const ask = losing((path) => path === "/.well-known/hypha/enrol" && lost++ === 0);
  const given = await ca.token("w-5", { key: "hardware" }, new Date());
  const actor = node.start([ca.url], { hardware, ask, token: given });
  await reaches(actor, "resting", started);
  const identity = () => node.certificates(node.paths.identityPem!)[0]!;
  const [former, tls] = [identity(), node.leaf!.fingerprint];
  const said = node.reports.filter(({ event }) => event === "enrolment.identity_due");
  assert.equal(said.map(({ fields }) => fields), [{
    code: "ca-unreachable",
    notAfter: former.period.notAfter.toISOString(),
  }]);
  assert.match(
    said[0]!.message,
    /was not renewed: .*the answer was lost.*; trying again with the next certificate for TLS$/,
  );
  actor.send({ type: "pair.renew" });
  while (node.leaf!.fingerprint === tls) await new Promise((resolve) => setTimeout(resolve, 20));
  await reaches(actor, "resting", started);
  const next = identity();
  assert.is.not(next.fingerprint, former.fingerprint);
  assert.equal([uriOf(next), next.publicKey.spki], [uriOf(former), former.publicKey.spki]);
  assert.is(seconds, 80, "the certificate whose answer was lost");
  assert.is(+next.period.notAfter - +former.period.notAfter >= 9_000, true);
  assert.is(said.length, 1);
  assert.equal(node.errors, []);
  node.close();
  await ca.stop();
});

const wrong: [
  what: string,
  change: (uri: string) => string,
  state: "failed" | "waiting",
  code: string,
  hint: RegExp,
][] = [
  ["a wrong PIN", (uri) => uri.replace(/&pin.*/, "&pin-value=4321"), "failed", "pin-wrong", /Correct the PIN/],
  [
    "a missing module",
    (uri) => uri.replace(/path=[^&]+/, "path=/none.so"),
    "waiting",
    "module-missing",
    /Correct module-path/,
  ],
  ["a removed token", (uri) => uri.replace("acme", "gone"), "waiting", "token-missing", /Insert the token/],
  [
    "a PIN's file that is away (bug: it was given up)",
    (uri) => uri.replace(/&pin.*/, "&pin-source=file:/none/pin"),
    "waiting",
    "pin-unreadable",
    /Correct pin-source/,
  ],
  ["a missing key", (uri) => uri.replace("object=w", "object=none"), "failed", "key-missing", /hypha-certutil keygen/],
  [
    "a token that hangs",
    (uri) => uri.replace(/path=[^&]+/, `path=${join(token.dir, "fifo")}`),
    "waiting",
    "signer-unavailable",
    /Check the token/,
  ],
];
test("after a login that failed the PIN is not presented again", () => {
  const refusal = refusalOfKey(new SignerError({ code: "login-failed", key: "pkcs11:token=acme", detail: "it hung" }));
  assert.is(refusal.again, "never");
  assert.match(refusal.message, /login-failed.*Log in once with the right PIN/);
});

test("each trouble with the token is one line with what to do", async () => {
  // Opening a FIFO without a writer never returns: the module hangs while it is loaded.
  execFileSync("mkfifo", [join(token.dir, "fifo")]);
  const { node } = await joined("w-4");
  for (const [what, change, state, code, hint] of wrong) {
    rmSync(dirname(node.paths.keyPem), { recursive: true, force: true });
    const limits = code === "signer-unavailable" ? { ...timing, answerMs: 100, startMs: 400 } : timing;
    await reaches(
      node.start([world.url], { hardware: tokenKey(change(token.uri("w")), { timing: limits }) }),
      state,
      started,
    );
    const said = node.reports.findLast(({ event }) => /^enrolment\.(failed|retry)$/.test(event))!;
    assert.is(said.fields?.["code"], code, what);
    assert.match(said.message, hint, what);
    assert.not.match(said.message, /\n|4321|1234/, what);
    node.stop();
  }
  writeFileSync(node.paths.identityPem!, world.root.certPem);
  await reaches(node.start([world.url], { hardware: tokenKey(token.uri("w"), { timing }) }), "failed", started);
  node.close();
});

test.run();
