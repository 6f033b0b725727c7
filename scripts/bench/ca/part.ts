/**
 * The part `ca` of the performance table (P16): what a CA issues, finds and revokes, and its idle memory.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { Effect, Result } from "effect";
import { loadCaConfig } from "../../../actors/ca/ca_config.ts";
import type { CertificateAuthority } from "../../../actors/ca/certificate_authority.ts";
import { type CrlKind, crlOf, enterRevocations } from "../../../actors/ca/crl_rows.ts";
import { enrol } from "../../../actors/ca/enrol.ts";
import { initCa } from "../../../actors/ca/init_ca.ts";
import { openAuthority } from "../../../actors/ca/open_authority.ts";
import { pageOfNodes } from "../../../actors/ca/operator_views.ts";
import { renewLists, revoke } from "../../../actors/ca/revoke.ts";
import { createToken } from "../../../actors/ca/token_rows.ts";
import { realServices } from "../../../actors/runtime/real_ports.ts";
import { parseCertificate } from "../../../pki/certificate.ts";
import { issueCsr } from "../../../pki/issue/mod.ts";
import { parsePem } from "../../../pki/pem.ts";
import { scriptCommand } from "../../check/runtimes.ts";
import { type BenchRow, makeRow, median } from "../row.ts";
import { measureStall } from "../stall.ts";

interface Plan {
  /** Certificates that are issued. */
  readonly issued: number;
  /** Certificates of the large register. */
  readonly known: number;
  /** Revoked certificates of the large list. */
  readonly revoked: number;
  /** Repetitions of what is measured in milliseconds. */
  readonly rounds: number;
  /** The program has settled after this long, in milliseconds. */
  readonly settleMs: number;
}
const full: Plan = { issued: 2_000, known: 1_000_000, revoked: 100_000, rounds: 7, settleMs: 10_000 };
const short: Plan = { issued: 10, known: 2_000, revoked: 1_000, rounds: 1, settleMs: 100 };

/** Measures it. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const plan = quick ? short : full;
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-ca-"));
  try {
    const request = { domain: "acme.example", url: "https://127.0.0.1:18443", name: "ca-01", gateways: [] };
    const made = initCa({ ...request, folder: join(folder, "ca") }, new Date()).pipe(Effect.provide(realServices));
    const { config } = await Effect.runPromise(made);
    const idle = await idleRow(config, plan);
    const ca = await Effect.runPromise(Effect.flatMap(loadCaConfig(config), (each) => openAuthority(each, () => {})));
    ca.register.prepareThreads();
    try {
      return [idle, await issueRow(ca, plan), ...await listRows(ca, plan), ...await nodesRows(ca, plan)];
    } finally {
      ca.register.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The program, started as its users start it. */
async function idleRow(config: string, { settleMs }: Plan): Promise<BenchRow> {
  const runtime = "Deno" in globalThis ? "deno" : "node";
  const [self, ...flags] = scriptCommand(runtime);
  const script = new URL("../../hypha_ca.ts", import.meta.url).pathname;
  const child = spawn(self, [...flags, script, "run", "-c", config], { stdio: ["ignore", "ignore", "pipe"] });
  try {
    await new Promise((resolve, reject) => {
      child.once("exit", () => reject(new Error("the CA ended")));
      child.stderr.on("data", (part) => String(part).includes("listens on port") && resolve(undefined));
    });
    await pause(settleMs);
    const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
    const value = Number(kilobytes) / 1_000;
    return makeRow({ id: "P16.rss", what: "resident memory of an idle CA", unit: "MB", value, op: "<=", target: 200 });
  } finally {
    child.removeAllListeners("exit");
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  }
}

async function enrolled(ca: CertificateAuthority, name: string, csr: Uint8Array): Promise<Uint8Array> {
  const [at, address] = [new Date(), "10.0.0.1"];
  const { text: token } = await Effect.runPromise(createToken(ca, { role: "worker", name, replaces: "no" }, at));
  return await Effect.runPromise(enrol(ca, { token, csr, address }, at));
}

async function makeCsr(): Promise<Uint8Array> {
  const { csrPem } = await issueCsr({ commonName: "any", san: [] });
  return Uint8Array.from(Result.getOrThrow(parsePem(csrPem))[0]!.der);
}

/** Token and certificate, without the node's half. */
async function issueRow(ca: CertificateAuthority, { issued }: Plan): Promise<BenchRow> {
  const requests: Uint8Array[] = [];
  for (let index = 0; index < issued; index++) requests.push(await makeCsr());
  await enrolled(ca, "warm", await makeCsr());
  const before = process.cpuUsage();
  for (const [index, csr] of requests.entries()) await enrolled(ca, `issued-${index}`, csr);
  const { user, system } = process.cpuUsage(before);
  return makeRow({
    id: "P16.issue",
    what: "certificates in a second of processor time, with their tokens",
    unit: "1/s",
    value: issued / ((user + system) / 1e6),
    op: ">=",
    target: 200,
  });
}

