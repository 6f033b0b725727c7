/**
 * The network that hostile members attack: its CA, the nodes under attack, and certificates for honest and hostile members.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { type CommonConfig, type ExecutorConfig, type RoleConfig } from "../../../actors/config/config.ts";
import { cellDefault } from "../../../actors/config/cell_config.ts";
import { aggregationDefault } from "../../../actors/config/defaults.ts";
import { parseCertificate, type Role } from "../../../pki/certificate.ts";
import { issueCrl, issueIntermediate, issueNode, type IssuerFiles, issueRoot } from "../../../pki/issue/mod.ts";
import { encodeTensors, type NamedTensors } from "../../../actors/learning/mod.ts";
import { peerIdOf } from "../../../pki/peer_id.ts";
import { actNames } from "../../../transport/authorization/acts.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import type { HostileAddresses } from "./hostile_places.ts";
import type { NodeIdentity } from "../../../transport/port.ts";

/** The nodes under attack: one of each role. */
export const victimRoles = ["gateway", "data", "worker", "scheduler"] as const;
/** One of {@linkcode victimRoles}. */
export type VictimRole = (typeof victimRoles)[number];

/** The name of a node under attack. */
export const nodeName = (role: VictimRole): string => `${role}-01`;

/** Where a node under attack is. */
export interface VictimPlace {
  readonly peer: string;
  readonly address: string;
}

/** What the attackers know, as JSON: they hold the CA too, so that each attack can have certificates of its own. */
export interface MembersWorld {
  readonly folder: string;
  readonly root: IssuerFiles;
  readonly ca: IssuerFiles;
  /** The CA of another organisation, which the nodes trust for its own name. */
  readonly partner: IssuerFiles;
  readonly nodes: Readonly<Record<VictimRole, VictimPlace>>;
  readonly hostile: HostileAddresses;
  /** False in a control: defences are waited for in vain. */
  readonly defended: boolean;
}

/** A world before its nodes have started. */
export type MembersPki = Omit<MembersWorld, "nodes" | "hostile" | "defended">;

/** A member's certificate. */
export interface MemberCertificate {
  readonly name: string;
  readonly identity: NodeIdentity;
  /** Hexadecimal. */
  readonly serial: string;
}

/** The data set that the data node announces and the scheduler trains on. */
export const dataset = "digits";
/** The executor that the worker has: it starts no process. */
export const aggregator = { class: "aggregate", name: "parameter-server" } as const;
/** The executors that the scheduler's job wants. The worker has neither: attackers alone offer them. */
export const trainExecutor = { class: "train", name: "diloco-transformer" } as const;
export const lyingAggregator = { class: "aggregate", name: "lying" } as const;
/** The weights that the scheduler's training begins with. */
export const initialWeights: NamedTensors = new Map([["w", { shape: [2], values: Float32Array.of(1, 2) }]]);

const dayMs = 86_400_000;
const organization = "Attacked";

function period() {
  const now = Date.now();
  return { notBefore: new Date(now - dayMs), notAfter: new Date(now + 30 * dayMs) };
}

/** Makes the folder and the CAs. */
export async function makeMembersWorld(): Promise<MembersPki> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-attack-"));
  const root = await issueRoot({ commonName: "Attacked Root", organization, ...period() });
  const ca = await issueIntermediate({ issuer: root, commonName: "Attacked CA", organization, ...period() });
  const partner = await issueRoot({ commonName: "Partner Root", organization: "Partner", ...period() });
  const pki = { folder, root: filesOf(root), ca: filesOf(ca), partner: filesOf(partner) };
  writeFileSync(crlsPathOf(pki), await crlsOf(pki, [], 1n));
  mkdirSync(join(folder, partnerName));
  const places = partnerPlacesOf(pki);
  writeFileSync(places.trust, partner.certPem);
  writeFileSync(places.crlsPem, await partnerListOf(pki.partner, 1n));
  return pki;
}

/** The partner's trust domain. */
export const partnerName = "partner.hypha";

/** The partner's files, which its operator writes. */
export function partnerPlacesOf({ folder }: Pick<MembersWorld, "folder">) {
  return { trust: join(folder, partnerName, "trust.pem"), crlsPem: join(folder, partnerName, "crls.pem") };
}

/** A revocation list of a partner's CA. */
export function partnerListOf(issuer: IssuerFiles, number: bigint, entries = 0): Promise<string> {
  const at = Date.now();
  const revoked = Array.from({ length: entries }, (_, nth) => ({
    serial: (0x10_0000_0000n + BigInt(nth)).toString(16),
    date: new Date(at - 1_000),
  }));
  const [thisUpdate, nextUpdate] = [new Date(at - 60_000), new Date(at + 30 * dayMs)];
  return issueCrl({ issuer, revoked, number, thisUpdate, nextUpdate });
}

const filesOf = ({ certPem, keyPem }: IssuerFiles): IssuerFiles => ({ certPem, keyPem });

/** Issues a certificate of a role; with `keyPem` for that key. */
export async function issueMember(
  { ca }: Pick<MembersWorld, "ca">,
  name: string,
  { role, keyPem, issuer = ca, domain = "attacked.hypha" }: {
    readonly role: Role | "none";
    readonly keyPem?: string | undefined;
    readonly issuer?: IssuerFiles;
    readonly domain?: string;
  },
): Promise<MemberCertificate> {
  const issued = await issueNode({
    issuer,
    commonName: name,
    organization,
    ...period(),
    san: ["IP:0.0.0.0", ...(role === "none" ? [] : [`URI:spiffe://${domain}/${role}/${name}`])],
    ...(keyPem === undefined ? {} : { keyPem }),
  });
  const leaf = Result.getOrThrow(parseCertificate(issued.der, 0));
  return {
    name,
    serial: leaf.serial,
    identity: {
      peer: Result.getOrThrow(peerIdOf(leaf)),
      chain: issuer === ca ? [issued.der, derOf(ca.certPem)] : [issued.der],
      certPem: issuer === ca ? issued.certPem + ca.certPem : issued.certPem,
      keyPem: issued.keyPem,
      generation: 1,
      name,
      notAfter: period().notAfter,
    },
  };
}

