/** What the register answered is on disk, whatever happens to the process; what cannot be written is refused with its reason. */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import {
  chmodSync,
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LogUnusable } from "../../actors/audit/log_unusable.ts";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { answer } from "../../actors/ca/answer.ts";
import { crlOf, derOf } from "../../actors/ca/crl_rows.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { Register, type RegisterRows } from "../../actors/ca/register.ts";
import { renewLists, revoke } from "../../actors/ca/revoke.ts";
import { parseCrl } from "../../pki/crl.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { codeOf, start, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("the CA's register");
const address = "10.0.0.1";

async function inFolder(use: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-register-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const problemOf = (opened: ReturnType<typeof Register.open>) =>
  Result.match(opened, { onSuccess: () => "opened", onFailure: ({ problem }) => problem });
const addFact = (name: string, value: string) => (rows: RegisterRows) =>
  Result.succeed(rows.change("INSERT INTO facts VALUES (?, ?)", name, value));

test("no file of it can be read by others, a backup neither, under any umask", async () => {
  await inFolder(async (folder) => {
    const before = process.umask(0);
    try {
      const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
      Result.getOrThrow(register.transaction(addFact("a", "b")));
      Result.getOrThrow(await register.backup(join(folder, "backup.db")));
      const modes = readdirSync(folder).map((name) => [name, statSync(join(folder, name)).mode & 0o777]);
      assert.equal(modes.toSorted(), [
        ["backup.db", 0o600],
        ["ca.db", 0o600],
        ["ca.db-lock", 0o600],
        ["ca.db-shm", 0o600],
        ["ca.db-wal", 0o600],
      ]);
      register.close();
    } finally {
      process.umask(before);
    }
    chmodSync(join(folder, "ca.db"), 0o640);
    assert.is(problemOf(Register.open(join(folder, "ca.db"))), "open-to-others");
  });
});

test("a backup holds what was there when it was made", async () => {
  await inFolder(async (folder) => {
    const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
    Result.getOrThrow(register.transaction(addFact("a", "b")));
    Result.getOrThrow(await register.backup(join(folder, "backup.db")));
    assert.ok(Result.isFailure(await register.backup(join(folder, "backup.db"))), "nothing is written over");
    register.close();
    const copy = Result.getOrThrow(Register.open(join(folder, "backup.db")));
    assert.is(Result.getOrThrow(copy.read((rows) => rows.all("SELECT * FROM facts").length)), 1);
    copy.close();
  });
});

test("a backup that fails leaves no part of it", async () => {
  await inFolder(async (folder) => {
    const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
    register.close();
    assert.ok(Result.isFailure(await register.backup(join(folder, "backup.db"))));
    assert.equal(readdirSync(folder), ["ca.db", "ca.db-lock"]);
  });
});

test("a second process is refused at once", async () => {
  await inFolder((folder) => {
    const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
    assert.is(problemOf(Register.open(join(folder, "ca.db"))), "locked");
    register.close();
    const again = Result.getOrThrow(Register.open(join(folder, "ca.db")));
    again.close();
  });
});

test("what is no register is not opened, and nothing is made where one is missing or exists", async () => {
  await inFolder((folder) => {
    const file = join(folder, "ca.db");
    assert.is(problemOf(Register.open(file)), "missing");
    writeFileSync(file, "", { mode: 0o600 });
    assert.is(problemOf(Register.open(file)), "foreign");
    writeFileSync(file, Buffer.alloc(8_192, "x"));
    assert.is(problemOf(Register.open(file)), "foreign");
    assert.ok(Result.isFailure(Register.create(file)));
    assert.equal(readFileSync(file), Buffer.alloc(8_192, "x"));
  });
});

test("a register of a later version is not opened", async () => {
  await inFolder((folder) => {
    const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
    Result.getOrThrow(register.transaction((rows) => Result.succeed(rows.first("PRAGMA user_version = 99"))));
    register.close();
    assert.is(problemOf(Register.open(join(folder, "ca.db"))), "foreign");
  });
});

test("a register of version 2 gets the tables of approvals", async () => {
  await inFolder((folder) => {
    const file = join(folder, "ca.db");
    const before = Result.getOrThrow(Register.create(file));
    for (const sql of ["DROP TABLE approvals", "DROP TABLE approval_requests", "DROP TABLE revocation_acts"]) {
      Result.getOrThrow(before.transaction((rows) => Result.succeed(rows.change(sql))));
    }
    Result.getOrThrow(before.transaction((rows) => Result.succeed(rows.first("PRAGMA user_version = 2"))));
    before.close();
    for (let times = 0; times < 2; times++) {
      const after = Result.getOrThrow(Register.open(file));
      const tables = ["approval_requests", "approvals", "revocation_acts"];
      const count = (rows: RegisterRows) => tables.map((each) => rows.all(`SELECT * FROM ${each}`).length);
      assert.equal(Result.getOrThrow(after.read(count)), [0, 0, 0]);
      after.close();
    }
  });
});

/** Damages one page in the middle. */
function damage(file: string): void {
  const pages = statSync(file).size / 4_096;
  const handle = openSync(file, "r+");
  writeSync(handle, Buffer.alloc(4_096, 0xa5), 0, 4_096, Math.floor(pages / 2) * 4_096);
  closeSync(handle);
}

test("a corrupt page is found at the start", async () => {
  await inFolder((folder) => {
    const file = join(folder, "ca.db");
    const register = Result.getOrThrow(Register.create(file));
    for (let index = 0; index < 100; index++) {
      Result.getOrThrow(register.transaction(addFact(`fact-${index}`, "x".repeat(3_000))));
    }
    register.close();
    damage(file);
    assert.is(problemOf(Register.open(file)), "corrupt");
  });
});

test("a corrupt page that is met while running stops the register for good", async () => {
  await inFolder((folder) => {
    const file = join(folder, "ca.db");
    const register = Result.getOrThrow(Register.create(file));
    for (let index = 0; index < 400; index++) {
      Result.getOrThrow(register.transaction(addFact(`fact-${index}`, "x".repeat(3_000))));
    }
    register.close();
    const running = Result.getOrThrow(Register.open(file));
    Result.getOrThrow(running.transaction((rows) => Result.succeed(rows.first("PRAGMA cache_size = 1"))));
    Result.getOrThrow(running.read((rows) => rows.first("PRAGMA shrink_memory")));
    damage(file);
    const read = running.read((rows) => rows.all("SELECT * FROM facts").length);
    assert.ok(Result.isFailure(read));
    assert.is(running.failure?.problem, "corrupt");
    const later = running.transaction(addFact("later", "y"));
    assert.ok(Result.isFailure(later) && later.failure.problem === "corrupt");
    running.close();
  });
});

/** Lets the register grow no further. */
function limitPages(rows: RegisterRows): void {
  const { page_count: pages } = rows.first<{ page_count: number }>("PRAGMA page_count")!;
  rows.first(`PRAGMA max_page_count = ${pages}`);
}

test("a full disk issues nothing, uses up nothing, says why, and ends when there is room", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const requests = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => ({
      token: await world.token(`worker-${index}`),
      csr: (await testCsr()).der,
      address,
    })),
  );
  Result.getOrThrow(ca.register.read(limitPages));
  let issued = 0;
  while (await codeOf(enrol(ca, requests[issued]!, start)) === "done") issued += 1;
  assert.is(ca.register.failure?.problem, "full");
  assert.is(await codeOf(enrol(ca, requests[issued]!, start)), "full", "and again, with the same reason");
  const count = () => Result.getOrThrow(ca.register.read((rows) => rows.all("SELECT 1 FROM certificates").length));
  assert.is(count(), issued);
  const request = { method: "GET", path: "/healthz", authorization: undefined, ifNoneMatch: undefined } as const;
  const health = () => {
    const asked = { ...request, body: new Uint8Array(), certificate: undefined, session: "new", address } as const;
    return Effect.runPromise(Effect.map(answer(ca, asked, start), ({ body }) => String(body)));
  };
  ca.register.tryAgain();
  assert.is(await health(), "register-full\n", "reading does not hide it");
  Result.getOrThrow(ca.register.read((rows) => rows.first("PRAGMA max_page_count = 1000000")));
  assert.is(await health(), "register-full\n");
  ca.register.tryAgain();
  assert.is.not(await health(), "register-full\n");
  assert.is(await codeOf(enrol(ca, requests[issued]!, start)), "done");
  assert.is(ca.register.failure, undefined);
  assert.is(count(), issued + 1);
  world.close();
});

