/**
 * P2: the cost of verifying a chain compared with its raw signature checks; P3: a lookup; parsing compared with other parsers.
 *
 * @module
 */
import "reflect-metadata";
import { Buffer } from "node:buffer";
import { createPublicKey, generateKeyPairSync, verify, X509Certificate } from "node:crypto";
import { X509Certificate as PeculiarCertificate } from "@peculiar/x509";
import { Result } from "effect";
import { parseCertificate } from "../../../pki/certificate.ts";
import { VerificationCache } from "../../../pki/verification_cache.ts";
import { findRevocation, parseCrl } from "../../../pki/crl.ts";
import { issueCrl, issueIntermediate, issueNode, issueRoot } from "../../../pki/issue/mod.ts";
import { parsePem } from "../../../pki/pem.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { cpuOf, type CpuOptions } from "../cpu.ts";
import { type BenchRow, makeRow } from "../row.ts";
import { makeRandomList } from "./random_list.ts";

const at = new Date("2026-11-25T12:00:00Z");
const dayMs = 86_400_000;
const period = { notBefore: new Date(at.getTime() - dayMs), notAfter: new Date(at.getTime() + 300 * dayMs) };
/** Serials looked up, over and over: those of a node's peers, none of which is revoked. */
const peers = 200;

/** A root, an intermediate, a node, and the lists of both CAs. */
async function makeWorld() {
  const root = await issueRoot({ commonName: "Bench Root CA", ...period });
  const middle = await issueIntermediate({ issuer: root, commonName: "Bench CA", ...period });
  const leaf = await issueNode({ issuer: middle, commonName: "worker-01.bench", ...period });
  const list = (issuer: typeof root) =>
    issueCrl({ issuer, revoked: [], number: 1n, thisUpdate: period.notBefore, nextUpdate: period.notAfter });
  const crlsPem = await list(root) + await list(middle);
  return { root, middle, leaf, crlsPem };
}

/** Rows of P2. */
export async function measureVerification(options: CpuOptions): Promise<readonly BenchRow[]> {
  const { root, middle, leaf, crlsPem } = await makeWorld();
  const made = makeTrustSnapshot({ trustPem: root.certPem, crlsPem, policy: defaultPolicy, generation: 1, at });
  const { snapshot } = Result.getOrThrow(made);
  const chain = [leaf.der, middle.der];
  const links = ([[leaf, middle], [middle, root]] as const).map(([child, issuer]) => {
    const { tbs, signature } = Result.getOrThrow(parseCertificate(child.der));
    const { spki } = Result.getOrThrow(parseCertificate(issuer.der)).publicKey;
    return { tbs, signature, key: createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" }) };
  });
  const raw = () => {
    for (const { tbs, signature, key } of links) {
      if (!verify(null, tbs, key, signature)) throw new Error("bad signature");
    }
  };
  const cache = new VerificationCache();
  const verifyChain = (remembered: boolean) => () => {
    const outcome = verifyPath(chain, snapshot, remembered ? { at, cache } : { at });
    if (Result.isFailure(outcome)) throw outcome.failure;
  };
  verifyChain(true)();
  const [rawUs, freshUs, seenUs] = cpuOf([raw, verifyChain(false), verifyChain(true)], options) as [
    number,
    number,
    number,
  ];
  const peer = { name: "node:crypto verify, both signatures", value: rawUs };
  const common = { unit: "µs CPU", op: "<=", peer } as const;
  return [
    makeRow({
      id: "P2.verify",
      what: "chain and lists of leaf + intermediate",
      value: freshUs,
      target: 1.4,
      ...common,
    }),
    makeRow({ id: "P2.remembered", what: "the same, seen before", value: seenUs, target: 0.05, ...common }),
  ];
}

/** The row of P3's lookup. */
export function measureLookup({ quick }: CpuOptions): readonly BenchRow[] {
  const { privateKey } = generateKeyPairSync("ed25519");
  const issuer = Uint8Array.of(0x30, 13, 0x31, 11, 0x30, 9, 6, 3, 0x55, 4, 3, 0x0c, 2, 0x43, 0x41);
  const listOf = (entries: number, seed: number) => {
    const { der, serial } = makeRandomList({ issuer, key: privateKey, entries, seed, at });
    return { list: Result.getOrThrow(parseCrl(der)), serial };
  };
  const [large, small, others] = [listOf(quick ? 10_000 : 1_000_000, 1), listOf(10, 2), listOf(peers, 3)];
  const serials = Array.from({ length: peers }, (_, index) => others.serial(index));
  const lookUp = ({ list }: typeof large) => () => {
    for (const serial of serials) if (findRevocation(list, serial) !== undefined) throw new Error("found");
  };
  if (findRevocation(large.list, large.serial(7)) === undefined) throw new Error("not found");
  const [many, few] = cpuOf([lookUp(large), lookUp(small)], { quick }) as [number, number];
  const what = `a lookup among 1,000,000 entries, of the serials of ${peers} peers`;
  const peer = { name: "among 10 entries", value: few * 1_000 / peers };
  return [makeRow({ id: "P3.lookup", what, unit: "ns CPU", value: many * 1_000 / peers, op: "<=", target: 1.1, peer })];
}

/** How parsing compares with other parsers, each asked for the names, the dates, the serial and the key. */
export async function measureParsing(options: CpuOptions): Promise<readonly BenchRow[]> {
  const { leaf } = await makeWorld();
  const der = Result.getOrThrow(parsePem(leaf.certPem))[0]!.der;
  let seen = 0;
  const ours = () => {
    const { subject, issuer, serial, period, publicKey } = Result.getOrThrow(parseCertificate(der));
    seen += subject.text.length + issuer.text.length + serial.length + period.notAfter.getTime() + publicKey.raw.length;
  };
  const native = () => {
    const { subject, issuer, serialNumber, validTo, publicKey } = new X509Certificate(der);
    seen += subject.length + issuer.length + serialNumber.length + validTo.length + publicKey.type.length;
  };
  const peculiar = () => {
    const { subject, issuer, serialNumber, notAfter, publicKey } = new PeculiarCertificate(Uint8Array.from(der));
    seen += subject.length + issuer.length + serialNumber.length + notAfter.getTime() + publicKey.rawData.byteLength;
  };
  const [own, node, other] = cpuOf([ours, native, peculiar], options).map((us) => 1_000_000 / us) as [
    number,
    number,
    number,
  ];
  if (!Number.isFinite(seen)) throw new Error("nothing was read");
  const common = { what: "certificates parsed", unit: "1/s CPU", value: own, op: ">=", target: 1 } as const;
  return [
    makeRow({ id: "parse.node", ...common, peer: { name: "node:crypto X509Certificate", value: node } }),
    makeRow({ id: "parse.peculiar", ...common, peer: { name: "@peculiar/x509", value: other } }),
  ];
}
