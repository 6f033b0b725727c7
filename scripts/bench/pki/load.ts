/**
 * P4, P5 and P14: loading a revocation list of a million entries, from PEM and from DER, compared with `openssl crl`.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { issueRoot } from "../../../pki/issue/mod.ts";
import { formatPem } from "../../../pki/pem.ts";
import { type BenchRow, makeRow } from "../row.ts";
import type { Loaded } from "./load_once.ts";
import { makeRandomList } from "./random_list.ts";

/** A busy machine disturbs some loads: the best of several shows the time of the code itself. */
const attempts = 5;
const timeoutMs = 120_000;
const dayMs = 86_400_000;

/** Rows of P4 and P5, of both forms. The quick form has fewer entries. */
export async function measureLoading({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-"));
  try {
    const at = new Date();
    const period = { notBefore: new Date(at.getTime() - dayMs), notAfter: new Date(at.getTime() + 300 * dayMs) };
    const root = await issueRoot({ commonName: "Bench Root CA", ...period });
    const issuer = Result.getOrThrow(parseCertificate(root.der)).subject.der;
    const path = (name: string) => join(folder, name);
    const make = (entries: number, seed: number) =>
      makeRandomList({ issuer, key: createPrivateKey(root.keyPem), entries, seed, at }).der;
    const large = make(quick ? 20_000 : 1_000_000, 1);
    writeFileSync(path("root.pem"), root.certPem);
    writeFileSync(path("small.der"), make(10_000, 2));
    writeFileSync(path("large.der"), large);
    writeFileSync(path("large.pem"), formatPem("X509 CRL", large));
    const rows = (["pem", "der"] as const).map((form) => measureForm(path, form, { size: large.length, quick }));
    return rows.flat();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function measureForm(
  path: (name: string) => string,
  form: "pem" | "der",
  { size, quick }: { readonly size: number; readonly quick: boolean },
): readonly BenchRow[] {
  const file = path(`large.${form}`);
  const count = quick ? 1 : attempts;
  const openssl = best(count, () => {
    const start = performance.now();
    execFileSync("openssl", ["crl", "-in", file, "-inform", form, "-noout"], { timeout: timeoutMs });
    return performance.now() - start;
  });
  const loads = Array.from({ length: count }, () => loadOnce([path("root.pem"), file, path("small.der")]));
  const least = (read: (loaded: Loaded) => number) => Math.min(...loads.map(read));
  const entries = loads[0]!.entries.toLocaleString("en");
  const what = (of: string) => `${of} of a ${form.toUpperCase()} list of ${entries} entries`;
  const peer = { name: "openssl crl -noout", value: openssl };
  const whole = { name: "size of its DER", value: size };
  const bytes = { unit: "bytes", op: "<=", peer: whole } as const;
  const stall = (id: string) =>
    makeRow({
      id: `${id}.${form}`,
      what: what("longest stall of the event loop at the loading"),
      unit: "ms",
      value: least(({ stallMs }) => stallMs),
      op: "<=",
      target: 20,
      beside: { name: "an idle loop", value: least(({ idleStallMs }) => idleStallMs) },
    });
  return [
    stall("P4.stall"),
    stall("P14.crl"),
    makeRow({
      id: `P4.wall.${form}`,
      what: what("loading, signature checked,"),
      unit: "ms",
      value: least(({ wallMs }) => wallMs),
      op: "<=",
      target: 3,
      peer,
    }),
    makeRow({
      id: `P5.kept.${form}`,
      what: what("memory kept"),
      value: least((each) => each.keptBytes),
      target: 0.6,
      ...bytes,
    }),
    makeRow({
      id: `P5.peak.${form}`,
      what: what("peak of RSS over idle, thread included, at the loading"),
      value: least((each) => each.peakBytes),
      target: 2.5,
      ...bytes,
    }),
  ];
}

function loadOnce(args: readonly string[]): Loaded {
  const script = fileURLToPath(new URL("./load_once.ts", import.meta.url));
  const flags = "Deno" in globalThis
    ? ["run", "-A", "--quiet", "--v8-flags=--expose-gc"]
    : ["--no-warnings", "--expose-gc"];
  const stdout = execFileSync(process.execPath, [...flags, script, ...args], { timeout: timeoutMs, encoding: "utf8" });
  return JSON.parse(stdout) as Loaded;
}

function best(count: number, measure: () => number): number {
  return Math.min(...Array.from({ length: count }, measure));
}