const derOf = (pem: string): Uint8Array => Uint8Array.from(atob(pem.replace(/-----[^-]*-----|\s/g, "")), codeOf);
const codeOf = (letter: string) => letter.charCodeAt(0);

/** The revocation lists of both CAs; the second revokes these serials. */
export async function crlsOf(
  { root, ca }: MembersWorldCas,
  revoked: readonly string[],
  number: bigint,
): Promise<string> {
  const at = Date.now();
  const list = { thisUpdate: new Date(at - 60_000), nextUpdate: new Date(at + 30 * dayMs), number };
  const entries = revoked.map((serial) => ({ serial, date: new Date(at - 1_000) }));
  return await issueCrl({ issuer: root, revoked: [], ...list }) +
    await issueCrl({ issuer: ca, revoked: entries, ...list });
}

type MembersWorldCas = Pick<MembersWorld, "root" | "ca">;

/** Every node reads its lists here. */
export const crlsPathOf = ({ folder }: Pick<MembersWorld, "folder">): string => join(folder, "crls.pem");

/**
 * Writes the files of a node under attack, and returns its configuration.
 *
 * @param role The node's role.
 * @param options `defended: false` makes a control: no revocation lists, the partner's CA among our own, every act allowed.
 */
export async function configure(
  world: MembersPki,
  role: VictimRole,
  { gatewayAddresses, defended }: { readonly gatewayAddresses: readonly string[]; readonly defended: boolean },
): Promise<RoleConfig> {
  const name = nodeName(role);
  const { identity } = await issueMember(world, name, { role });
  const folder = join(world.folder, name);
  mkdirSync(folder);
  const write = (file: string, text: string) => {
    const path = join(folder, file);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  const common: CommonConfig = {
    certPem: write("cert.pem", identity.certPem),
    keyPem: write("key.pem", identity.keyPem),
    trustPem: write("trust.pem", world.root.certPem + (defended ? "" : world.partner.certPem)),
    crlsPem: defended ? crlsPathOf(world) : undefined,
    trustDomains: defended ? [{ name: partnerName, ...partnerPlacesOf(world), roles: undefined }] : [],
    ...(defended ? {} : { authorization: { rules: [allowAll] } }),
    listenAddresses: ["/ip4/127.0.0.1/tcp/0"],
    externalAddresses: [],
    gatewayAddresses,
    excludeCidr: [],
    relayCircuit: true,
    handshakeTimeoutMs: 40_000, // as long as honest members wait
    keyExchange: "classical",
    requireRoles: true,
    leafAlgorithms: ["ed25519"],
    caAlgorithms: ["ed25519"],
    crlGraceHours: 24,
    limits: defaultLimits,
    drainTimeoutMs: 2_000,
    stateDir: join(folder, "state"),
    telemetry: noTelemetry,
  };
  return { ...common, ...ownOf(role, folder), role } as RoleConfig;
}

/** Every member may do every act that rules can open. */
const allowAll = { effect: "allow", acts: actNames, peers: ["spiffe://attacked.hypha/**"] } as const;

const noTelemetry: CommonConfig["telemetry"] = {
  endpoint: undefined,
  attributes: undefined,
  headers: undefined,
  protocol: undefined,
  sampler: undefined,
  sampleRatio: undefined,
};

/** What a role's configuration has in addition. */
function ownOf(role: VictimRole, folder: string): object {
  if (role === "data") {
    const datasetPath = join(folder, dataset);
    mkdirSync(datasetPath);
    for (const index of [0, 1, 2]) writeFileSync(join(datasetPath, `slice-${index}.csv`), "1,2,3\n".repeat(1_000));
    return { datasetPath };
  }
  if (role === "scheduler") {
    const weights = join(folder, "init.safetensors");
    writeFileSync(weights, encodeTensors(initialWeights));
    return {
      statusBridge: undefined,
      job: { ...job, model: { weights, type: "image-classification", inputNames: ["x"] } },
    };
  }
  if (role !== "worker") return {};
  const executors: readonly ExecutorConfig[] = [
    { ...aggregator, runtime: "parameter-server", cmd: undefined, args: [] },
  ];
  return {
    workDir: join(folder, "work"),
    resources: { cpu: 32, gpu: 0, memory: 64, storage: 100 },
    offer: { price: 10, floor: 1, strategy: "flexible" },
    executors,
    cell: { ...cellDefault, allowUnconfined: true },
  };
}

/** The resources that honest and hostile members ask for. */
export const share = { cpu: 1, gpu: 0, memory: 1, storage: 1 } as const;

/** More trainers than there are honest workers: the scheduler keeps asking for them. */
const job = {
  type: "diloco",
  preprocessor: undefined,
  dataset,
  innerOptimizer: { learningRate: 0.001, betas: undefined, epsilon: undefined },
  outerOptimizer: { learningRate: 0.7, momentum: 0.9 },
  resources: {
    numWorkers: 2,
    absenceS: 4,
    worker: share,
    parameterServer: share,
    workerPrice: { bid: 20, max: 100 },
    parameterServerPrice: { bid: 20, max: 100 },
  },
  rounds: { updateRounds: 1_000, keepRounds: 1, avgSamplesBetweenUpdates: 100, maxBatchSize: 10 },
  executors: { train: trainExecutor.name, aggregate: lyingAggregator.name },
  aggregation: aggregationDefault,
  evaluation: undefined,
};
