/** Trust that is watched for an application. */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkOwnChain, type IdentityPair, makeIdentity, type TrustWatch, watchTrust } from "../../mod.ts";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../actors/runtime/real_ports.ts";
import type { WatchTrustOptions } from "../../actors/trust/watch_trust.ts";
import { domainOf, type TrustSnapshot } from "../../pki/trust.ts";
import { makeTestPki } from "../support/pki.ts";
import { until } from "../support/transports.ts";

const pki = await makeTestPki();
const node = await pki.node("a.example");
const pair: IdentityPair = { certPem: node.chainPem, keyPem: node.keyPem };
const folder = await mkdtemp(join(tmpdir(), "hypha-application-"));
const watches: TrustWatch[] = [];
let folders = 0;

const watching = suite("watchTrust()");

async function files(): Promise<{ readonly trustPem: string; readonly crlsPem: string }> {
  const home = join(folder, String(folders++));
  await mkdir(home);
  const paths = { trustPem: join(home, "trust.pem"), crlsPem: join(home, "crls.pem") };
  await writeFile(paths.trustPem, pki.trustPem);
  await writeFile(paths.crlsPem, await pki.crls());
  return paths;
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text);
  await rename(`${path}.new`, path);
}

async function watch(paths: Parameters<typeof watchTrust>[0], options: WatchTrustOptions): Promise<TrustWatch> {
  const trust = Result.getOrThrow(await watchTrust(paths, { timing: { settleMs: 10 }, ...options }));
  watches.push(trust);
  return trust;
}

watching.after.each(async () => {
  await Promise.all(watches.splice(0).map((each) => each.close()));
});
watching.after(() => rm(folder, { recursive: true, force: true }));

watching("gives the snapshot now, and calls back with each that follows", async () => {
  const paths = await files();
  const changes: TrustSnapshot[] = [];
  const trust = await watch(paths, { onChange: (snapshot) => changes.push(snapshot) });
  assert.is(trust.snapshot().generation, 1);
  assert.equal(changes, []);
  await replace(paths.crlsPem, await pki.crls({ number: 2n, revoked: [node] }));
  await until("the change", () => changes.length === 1);
  assert.is(changes[0], trust.snapshot());
  const identity = Result.getOrThrow(makeIdentity(pair));
  assert.is(checkOwnChain(identity, trust.snapshot(), { at: new Date() })?.code, "certificate-revoked");
  trust.reload();
  await until("the second reading", () => changes.length === 2);
});

watching("says what a person should know, and keeps what was loaded: a torn file, an older list", async () => {
  const paths = await files();
  await replace(paths.crlsPem, await pki.crls({ number: 5n }));
  const warnings: string[] = [];
  const trust = await watch(paths, {
    onWarning: ({ level, event, message }) => warnings.push(`${level} ${event} ${message}`),
  });
  await replace(paths.trustPem, pki.trustPem.slice(0, 100));
  await until("the first warning", () => warnings.length === 1);
  await replace(paths.trustPem, pki.trustPem);
  await replace(paths.crlsPem, await pki.crls({ number: 4n }));
  await until("the second warning", () => warnings.length === 2);
  assert.match(warnings[0] ?? "", /^warn trust\.broken .*trust\.pem/);
  assert.match(warnings[1] ?? "", /^error trust\.warning .*crls\.pem.* older than 5/);
  assert.ok(trust.snapshot().revocation?.lists.some(({ number }) => number === "5"));
});

watching("warns where nothing can ever be revoked", async () => {
  const { trustPem } = await files();
  const warnings: string[] = [];
  await watch({ trustPem }, { onWarning: ({ message }) => warnings.push(message) });
  assert.ok(warnings.some((message) => message.includes("crls_pem")), warnings.join("; "));
});

watching("loads other trust domains", async () => {
  const [own, other] = [await files(), await files()];
  const domains = [{ name: "partner.example", trust: other.trustPem, roles: ["worker" as const] }];
  const trust = await watch({ ...own, domains }, {});
  assert.equal(trust.snapshot().domains?.map(({ name, roles }) => [name, roles]), [["partner.example", ["worker"]]]);
});

watching("with a state directory an older list brings nobody back, after a restart either", async () => {
  const paths = await files();
  const stateDir = join(folder, `state-${folders++}`);
  await replace(paths.trustPem, pki.trustPem + pki.intermediate.certPem); // both CAs' lists are checked as they are read
  await replace(paths.crlsPem, await pki.crls({ number: 5n, revoked: [node] }));
  const first = await watch(paths, { stateDir });
  await until("the marks", () => existsSync(join(stateDir, "crl_marks.json")));
  await first.close();
  await replace(paths.crlsPem, await pki.crls({ number: 4n }));
  const warnings: string[] = [];
  const second = await watch(paths, { stateDir, onWarning: ({ message }) => warnings.push(message) });
  const own = Result.getOrThrow(makeIdentity(pair));
  assert.is(checkOwnChain(own, second.snapshot(), { at: new Date() })?.code, "certificate-revoked");
  assert.ok(warnings.length > 0);
});

watching("fails with the file that does not load, by its absolute path", async () => {
  const outcome = await watchTrust({ trustPem: "no-such-trust.pem" });
  assert.is(Result.isFailure(outcome) && outcome.failure.problem, "missing");
  assert.is(Result.isFailure(outcome) && outcome.failure.file, join(process.cwd(), "no-such-trust.pem"));
});