/** What strangers are told about the CA. */
function healthOf(ca: CertificateAuthority): Promise<string> {
  const request = { method: "GET", path: "/healthz", authorization: undefined, ifNoneMatch: undefined } as const;
  const asked = { ...request, body: new Uint8Array(), certificate: undefined, session: "new", address } as const;
  return Effect.runPromise(
    Effect.map(answer(ca, asked, start), ({ status, body }) => `${status} ${String(body).trim()}`),
  );
}

test("a register that another program locks issues nothing, says why, and goes on afterwards", async () => {
  const world = await testAuthority();
  const { ca } = world;
  await Effect.runPromise(renewLists(ca, start));
  const request = { token: await world.token("w-1"), csr: (await testCsr()).der, address };
  const other = new DatabaseSync(ca.register.file);
  other.exec("BEGIN IMMEDIATE");
  assert.is(await codeOf(enrol(ca, request, start)), "locked");
  assert.is(await healthOf(ca), "503 register-locked");
  other.close();
  assert.is(await codeOf(enrol(ca, request, start)), "done");
  assert.is(await healthOf(ca), "200 ok");
  world.close();
});

test("a corrupt page that is met while running: 503, and nothing is issued any more", async () => {
  const world = await testAuthority();
  const { ca } = world;
  await Effect.runPromise(renewLists(ca, start));
  const request = { token: await world.token("w-1"), csr: (await testCsr()).der, address };
  for (let index = 0; index < 400; index++) {
    Result.getOrThrow(ca.register.transaction(addFact(`fact-${index}`, "x".repeat(3_000))));
  }
  Result.getOrThrow(ca.register.read((rows) => rows.first("PRAGMA cache_size = 1")));
  // The file as it is without its log.
  const flush = new DatabaseSync(ca.register.file);
  flush.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  flush.close();
  Result.getOrThrow(ca.register.read((rows) => rows.first("PRAGMA shrink_memory")));
  damage(ca.register.file);
  assert.ok(Result.isFailure(ca.register.read((rows) => rows.all("SELECT * FROM facts").length)));
  assert.is(await healthOf(ca), "503 register-corrupt");
  assert.is(await codeOf(enrol(ca, request, start)), "corrupt");
  ca.register.tryAgain();
  assert.is(await healthOf(ca), "503 register-corrupt", "for good");
  world.close();
});

