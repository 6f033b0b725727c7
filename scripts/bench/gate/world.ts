/**
 * Certificates and revocation lists for the measurements, in a folder of their own.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { issueCrl, issueIntermediate, issueNode, issueRoot } from "../../../pki/issue/mod.ts";
import { peerIdOf } from "../../../pki/peer_id.ts";
import { makeRandomList } from "../pki/random_list.ts";
import type { EndSetup } from "./endpoint.ts";

const dayMs = 86_400_000;
const entriesMany = 1_000_000;

/** What one end is made of, its way aside. */
export type EndFiles = Omit<EndSetup, "way" | "listens">;

/** Members and lists. */
export interface BenchWorld {
  readonly listener: EndFiles;
  readonly dialler: EndFiles;
  /** On {@linkcode revokingPath}. */
  readonly revoked: EndFiles;
  readonly revokingPath: string;
  /** A list of a million, or of a thousand in a quick run, of which none is a member. */
  readonly longPath: string;
  /** A member whose certificate ends in so many milliseconds, on a full second, and when that is in milliseconds since the epoch. */
  expiring(inMs: number): Promise<{ readonly end: EndFiles; readonly at: number }>;
  /** So many members. */
  members(count: number): Promise<readonly EndFiles[]>;
  remove(): void;
}

/** Makes them. */
export async function makeBenchWorld({ quick }: { readonly quick: boolean }): Promise<BenchWorld> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-"));
  const now = Date.now();
  const period = { notBefore: new Date(now - dayMs), notAfter: new Date(now + 30 * dayMs) };
  const list = { thisUpdate: new Date(now - dayMs), nextUpdate: new Date(now + 30 * dayMs), number: 1n };
  const root = await issueRoot({ commonName: "Bench Root", organization: "Bench", ...period });
  const ca = await issueIntermediate({ issuer: root, commonName: "Bench CA", organization: "Bench", ...period });
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const rootList = await issueCrl({ issuer: root, revoked: [], ...list });
  const crlsPath = write("empty.pem", rootList + await issueCrl({ issuer: ca, revoked: [], ...list }));
  const member = async (name: string, notAfter = period.notAfter): Promise<EndFiles> => {
    const issued = await issueNode({ issuer: ca, commonName: name, ...period, notAfter });
    const certificate = Result.getOrThrow(parseCertificate(issued.der, 0));
    return {
      identity: {
        name,
        peer: Result.getOrThrow(peerIdOf(certificate)),
        certPem: issued.certPem + ca.certPem,
        keyPem: issued.keyPem,
      },
      chain: [issued.der, ca.der].map((der) => Buffer.from(der).toString("base64")),
      trustPem: root.certPem,
      crlsPath,
    };
  };
  const [listener, dialler, revoked] = [await member("listener"), await member("dialler"), await member("revoked")];
  const leaf = Result.getOrThrow(parseCertificate(Buffer.from(revoked.chain[0]!, "base64"), 0));
  const serial = leaf.serial;
  const revocation = [{ serial, date: new Date(now - 1_000), reason: undefined }];
  const revoking = await issueCrl({ issuer: ca, revoked: revocation, ...list, number: 2n });
  const { der } = makeRandomList({
    issuer: Result.getOrThrow(parseCertificate(ca.der, 0)).subject.der,
    key: createPrivateKey(ca.keyPem),
    entries: quick ? 1_000 : entriesMany,
    seed: 7,
    at: new Date(now),
  });
  const base64 = Buffer.from(der).toString("base64").replace(/.{64}/g, "$&\n");
  const long = `-----BEGIN X509 CRL-----\n${base64}\n-----END X509 CRL-----\n`;
  return {
    listener,
    dialler,
    revoked,
    revokingPath: write("revoking.pem", rootList + revoking),
    longPath: write("long.pem", rootList + long),
    expiring: async (inMs) => {
      const at = Math.ceil((Date.now() + inMs) / 1_000) * 1_000;
      return { end: await member("expiring", new Date(at)), at };
    },
    members: async (count) => {
      const made: EndFiles[] = [];
      while (made.length < count) made.push(await member(`member ${made.length}`));
      return made;
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
