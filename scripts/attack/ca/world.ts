/**
 * A CA under attack, and what attackers and honest nodes need.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { initCa } from "../../../actors/ca/init_ca.ts";
import { askAdmin } from "../../../actors/admin/ask_admin.ts";
import { realServices } from "../../../actors/runtime/real_ports.ts";
import { issueCsr } from "../../../pki/issue/mod.ts";
import { formatPem, parsePem } from "../../../pki/pem.ts";
import { freePort } from "../../program/free_ports.ts";
import { siegePolicy } from "./approvers.ts";
import { flagsOf, LineProcess } from "../line_process.ts";
import { askCa, type CaAsk, type CaReply } from "./client.ts";
import type { CaFootprint } from "./victim.ts";

const answerMs = 120_000;
const graceMs = 3_000;

/** An enrolled node. */
export interface Member {
  readonly name: string;
  readonly token: string;
  readonly csr: Uint8Array;
  readonly keyPem: string;
  readonly certPem: string;
  readonly leaf: Uint8Array;
}

/** A token as the operator makes it. */
export interface TokenTerms {
  readonly role?: string;
  readonly lifetime_s?: number;
  readonly replace?: boolean;
  /** For a key in hardware. */
  readonly identity?: boolean;
}

/** Everything that an attack takes place in. */
export class CaWorld {
  readonly url: string;
  readonly port: number;
  readonly folder: string;
  readonly #process: LineProcess;
  #names = 0;
  #attack = 1;

  private constructor(folder: string, port: number, process: LineProcess) {
    this.folder = folder;
    this.port = port;
    this.url = `https://127.0.0.1:${port}`;
    this.#process = process;
  }

  /** Makes a CA and starts it on a runtime. */
  static async start(runtime: "node" | "deno", program: string): Promise<CaWorld> {
    const [folder, port] = [mkdtempSync(join(tmpdir(), "hypha-siege-")), await freePort()];
    const request = { domain: "acme.example", url: `https://127.0.0.1:${port}`, name: "ca-01", gateways: [] };
    const made = initCa({ ...request, policy: await siegePolicy(), folder: join(folder, "ca") }, new Date());
    const { config } = await Effect.runPromise(made.pipe(Effect.provide(realServices)));
    writeFileSync(config, readFileSync(config, "utf8").replace("0.0.0.0", "127.0.0.1"));
    const script = fileURLToPath(new URL("victim.ts", import.meta.url));
    const process = new LineProcess(program, [...flagsOf(runtime), script, config]);
    await process.next(answerMs);
    return new CaWorld(folder, port, process);
  }

  /** The CA's admin socket. */
  get socket(): string {
    return join(this.folder, "ca", "state", "admin.sock");
  }

  get exits(): number {
    return this.#process.exits;
  }

  footprint(): Promise<CaFootprint> {
    this.#process.send("footprint");
    return this.#process.next(answerMs);
  }

  ask(path: string, asked: CaAsk = {}): Promise<CaReply> {
    return askCa(`${this.url}${path}`, asked);
  }

  /** Gives the next attack addresses of its own. */
  nextAttack(): void {
    this.#attack += 1;
  }

  /** Another address of loopback for every ten attempts: the limit of failures must not be what refuses them. */
  addressOf(index: number): string {
    const place = Math.floor(index / 10);
    return `127.${this.#attack}.${place >> 7}.${1 + (place & 0x7f)}`;
  }

  /** A fresh name. */
  name(): string {
    return `w-${this.#names += 1}`;
  }

  async token(name: string, terms: TokenTerms = {}): Promise<string> {
    const { status, body } = await this.#admin("POST /ca/token", { role: "worker", name, ...terms });
    if (status !== 200) throw new Error(`the operator got no token: ${JSON.stringify(body)}`);
    return (body as { readonly token: string }).token;
  }

  /** Certificates that are in force. */
  async issued(): Promise<number> {
    const { body } = await this.#admin("GET /status");
    return (body as { readonly certificates: number }).certificates;
  }

  /** Sends a signing request with a token. */
  enrol(token: string, csr: Uint8Array, more: CaAsk = {}): Promise<CaReply> {
    const headers = { authorization: `Bearer ${token}`, ...more.headers };
    const body = Buffer.from(csr).toString("base64");
    return this.ask("/.well-known/est/simpleenroll", { method: "POST", body, ...more, headers });
  }

  /** Renews with a certificate. */
  renew({ certPem: cert, keyPem: key }: Pick<Member, "certPem" | "keyPem">, csr: Uint8Array, more: CaAsk = {}) {
    const body = Buffer.from(csr).toString("base64");
    return this.ask("/.well-known/est/simplereenroll", { method: "POST", body, cert, key, ...more });
  }

  /** Enrols a node. */
  async member(): Promise<Member> {
    const name = this.name();
    const token = await this.token(name);
    const { csr, keyPem } = await makeCsr(name);
    const { code, body } = await this.enrol(token, csr, { localAddress: honestAddress });
    if (code !== "ok") throw new Error(`an honest node was refused: ${code}`);
    const leaf = leafIn(body);
    return { name, token, csr, keyPem, leaf, certPem: formatPem("CERTIFICATE", leaf) };
  }

  async stop(): Promise<void> {
    await this.#process.end("stop", graceMs);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #admin(route: string, body?: unknown) {
    return Effect.runPromise(askAdmin(this.socket, route, body));
  }

  /** Asks over the admin socket, as a process of the operator's user: the answer's code, and its body. */
  async operate(route: string, body?: unknown): Promise<{ readonly code: string; readonly body: unknown }> {
    const answer = await this.#admin(route, body);
    const { code = `status-${answer.status}` } = answer.body as { readonly code?: string };
    return { code, body: answer.body };
  }
}

/** Where honest clients come from. */
export const honestAddress = "127.0.200.1";

/** A signing request, DER. */
export async function makeCsr(commonName: string, keyPem?: string) {
  const made = await issueCsr({ commonName, san: [], ...(keyPem === undefined ? {} : { keyPem }) });
  return { csr: derOf(made.csrPem), keyPem: made.keyPem };
}

/** DER of a PEM's first block. */
export const derOf = (pem: string): Uint8Array => Uint8Array.from(Result.getOrThrow(parsePem(pem))[0]!.der);

/** The one certificate of a certs-only answer. */
export function leafIn(body: Buffer): Uint8Array {
  const der = Buffer.from(body.toString("latin1"), "base64");
  // [0] certificates: IMPLICIT SET, behind the content's type; the sets of digests and signers are empty.
  for (let at = 0; at + 4 < der.length; at++) {
    if (der[at] !== 0xa0 || der[at + 1] !== 0x82 || der[at + 4] !== 0x30 || der[at + 5] !== 0x82) continue;
    if (der[at + 8] !== 0x30) continue; // not the content itself, which begins with its version
    const length = der.readUInt16BE(at + 6) + 4;
    if (length === der.readUInt16BE(at + 2)) return Uint8Array.from(der.subarray(at + 4, at + 4 + length));
  }
  throw new Error("the answer has no certificate");
}
