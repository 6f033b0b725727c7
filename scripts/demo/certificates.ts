/**
 * The demo's PKI, made with the commands that the specification names, and the certificates of its intruders.
 *
 * @module
 */
import { copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Console, Effect } from "effect";
import { issueNode, issueRoot } from "../../pki/issue/mod.ts";
import { runCertutil } from "../certutil/program.ts";
import { BrokenPromise } from "./broken_promise.ts";

const dayMs = 86_400_000;

/** Runs a command of `hypha-certutil` in this process: a process for each would take half a second of a core. */
async function run(...args: readonly string[]): Promise<void> {
  const printed: string[] = [];
  const keep = (...values: readonly unknown[]) => void printed.push(values.join(" "));
  const console = { ...globalThis.console, log: keep, error: keep };
  const { code, notice } = await runCertutil(args, (effect) => Effect.provideService(effect, Console.Console, console));
  if (code === 0) return;
  throw new BrokenPromise(`hypha-certutil ${args[0]} ended with ${code}: ${notice ?? printed.join("; ")}`);
}

/** Files of one CA. */
const ca = (folder: string, name: string) => [
  "--ca-cert",
  join(folder, `${name}-ca-cert.pem`),
  "--ca-key",
  join(folder, `${name}-ca-key.pem`),
];

/** The data for a node's certificate. */
interface Certified {
  readonly name: string;
  readonly role: "gateway" | "scheduler" | "worker" | "data";
}

/** root → intermediate → one certificate a node, naming its role, a list of each CA in `crls.pem`, the root alone in `ca-bundle.pem`. */
export async function makeCertificates(folder: string, nodes: readonly Certified[]): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const out = (name: string) => [
    "--out-cert",
    join(folder, `${name}-cert.pem`),
    "--out-key",
    join(folder, `${name}-key.pem`),
  ];
  await run("gen-ca", ...out("root-ca"), "--common-name", "Hypha Demo Root CA");
  const intermediate = [...ca(folder, "root"), ...out("intermediate-ca"), "--common-name", "Hypha Demo CA"];
  await run("gen-intermediate-ca", ...intermediate);
  copyFileSync(join(folder, "root-ca-cert.pem"), join(folder, "ca-bundle.pem"));
  const issue = async ({ name, role }: Certified) => {
    // The bundle anchors the root only, so every node sends its intermediate along.
    const says = ["--common-name", `${name}.hypha.local`, "--role", role, "--trust-domain", "hypha.local", "--chain"];
    await run("gen-cert", ...ca(folder, "intermediate"), ...out(name), ...says);
  };
  for (const node of nodes) await issue(node);
  for (const name of ["root", "intermediate"]) {
    await run("gen-crl", ...ca(folder, name), "--out-crl", join(folder, "crls.pem"));
  }
}

/** Revokes a node's certificate: its CA's list in `crls.pem` is replaced, the root's stays. */
export async function revokeCertificate(folder: string, name: string): Promise<void> {
  const cert = ["--cert", join(folder, `${name}-cert.pem`), "--reason", "keyCompromise"];
  await run("revoke", ...ca(folder, "intermediate"), ...cert, "--out-crl", join(folder, "crls.pem"));
}

/** One who tries to get in without being entitled, and the code that has to meet it. */
export interface Intruder {
  readonly name: string;
  /** The name in its certificate; the gateway's log uses it. */
  readonly commonName: string;
  readonly code: string;
  readonly certPem: string;
  readonly keyPem: string;
}

/** A certificate of an unknown CA, an expired one, and a self-signed one. */
export async function makeIntruders(folder: string, at: Date): Promise<Intruder[]> {
  const days = (count: number) => new Date(at.getTime() + count * dayMs);
  const valid = { notBefore: days(-1), notAfter: days(30) };
  const stranger = await issueRoot({ commonName: "Somebody Else's CA", ...valid });
  const unknown = await issueNode({ issuer: stranger, commonName: "unknown-ca.intruder", ...valid });
  const issuer = {
    certPem: readFileSync(join(folder, "intermediate-ca-cert.pem"), "utf8"),
    keyPem: readFileSync(join(folder, "intermediate-ca-key.pem"), "utf8"),
  };
  const past = { notBefore: days(-30), notAfter: days(-1) };
  const expired = await issueNode({ issuer, commonName: "expired.intruder", ...past });
  const selfSigned = await issueRoot({ commonName: "self-signed.intruder", ...valid });
  return [
    {
      name: "unknown CA",
      commonName: "unknown-ca.intruder",
      code: "unknown-issuer",
      certPem: unknown.certPem,
      keyPem: unknown.keyPem,
    },
    {
      name: "expired",
      commonName: "expired.intruder",
      code: "certificate-expired",
      certPem: expired.certPem + issuer.certPem,
      keyPem: expired.keyPem,
    },
    {
      name: "self-signed",
      commonName: "self-signed.intruder",
      code: "self-signed",
      certPem: selfSigned.certPem,
      keyPem: selfSigned.keyPem,
    },
  ];
}