watching("a callback that throws is a failure of the watch, which goes on", async () => {
  const paths = await files();
  const failures: unknown[] = [];
  const trust = await watch(paths, {
    onChange: () => {
      throw new Error("mine");
    },
    onFailed: (error) => failures.push(error),
  });
  await replace(paths.crlsPem, await pki.crls({ number: 2n }));
  await until("the failure", () => failures.length === 1);
  assert.match(String(failures[0]), /mine/);
  await replace(paths.crlsPem, await pki.crls({ number: 3n }));
  await until("the second", () => failures.length === 2);
  assert.is(trust.snapshot().generation, 3);
});

watching("a trust store that dies is a failure of the watch: revocations would be missed in silence", async () => {
  const paths = await files();
  const failures: unknown[] = [];
  const real = makePorts(() => {});
  let clock = () => Date.now();
  const trust = await watch(paths, {
    ports: { ...real, now: () => clock() },
    onFailed: (error) => failures.push(error),
  });
  clock = () => {
    throw new Error("the clock broke");
  };
  trust.reload();
  await until("the failure", () => failures.length === 1);
  assert.match(String(failures[0]), /the clock broke/);
  assert.is(trust.snapshot().generation, 1);
  await trust.close();
  await real.dispose();
});

watching(
  "bug: a file on a mount whose server is gone held up the node's own revocations, and each reload took a thread",
  async () => {
    const paths = await files();
    const mount = join(folder, "mount");
    await mkdir(mount);
    const partner = await makeTestPki({ organization: "Partner", domain: "partner.example" });
    const [trustPem, crlsPem] = [join(folder, "partner.pem"), join(mount, "crls.pem")];
    await writeFile(trustPem, partner.trustPem);
    await writeFile(crlsPem, await partner.crls());
    const back = Promise.withResolvers<void>();
    let gone = false;
    const hanging: string[] = [];
    /** Operations on the mount that are not answered until the server is back. */
    const held = <A, E, R>(path: string, operation: Effect.Effect<A, E, R>) =>
      Effect.suspend(() => {
        if (!gone || !path.startsWith(mount)) return operation;
        hanging.push(path);
        return Effect.andThen(Effect.promise(() => back.promise), operation);
      });
    const services = new Map<FileSystem, FileSystem>();
    const holding = (real: FileSystem): FileSystem => {
      const known = services.get(real) ??
        {
          ...real,
          stat: (path) => held(path, real.stat(path)),
          open: (path, options) => held(path, real.open(path, options)),
        };
      services.set(real, known);
      return known;
    };
    const real = makePorts(() => {});
    const ports: Ports = {
      ...real,
      run: (effect, onExit) => real.run(Effect.updateService(effect, FileSystem, holding), onExit),
    };
    const changes: TrustSnapshot[] = [];
    const warnings: Report[] = [];
    const domains = [{ name: "partner.example", trust: trustPem, crlsPem }];
    const options = {
      ports,
      onChange: (each: TrustSnapshot) => changes.push(each),
      onWarning: (each: Report) => warnings.push(each),
    };
    const trust = await watch({ ...paths, domains }, options);
    gone = true;
    for (const number of [2n, 3n]) {
      await replace(paths.crlsPem, await pki.crls({ number, revoked: [node] }));
      for (let reloads = 0; reloads < 3; reloads++) trust.reload();
      await until("the node's own list", () => numberOf(changes.at(-1)) === number);
    }
    assert.equal(hanging.toSorted(), [mount, crlsPem], "one operation of each");
    assert.equal([...new Set(warnings.map(({ event }) => event))], ["trust.broken"]);
    assert.match(warnings[0]?.message ?? "", `Cannot load ${crlsPem}: its file system does not answer`);
    assert.is(numberOf(changes.at(-1), "partner.example"), 1n, "the previous content stays");
    await replace(crlsPem, await partner.crls({ number: 2n }));
    gone = false;
    back.resolve();
    await until("the partner's list", () => numberOf(changes.at(-1), "partner.example") === 2n);
    await trust.close();
    await real.dispose();
  },
);

/** The number of a domain's list. */
function numberOf(snapshot: TrustSnapshot | undefined, domain?: string): bigint | undefined {
  const lists = snapshot === undefined ? [] : domainOf(snapshot, domain).revocation?.lists ?? [];
  const numbers = lists.map(({ number }) => BigInt(number ?? 0n)).toSorted((a, b) => a < b ? -1 : 1);
  return numbers.at(-1);
}

watching("without onFailed such an error ends the process", async () => {
  const paths = await files();
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  const uncaught = new Promise<unknown>((resolve) => process.once("uncaughtException", resolve));
  try {
    await watch(paths, {
      onChange: () => {
        throw new Error("nobody takes it");
      },
    });
    await replace(paths.crlsPem, await pki.crls({ number: 2n }));
    assert.match(String(await uncaught), /nobody takes it/);
  } finally {
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
});

watching("says nothing more once it is closed, and may be closed twice", async () => {
  const paths = await files();
  let changes = 0;
  const trust = await watch(paths, { onChange: () => changes++ });
  await trust.close();
  await trust.close();
  trust.reload();
  await replace(paths.crlsPem, await pki.crls({ number: 2n }));
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal([changes, trust.snapshot().generation], [0, 1]);
});

watching.run();
