/**
 * The demo's PKI by hand: commands of `hypha-certutil` that the specification names, and files that every node reads.
 *
 * @module
 */
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "@std/toml";
import { type Certifier, type Place, placeIn } from "./certifier.ts";
import type { NodePlan } from "./configuration.ts";
import { runTool } from "./tools.ts";

/** Root, intermediate, a list of each in `crls.pem`, and the root alone in `ca-bundle.pem`, all below `folder`. */
export class ByHand implements Certifier {
  readonly way = "by-hand";
  /** One folder for the files of all nodes. */
  readonly #certs: string;
  readonly #configs: string;

  constructor(folder: string) {
    this.#certs = join(folder, "certs");
    this.#configs = join(folder, "config");
  }

  async begin(): Promise<undefined> {
    for (const folder of [this.#certs, this.#configs]) mkdirSync(folder, { recursive: true, mode: 0o700 });
    await certutil("gen-ca", ...this.#out("root-ca"), "--common-name", "Hypha Demo Root CA");
    const names = ["--common-name", "Hypha Demo CA"];
    await certutil("gen-intermediate-ca", ...this.#ca("root"), ...this.#out("intermediate-ca"), ...names);
    copyFileSync(this.#file("root-ca-cert.pem"), this.#file("ca-bundle.pem"));
    for (const name of ["root", "intermediate"]) {
      await certutil("gen-crl", ...this.#ca(name), "--out-crl", this.#file("crls.pem"));
    }
  }

  async certify(plan: NodePlan, values: Readonly<Record<string, unknown>>): Promise<void> {
    const { name, role } = plan;
    // The bundle anchors the root only, so every node sends its intermediate along.
    const says = ["--common-name", this.commonName(name), "--role", role, "--trust-domain", "hypha.local", "--chain"];
    await certutil("gen-cert", ...this.#ca("intermediate"), ...this.#out(name), ...says);
    const { config, cert, key } = this.placeOf(name);
    const files = {
      cert_pem: cert,
      key_pem: key,
      trust_pem: this.#file("ca-bundle.pem"),
      crls_pem: this.#file("crls.pem"),
      require_roles: true,
      // Everything happens on loopback here, which is excluded by default.
      exclude_cidr: [],
    };
    writeFileSync(config, `${stringify({ ...files, ...values })}\n`);
  }

  placeOf(name: string): Place {
    return { ...placeIn(this.#certs, name), config: join(this.#configs, `${name}.toml`) };
  }

  commonName(name: string): string {
    return `${name}.hypha.local`;
  }

  /** Its CA's list in `crls.pem` is replaced; the root's stays. */
  async revoke(name: string): Promise<number> {
    const cert = ["--cert", this.placeOf(name).cert, "--reason", "keyCompromise"];
    const crls = this.#file("crls.pem");
    await certutil("revoke", ...this.#ca("intermediate"), ...cert, "--out-crl", crls);
    return statSync(crls).mtimeMs;
  }

  issuer() {
    const read = (kind: string) => readFileSync(this.#file(`intermediate-ca-${kind}.pem`), "utf8");
    return { certPem: read("cert"), keyPem: read("key") };
  }

  #file(name: string): string {
    return join(this.#certs, name);
  }

  #ca(name: string): string[] {
    return ["--ca-cert", this.#file(`${name}-ca-cert.pem`), "--ca-key", this.#file(`${name}-ca-key.pem`)];
  }

  #out(name: string): string[] {
    return ["--out-cert", this.#file(`${name}-cert.pem`), "--out-key", this.#file(`${name}-key.pem`)];
  }
}

const certutil = (...args: readonly string[]) => runTool("hypha-certutil", ...args);