/** Revoking in a long list. */
async function listRows(ca: CertificateAuthority, { revoked, rounds }: Plan): Promise<readonly BenchRow[]> {
  const chunk = 5_000;
  for (let from = 0; from < revoked; from += chunk) {
    const rows = Array.from({ length: Math.min(chunk, revoked - from) }, (_, index) => ({
      ...{ position: from + index + 1, issuer: ca.issuerId, revoked: Date.now(), reason: "superseded" as const },
      ...{ serial: (0x4000_0000 + from + index).toString(16).padEnd(40, "7"), not_after: null },
    }));
    Result.getOrThrow(ca.register.transaction((register) => Result.succeed(enterRevocations(register, rows))));
  }
  await Effect.runPromise(renewLists(ca, new Date()));
  const sizeOf = (kind: CrlKind) =>
    Result.getOrThrow(ca.register.read((rows) => crlOf(rows, ca.issuerId, kind)))?.size ?? Number.NaN;
  const measured: { readonly pieceMs: number; readonly wallMs: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    const { serial } = Result.getOrThrow(parseCertificate(await enrolled(ca, `revoked-${round}`, await makeCsr())));
    const revoking = () => Effect.runPromise(revoke(ca, { serial }, "keyCompromise", new Date()));
    measured.push(await measureStall(revoking));
  }
  const what = `revoking in a list of ${revoked.toLocaleString("en")}`;
  return [
    makeRow({
      ...{
        id: "P16.piece",
        what: `${what}: the longest piece of the event loop's work`,
        unit: "ms",
        op: "<=",
        target: 20,
      },
      value: median(measured.map(({ pieceMs }) => pieceMs)),
    }),
    makeRow({
      ...{ id: "P16.revoke", what: `${what}, by the clock`, unit: "ms", op: "<=", target: 1_000 },
      value: median(measured.map(({ wallMs }) => wallMs)),
    }),
    makeRow({
      ...{ id: "P16.delta", what: `${what}: what each node fetches, after ${rounds} of them`, unit: "B", op: "<=" },
      ...{ target: 40_000, value: sizeOf("delta"), beside: { name: "the base, for newcomers", value: sizeOf("base") } },
    }),
  ];
}

/** Names in a large register. */
async function nodesRows(ca: CertificateAuthority, { known, rounds }: Plan): Promise<readonly BenchRow[]> {
  const end = Date.now() + 86_400_000;
  const sql = `
WITH RECURSIVE n (i) AS (SELECT CAST(? AS INTEGER) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
INSERT INTO certificates SELECT lower(hex(randomblob(32))), ?, '40' || lower(hex(randomblob(19))),
  'spiffe://acme.example/worker/known-' || (i / 10), 'known-' || (i / 10), lower(hex(randomblob(32))),
  ? - i, ? + i, zeroblob(650), NULL, NULL FROM n`;
  const chunk = 20_000;
  for (let from = 0; from < known; from += chunk) {
    Result.getOrThrow(
      ca.register.transaction((rows) =>
        Result.succeed(rows.change(sql, from, Math.min(known, from + chunk), ca.issuerId, end - 86_400_000, end))
      ),
    );
  }
  const spent: number[] = [];
  const pieces: number[] = [];
  for (let round = 0; round < rounds * 20; round++) {
    const name = `known-${(round * 7_919) % (known / 10)}`;
    const from = performance.now();
    const { nodes } = await Effect.runPromise(pageOfNodes(ca, { name }, new Date())) as { readonly nodes: unknown[] };
    spent.push(performance.now() - from);
    if (nodes.length !== 10) throw new Error(`${name} has ${nodes.length} certificates`);
  }
  for (let round = 0; round < rounds; round++) {
    const name = `known-${round}`;
    pieces.push((await measureStall(() => Effect.runPromise(revoke(ca, { name }, "superseded", new Date())))).pieceMs);
  }
  const of = `among ${known.toLocaleString("en")} certificates`;
  return [
    makeRow({
      ...{ id: "P16.nodes", what: `the certificates of a name ${of}`, unit: "ms", op: "<=", target: 10 },
      value: median(spent),
      beside: { name: "the slowest", value: Math.max(...spent) },
    }),
    makeRow({
      ...{ id: "P16.name-piece", what: `revoking a name ${of}: the longest piece`, unit: "ms", op: "<=", target: 20 },
      value: median(pieces),
    }),
  ];
}