test("a change that fails or throws leaves nothing behind", async () => {
  await inFolder((folder) => {
    const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
    register.transaction((rows) => (addFact("a", "b")(rows), Result.fail("no")));
    assert.throws(() =>
      register.transaction((rows) => {
        addFact("c", "d")(rows);
        throw new TypeError("a mistake");
      }), /a mistake/);
    assert.is(Result.getOrThrow(register.read((rows) => rows.all("SELECT * FROM facts").length)), 0);
    register.close();
  });
});

/** Starts the child and kills it after a number of lines; what it had answered until then. */
async function killedAfter(folder: string, round: number, lines: number): Promise<readonly Record<string, string>[]> {
  const script = fileURLToPath(new URL("../support/register_child.ts", import.meta.url));
  const flags = "Deno" in globalThis ? ["run", "-A", "--no-check", "-q"] : ["--no-warnings"];
  const child = spawn(process.execPath, [...flags, script, folder, String(round)], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 30_000,
    killSignal: "SIGKILL",
  });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (more: string) => {
    text += more;
    if (text.split("\n").length > lines) process.kill(child.pid!, "SIGKILL");
  });
  await new Promise((resolve) => child.once("close", resolve));
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line) as Record<string, string>);
}

test("killed at any moment: what was answered is there, lists have all that was revoked, numbers never fall", async () => {
  const world = await testAuthority({ from: new Date() });
  const chain = [world.intermediate.der, world.root.der].map((der) => Buffer.from(der).toString("hex"));
  const { keyPem: key } = world.intermediate;
  writeFileSync(join(world.folder, "child.json"), JSON.stringify({ key, chain }), { mode: 0o600 });
  world.ca.register.close();
  let highest = 0n;
  const revoked = new Set<string>();
  for (let round = 0; round < 6; round++) {
    const answers = await killedAfter(world.folder, round, 3 + round * 7);
    assert.ok(answers.length >= 3, "the child answered");
    const register = Result.getOrThrow(Register.open(join(world.folder, "ca.db")));
    const { ca } = world;
    const { serials, list, der, rows: revocations } = Result.getOrThrow(register.read((rows) => ({
      serials: new Set(rows.all<{ serial: string }>("SELECT serial FROM certificates").map(({ serial }) => serial)),
      rows: rows.all<{ serial: string }>("SELECT serial FROM revocations").length,
      list: crlOf(rows, ca.issuerId, "complete")!,
      der: derOf(rows, crlOf(rows, ca.issuerId, "complete")!),
    })));
    const listed = new Set(
      Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(der)))).map(({ serial }) => serial),
    );
    for (const { issued, revoked: serial, number } of answers) {
      if (issued !== undefined) assert.ok(serials.has(issued), "an answered certificate is in the register");
      if (serial === undefined || number === undefined) continue;
      assert.ok(BigInt(number) > highest, "numbers grow");
      highest = BigInt(number);
      revoked.add(serial);
    }
    assert.ok(BigInt(list.number) >= highest, "the list in force is not older than an answered one");
    highest = BigInt(list.number);
    for (const serial of revoked) assert.ok(listed.has(serial), "what was revoked is listed");
    assert.is(listed.size, revocations, "revocations and list are one transaction");
    register.close();
  }
  rmSync(world.folder, { recursive: true });
});

