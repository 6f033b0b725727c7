/**
 * The files of a network: a CA, and for each node a certificate and a configuration as `init` writes it, in a folder of their own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "@std/toml";
import { fileURLToPath } from "node:url";
import { Result } from "effect";
import { parseCertificate, type Role } from "../../../pki/certificate.ts";
import { issueCrl, issueIntermediate, issueNode, issueRoot } from "../../../pki/issue/mod.ts";
import { peerIdOf } from "../../../pki/peer_id.ts";
import { writeDataset } from "../../demo/dataset.ts";
import { unmountAll } from "../../demo/unmount_all.ts";
import type { EndFiles } from "../gate/world.ts";

const dayMs = 86_400_000;
const domain = "bench.hypha";
const digits = fileURLToPath(new URL("../../../tests/fixtures/digits.csv", import.meta.url));

/** Makes members of one network. */
export interface NetworkWorld {
  readonly dataset: string;
  /** A worker's directory. */
  workDir(name: string): string;
  /** A node's configuration as TOML. */
  config(name: string, role: Role, more: Readonly<Record<string, unknown>>): Promise<string>;
  /** The same as a file. */
  configFile(name: string, role: Role, more: Readonly<Record<string, unknown>>): Promise<string>;
  /** A member without a configuration. */
  member(name: string, role: Role): Promise<EndFiles>;
  remove(): void;
}

/** Makes the network's CA and its data set. */
export async function makeNetworkWorld(): Promise<NetworkWorld> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-"));
  const now = Date.now();
  const period = { notBefore: new Date(now - dayMs), notAfter: new Date(now + 30 * dayMs) };
  const list = { thisUpdate: new Date(now - dayMs), nextUpdate: new Date(now + 30 * dayMs), number: 1n, revoked: [] };
  const root = await issueRoot({ commonName: "Bench Root", organization: "Bench", ...period });
  const ca = await issueIntermediate({ issuer: root, commonName: "Bench CA", organization: "Bench", ...period });
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const crls = await issueCrl({ issuer: root, ...list }) + await issueCrl({ issuer: ca, ...list });
  const crlsPath = write("crls.pem", crls);
  const { slices } = writeDataset(digits, folder, { shuffleLabels: false });
  const issue = (name: string, role: Role) =>
    issueNode({ issuer: ca, commonName: name, san: [`URI:spiffe://${domain}/${role}/${name}`], ...period });
  const config: NetworkWorld["config"] = async (name, role, more) => {
    const { certPem, keyPem } = await issue(name, role);
    mkdirSync(join(folder, name)); // a node watches the folders of its files: others must not write there
    return stringify({
      cert_pem: write(`${name}/cert.pem`, certPem + ca.certPem),
      key_pem: write(`${name}/key.pem`, keyPem),
      trust_pem: write(`${name}/trust.pem`, root.certPem),
      crls_pem: write(`${name}/crls.pem`, crls),
      trust_domain: domain,
      require_roles: true,
      listen_addresses: ["/ip4/127.0.0.1/tcp/0"],
      exclude_cidr: [],
      state_dir: join(folder, `${name}.state`),
      ...more,
    });
  };
  return {
    dataset: slices,
    workDir: (name) => join(folder, `${name}.work`),
    config,
    configFile: async (name, role, more) => write(`${name}.toml`, await config(name, role, more)),
    member: async (name, role) => {
      const { der, certPem, keyPem } = await issue(name, role);
      const peer = Result.getOrThrow(peerIdOf(Result.getOrThrow(parseCertificate(der, 0))));
      return {
        identity: { name, peer, certPem: certPem + ca.certPem, keyPem },
        chain: [der, ca.der].map((each) => Buffer.from(each).toString("base64")),
        trustPem: root.certPem,
        crlsPath,
      };
    },
    remove: () => {
      unmountAll(folder);
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
