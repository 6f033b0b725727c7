/** A CA that runs: tries again, keeps lists and certificate in force, ends when its port cannot be opened or it is stopped. */
import { Buffer } from "node:buffer";
import { existsSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimulatedClock } from "xstate";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import { arePermitted, configuredCas, enterApprovedCas } from "../../actors/ca/authorities_fact.ts";
import { caMachine, maintenanceMs, retryMs } from "../../actors/ca/ca.ts";
import { approversProblem } from "../../actors/ca/check_approvals.ts";
import { crlOf } from "../../actors/ca/crl_rows.ts";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import type { RegisterRows } from "../../actors/ca/register.ts";
import { enterRestored } from "../../actors/ca/restored_rows.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { SignerError } from "../../actors/pkcs11/signer_error.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import { fileSigner, type Signer } from "../../pki/issue/mod.ts";
import { codeOf, start, type TestAuthority, testAuthority, type TestAuthorityOptions } from "../support/authority.ts";
import { testApprovers } from "../support/approvers.ts";
import { ask } from "../support/https_client.ts";
import { freePort } from "../../scripts/program/free_ports.ts";

const test = suite("a running CA");
const dayMs = 24 * 3_600_000;

/** A CA on a free port, with a clock that the test moves. */
async function runningCa(
  options: TestAuthorityOptions & { aheadMs?: number } = {},
  taken: { port?: number; socket?: string } = {},
  before: (world: TestAuthority) => void = () => {},
) {
  const port = taken.port ?? await freePort();
  const url = `https://127.0.0.1:${port}`;
  const world = await testAuthority({ url, ...options });
  before(world);
  const clock = new SimulatedClock();
  const events: string[] = [];
  const messages: string[] = [];
  const socket = taken.socket ?? join(world.folder, "admin.sock");
  const real = makePorts(({ event, message }) => {
    if (event === "ca.listening") assert.ok(existsSync(socket), "who reads that it listens can ask it over its socket");
    events.push(event);
    messages.push(message);
  });
  let aheadMs = options.aheadMs ?? 0;
  const setAhead = (ms: number) => void (aheadMs = ms);
  const ports = { ...real, now: () => +start + aheadMs + clock.now() };
  const failures: unknown[] = [];
  const approversJson = join(world.folder, "approvers.json");
  const nextStart = () => approversProblem(world.ca, { approversJson }, "ca.toml");
  const actor = superviseRoot(caMachine, {
    id: "ca",
    input: { ports, ca: world.ca, name: "ca-01", host: "127.0.0.1", port, socket, programRoutes: {}, nextStart },
    clock,
    onError: (error) => failures.push(error),
  });
  const reaches = async (what: string, holds: () => boolean) => {
    const deadline = performance.now() + 8_000;
    while (!holds()) {
      assert.equal(failures, []);
      assert.ok(performance.now() < deadline, what);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const isServing = () => actor.getSnapshot().matches({ listening: "serving" });
  /** A period of maintenance, to its end. */
  const maintain = async (ms = 0) => {
    clock.increment(ms);
    await reaches("serving", isServing);
    clock.increment(maintenanceMs);
    await reaches("maintained", isServing);
  };
  const stop = async () => {
    actor.send({ type: "ca.stop" });
    await real.dispose();
    world.close();
  };
  return { ...world, url, port, socket, actor, events, messages, clock, reaches, isServing, maintain, setAhead, stop };
}

function servedSerial(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("it makes its first list and certificate, opens its port and answers", async () => {
  const ca = await runningCa();
  await ca.reaches("serving", ca.isServing);
  assert.is((await ask(`${ca.url}/healthz`)).status, 200);
  assert.equal(ca.events, ["ca.root-list-ends", "ca.listening"], "this CA has no list of its root");
  const status = await Effect.runPromise(askAdmin(ca.socket, "GET /status"));
  assert.is((status.body as { domain: string }).domain, "acme.example");
  await ca.stop();
  assert.is(ca.actor.getSnapshot().status, "done");
  const closed = await ask(`${ca.url}/healthz`).then(() => "open", () => "closed");
  assert.is(closed, "closed");
});

test("the first start after a restore reports it, and what waits for approvals", async () => {
  const restore = ({ ca }: TestAuthority) =>
    void Result.getOrThrow(ca.register.transaction((rows) => Result.succeed(enterRestored(rows, start))));
  const ca = await runningCa({}, {}, restore);
  await ca.reaches("serving", ca.isServing);
  assert.equal(ca.events, ["ca.register-restored", "ca.root-list-ends", "ca.listening"]);
  const when = `restored at ${start.toISOString()} from a backup`;
  assert.is(ca.messages[0], `the register was ${when}: no operation waits for approvals`);
  await ca.stop();
});

test("lists are renewed after a day, the certificate after two thirds of its life", async () => {
  const ca = await runningCa();
  await ca.reaches("serving", ca.isServing);
  const number = () => {
    const row = ca.ca.register.read((rows) => crlOf(rows, ca.ca.issuerId, "complete"));
    return BigInt(Result.getOrThrow(row)!.number);
  };
  const [firstNumber, firstSerial] = [number(), await servedSerial(ca.port)];
  await ca.maintain();
  assert.is(number(), firstNumber, "nothing is due");
  await ca.maintain(dayMs);
  assert.ok(number() > firstNumber);
  assert.is(await servedSerial(ca.port), firstSerial);
  await ca.maintain(20 * dayMs);
  assert.is.not(await servedSerial(ca.port), firstSerial);
  await ca.stop();
});

test("bug: a list and a certificate of a clock that was ahead at the start stayed when it was right again", async () => {
  const ca = await runningCa({ aheadMs: 3 * dayMs });
  await ca.reaches("serving", ca.isServing);
  const listed = () =>
    Result.getOrThrow(ca.ca.register.read((rows) => crlOf(rows, ca.ca.issuerId, "complete")))!.this_update;
  const serial = await servedSerial(ca.port);
  assert.ok(listed() > +start + 2 * dayMs);
  ca.setAhead(0);
  await ca.maintain();
  assert.ok(listed() <= +start);
  const renewed = await servedSerial(ca.port);
  assert.is.not(renewed, serial);
  await ca.maintain();
  assert.is(await servedSerial(ca.port), renewed, "once");
  await ca.stop();
});

test("bug: an operator who revoked the CA's own name cut the running CA off until its certificate was due", async () => {
  const ca = await runningCa();
  await ca.reaches("serving", ca.isServing);
  const serial = await servedSerial(ca.port);
  await Effect.runPromise(revoke(ca.ca, { name: "ca-01" }, "unspecified", start));
  await ca.maintain();
  const next = await servedSerial(ca.port);
  assert.is.not(next, serial);
  await ca.maintain();
  assert.is(await servedSerial(ca.port), next, "once");
  await ca.stop();
});

test("a key that cannot sign is reported each minute, and /healthz is 503 until it can", async () => {
  let failure: Error | undefined;
  const ca = await runningCa({ signer: (real) => ({ ...real, failure: () => failure }) });
  await ca.reaches("serving", ca.isServing);
  failure = new Error("token removed");
  await ca.maintain();
  await ca.maintain();
  assert.equal(ca.events.slice(2), ["ca.signer-unavailable", "ca.signer-unavailable"]);
  assert.is((await ask(`${ca.url}/healthz`)).status, 503);
  failure = undefined;
  await ca.maintain();
  assert.is(ca.events.length, 4);
  assert.is((await ask(`${ca.url}/healthz`)).status, 200);
  await ca.stop();
});

test("bug: a key that was put back was shown as failing until something was signed, up to a day later", async () => {
  let [isAway, failure] = [false, undefined as Error | undefined];
  const signed: Uint8Array[] = [];
  const ca = await runningCa({
    signer: (real) => ({
      spki: real.spki,
      failure: () => failure,
      sign: async (bytes) => {
        failure = isAway ? new Error("the token has no such private key") : undefined;
        if (failure !== undefined) throw failure;
        signed.push(bytes);
        return await real.sign(bytes);
      },
    }),
  });
  await ca.reaches("serving", ca.isServing);
  const health = async () => (await ask(`${ca.url}/healthz`)).status;
  const count = signed.length;
  isAway = true;
  assert.is(await codeOf(revoke(ca.ca, { name: "ca-01" }, "unspecified", start)), "signer-unavailable");
  await ca.maintain();
  assert.is(await health(), 503);
  isAway = false;
  await ca.maintain();
  assert.is(await health(), 200);
  await ca.maintain();
  assert.equal(ca.events.slice(2), ["ca.signer-unavailable"]);
  const attempts = signed.slice(count);
  assert.is(attempts.length, 1, "a key that signs is not tried");
  assert.match(Buffer.from(attempts[0]!).toString(), /^hypha-/, "no DER: no certificate, list or request");
  await ca.stop();
});

test("bug: a key that refused a list for its length was shown as signing again after a shorter text", async () => {
  let failure: Error | undefined, lengthMax = Infinity;
  const ca = await runningCa({
    signer: (real) => ({
      spki: real.spki,
      failure: () => failure,
      sign: async (bytes) => {
        failure = bytes.length > lengthMax
          ? new SignerError({ code: "signing-refused", key: "ca", detail: "CKR_DATA_LEN_RANGE" })
          : undefined;
        if (failure !== undefined) throw failure;
        return await real.sign(bytes);
      },
    }),
  });
  await ca.reaches("serving", ca.isServing);
  lengthMax = 64;
  assert.is(await codeOf(revoke(ca.ca, { name: "ca-01" }, "unspecified", start)), "signer-unavailable");
  await ca.maintain();
  assert.is((await ask(`${ca.url}/healthz`)).status, 503);
  await ca.maintain();
  assert.equal(ca.events.slice(2), ["ca.signer-unavailable", "ca.signer-unavailable"]);
  await ca.stop();
});

/** A retired CA whose token is away from a moment on. */
async function retiredCa() {
  const { intermediate, root, close } = await testAuthority();
  close();
  let failure: Error | undefined;
  const key = fileSigner(intermediate.keyPem);
  const sign: Signer["sign"] = (bytes) => failure === undefined ? key.sign(bytes) : Promise.reject(failure);
  const signer = { ...key, sign, failure: () => failure };
  return {
    part: { signer, chain: [intermediate.der, root.der] },
    takeAway: () => void (failure = new Error("token removed")),
  };
}

test("bug: a retired CA whose token was gone ended the renewal of the CA's own certificate, and only its log said so", async () => {
  const retired = await retiredCa();
  const ca = await runningCa({ retired: [retired.part] });
  await ca.reaches("serving", ca.isServing);
  const listed = (issuer: string) =>
    Result.getOrThrow(ca.ca.register.read((rows) => crlOf(rows, issuer, "complete")))!.number;
  const numbers = () => [ca.ca, ...ca.ca.retired].map(({ issuerId }) => BigInt(listed(issuerId)));
  const [[own, former], serial] = [numbers(), await servedSerial(ca.port)];
  retired.takeAway();
  await ca.maintain(20 * dayMs);
  assert.is.not(await servedSerial(ca.port), serial);
  assert.ok(numbers()[0]! > own!, "its own list goes on");
  assert.is(numbers()[1], former);
  const health = await ask(`${ca.url}/healthz`);
  assert.equal([health.status, String(health.body)], [503, "signer-unavailable: CN=CA, retired\n"]);
  assert.match(await problemOf(ca) ?? "", /CN=CA, retired/);
  await ca.stop();
});

test("bug: that the file of approvers was not the register's showed at the next start, which it prevented", async () => {
  const ca = await runningCa();
  await ca.reaches("serving", ca.isServing);
  const shown = async () =>
    ((await Effect.runPromise(askAdmin(ca.socket, "GET /status"))).body as { next_start: string | null }).next_start;
  assert.is(await shown(), null);
  const { policy } = await testApprovers(ca.ca, ["change-approvers"]);
  await ca.maintain();
  assert.is(ca.events.at(-1), "ca.approvers-differ");
  assert.match(await shown() ?? "", /approvers\.json: there is no such file.*hypha-ca approvers -c ca\.toml/);
  writeFileSync(join(ca.folder, "approvers.json"), `${policy.line}\n`);
  const count = ca.events.length;
  await ca.maintain();
  assert.equal([ca.events.length, await shown()], [count, null]);
  await ca.stop();
});

test("a key that is away is waited for", async () => {
  let away = true;
  const ca = await runningCa({
    signer: (real) => ({
      spki: real.spki,
      sign: (bytes) => away ? Promise.reject(new Error("token removed")) : real.sign(bytes),
    }),
  });
  const isWaiting = () => ca.actor.getSnapshot().matches("waiting");
  await ca.reaches("waiting", isWaiting);
  assert.equal(ca.events, ["ca.failed"]);
  ca.clock.increment(retryMs - 1);
  assert.ok(isWaiting());
  away = false;
  ca.clock.increment(1);
  await ca.reaches("serving", ca.isServing);
  away = true;
  await ca.maintain(dayMs);
  // The day's jump and the minute behind it: two periods of maintenance.
  assert.equal(
    ca.events,
    ["ca.failed", "ca.root-list-ends", "ca.listening", "ca.failed", "ca.failed"],
    "it keeps serving",
  );
  assert.is((await ask(`${ca.url}/healthz`)).status, 200);
  await ca.stop();
});

/** Why it cannot issue, over its socket. */
async function problemOf({ socket, reaches }: Awaited<ReturnType<typeof runningCa>>): Promise<string | null> {
  await reaches("the socket", () => existsSync(socket));
  const { body } = await Effect.runPromise(askAdmin(socket, "GET /status"));
  return (body as { readonly problem: string | null }).problem;
}

test("bug: a CA that started while its key was away opened no admin socket, and its commands said that it did not run", async () => {
  let away = true;
  const ca = await runningCa({
    signer: (real) => ({
      spki: real.spki,
      sign: (bytes) => away ? Promise.reject(new Error("token removed")) : real.sign(bytes),
    }),
  });
  await ca.reaches("waiting", () => ca.actor.getSnapshot().matches("waiting"));
  assert.match(await problemOf(ca) ?? "", /token removed/);
  const backup = await Effect.runPromise(askAdmin(ca.socket, "POST /ca/backup", { file: join(ca.folder, "copy.db") }));
  assert.is(backup.status, 200);
  away = false;
  ca.clock.increment(retryMs);
  await ca.reaches("serving", ca.isServing);
  assert.is(await problemOf(ca), null);
  await ca.stop();
});

test("bug: a CA whose certificate has ended could not be rotated where that waits for approvals", async () => {
  const ca = await runningCa({ notAfter: new Date(+start - 3_600_000) });
  await ca.reaches("waiting", () => ca.actor.getSnapshot().matches("waiting"));
  assert.match(await problemOf(ca) ?? "", /the issuer ended at/);
  const { approve } = await testApprovers(ca.ca, ["change-approvers", "rotate-ca"]);
  const wanted = { issues: "ab".repeat(32), next: [], retired: [ca.ca.issuerId] };
  const rotate = async () => (await Effect.runPromise(askAdmin(ca.socket, "POST /ca/rotate", wanted))).body;
  const { waits } = await rotate() as { readonly waits: { readonly id: string } };
  for (const person of ["alice", "bob"] as const) await approve(waits.id, person, start);
  assert.equal(await rotate(), { permitted: true });
  await ca.stop();
});

test("bug: a CA that could not make its lists at its start served none of those in force", async () => {
  let signed = 0;
  const ca = await runningCa({
    signer: (real) => ({
      spki: real.spki,
      sign: (bytes) => ++signed === 1 ? Promise.reject(new Error("not now")) : real.sign(bytes),
    }),
  });
  await ca.reaches("serving", ca.isServing);
  assert.equal(ca.events, ["ca.failed", "ca.root-list-ends", "ca.listening"]);
  assert.is((await ask(`${ca.url}/healthz`)).status, 503, "it has none yet");
  await ca.maintain();
  assert.is((await ask(`${ca.url}/healthz`)).status, 200);
  await ca.stop();
});

test("bug: approved CAs that could not be entered at the start were not in force, without a word, until the next start", async () => {
  let isFull = true;
  const ca = await runningCa({}, {}, (world) => {
    const expires = new Date(+start + dayMs);
    const enter = (rows: RegisterRows) => enterApprovedCas(rows, configuredCas(world.ca), expires);
    Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enter(rows))));
    const recordNow = () => {
      if (isFull) throw new LogUnusable({ dir: "audit", problem: "unwritable", detail: "the disk is full" });
    };
    world.ca.register.recordTo({ record: () => {}, recordNow });
  });
  await ca.reaches("waiting", () => ca.actor.getSnapshot().matches("waiting"));
  assert.match(await problemOf(ca) ?? "", /the disk is full/);
  isFull = false;
  ca.clock.increment(retryMs);
  await ca.reaches("serving", ca.isServing);
  const late = new Date(+start + 2 * dayMs);
  assert.ok(Result.getOrThrow(ca.ca.register.read((rows) => arePermitted(rows, configuredCas(ca.ca), late))));
  await ca.stop();
});

test("bug: a CA whose port is taken issued a certificate at each start, and ended without what to do", async () => {
  const other = createServer();
  const port = await new Promise<number>((resolve) =>
    other.listen(0, "127.0.0.1", () => resolve((other.address() as { port: number }).port))
  );
  const ca = await runningCa({}, { port });
  await ca.reaches("failed", () => ca.actor.getSnapshot().matches("failed"));
  const issued = ca.ca.register.read((rows) => rows.all("SELECT identity FROM certificates"));
  assert.equal(Result.getOrThrow(issued), []);
  assert.is(
    ca.actor.getSnapshot().context.reason,
    `Cannot listen for HTTPS on 127.0.0.1:${port} (listen_https): another process uses the port (ss -ltnp shows which)`,
  );
  other.close();
  await ca.stop();
});

test("an admin socket that others could reach ends it", async () => {
  const ca = await runningCa({}, { socket: join(tmpdir(), "hypha-none", "admin.sock") });
  await ca.reaches("failed", () => ca.actor.getSnapshot().matches("failed"));
  assert.match(ca.actor.getSnapshot().context.reason ?? "", /admin socket/);
  await ca.stop();
});

test.run();