test("revoking with a full disk revokes nothing and keeps the list in force", async () => {
  const world = await testAuthority();
  const { ca } = world;
  const [token, { der: csr }] = [await world.token("worker-01"), await testCsr()];
  assert.is(await codeOf(enrol(ca, { token, csr, address }, start)), "done");
  Result.getOrThrow(ca.register.read(limitPages));
  for (let index = 0; index < 3_000 && ca.register.failure === undefined; index++) {
    ca.register.transaction(addFact(`fill-${index}`, "x".repeat(100)));
  }
  const rows = () =>
    Result.getOrThrow(ca.register.read((register) => register.all("SELECT * FROM revocations").length));
  assert.is(await codeOf(revoke(ca, { name: "worker-01" }, "keyCompromise", start)), "full");
  assert.is(rows(), 0);
  world.close();
});

test("what is recorded is in the audit log before it is committed, and nothing of a transaction that fails", async () => {
  await inFolder((folder) => {
    const file = join(folder, "ca.db");
    const register = Result.getOrThrow(Register.create(file));
    const recorded: string[] = [];
    register.recordTo({
      record: () => {},
      recordNow: (events) => {
        const other = new DatabaseSync(file, { readOnly: true });
        recorded.push(`${events.map(({ type }) => type)}: ${other.prepare("SELECT * FROM facts").all().length}`);
        other.close();
      },
    });
    const enter = (name: string) =>
      register.transaction((rows) => {
        rows.record({ type: name, outcome: "done" });
        rows.record({ type: `${name}-2`, outcome: "done" });
        return addFact(name, "x")(rows);
      });
    Result.getOrThrow(enter("a"));
    register.transaction((rows) => {
      rows.record({ type: "refused", outcome: "done" });
      return Result.fail("refused");
    });
    register.read((rows) => rows.first("SELECT 1"));
    Result.getOrThrow(enter("b"));
    assert.equal(recorded, ["a,a-2: 0", "b,b-2: 1"]);
    register.close();
  });
});

test("what cannot be recorded does not happen, and happens again when the log is back", async () => {
  await inFolder((folder) => {
    const register = Result.getOrThrow(Register.create(join(folder, "ca.db")));
    let isAway = true;
    const recorded: string[] = [];
    register.recordTo({
      record: () => {},
      recordNow: (events) => {
        if (isAway) throw new LogUnusable({ dir: "audit", problem: "unwritable", detail: "disk full" });
        recorded.push(...events.map(({ type }) => type));
      },
    });
    const enter = () =>
      register.transaction((rows) => {
        rows.record({ type: "certificate.issued", outcome: "done" });
        return addFact("a", "b")(rows);
      });
    const refused = enter();
    assert.is(Result.isFailure(refused) ? refused.failure.problem : "", "unrecorded");
    assert.is(Result.getOrThrow(register.read((rows) => rows.all("SELECT * FROM facts").length)), 0);
    register.tryAgain();
    assert.is(register.failure?.problem, "unrecorded");
    isAway = false;
    register.tryAgain();
    assert.is(register.failure, undefined);
    Result.getOrThrow(enter());
    assert.equal(recorded, ["register.tried-again", "certificate.issued"]);
    register.close();
  });
});

test.run();
