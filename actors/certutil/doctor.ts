/**
 * Examines a node's files before the node, or its peers, stumble over them: the specification's list "Troubleshooting
 * Security Issues", made executable. Each finding comes with what mends it.
 *
 * @module
 */
import process from "node:process";
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Role } from "../../pki/certificate.ts";
import { peerIdOf } from "../../pki/peer_id.ts";
import type { CertutilError } from "./certutil_error.ts";
import { isThere } from "../files/is_there.ts";
import { examineBundle, examineChain, examineIdentity, joinAgain, readCertificates } from "./doctor/certificates.ts";
import { type NodeSettings, readSettings } from "./doctor/configuration.ts";
import { examineDomains } from "./doctor/domains.ts";
import { doubtful, type Finding, fine, wrong } from "./doctor/finding.ts";
import { examineKey, examineMode } from "./doctor/key.ts";
import { examineLists } from "./doctor/lists.ts";
import { examineLearnedLists } from "./doctor/learned_lists.ts";
import { type NodeFile, readNodeFile } from "./doctor/node_file.ts";
import { examineLoading, examineOwnTrust } from "./doctor/own_trust.ts";
import { parseTime } from "./lifetime.ts";

/** Everything that was looked at; `ok` when nothing of it is an error. */
export interface Diagnosis {
  readonly ok: boolean;
  readonly config: string;
  /** Null where the configuration fits no role. */
  readonly role: Role | null;
  /** PeerID of the node; null where there is no certificate of a key that libp2p knows. */
  readonly peer: string | null;
  readonly findings: readonly Finding[];
}

/** Examines the files that a configuration names. Changes none. */
export function examine(
  { config, at: time }: { readonly config: string; readonly at?: string | undefined },
): Effect.Effect<Diagnosis, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const asked = yield* Effect.fromResult(parseTime("--at", time));
    const at = asked ?? new Date(yield* Clock.currentTimeMillis);
    const settings = yield* readSettings(config, process.env);
    const files = yield* readFiles(settings);
    const { findings, chain } = yield* examineFiles(files, { config, settings, at });
    const peer = chain === undefined ? undefined : peerIdOf(chain[0]!);
    const id = peer !== undefined && Result.isSuccess(peer) ? peer.success : null;
    const domains = yield* examineDomains(settings.trustDomains, { policy: settings.policy, at });
    const learned = yield* examineLearnedLists(settings.stateDir, { at, graceMs: settings.policy.crlGraceMs });
    const peers = peerFindings(config, id, settings.gatewayAddresses);
    const all = [...settings.findings, ...findings, ...learned, ...domains, ...peers];
    return { ok: !all.some(({ level }) => level === "error"), config, role: settings.role, peer: id, findings: all };
  });
}

interface NodeFiles {
  readonly key: NodeFile | undefined;
  readonly cert: NodeFile | undefined;
  readonly trust: NodeFile | undefined;
  readonly crls: NodeFile | undefined;
  readonly identity: NodeFile | undefined;
  readonly findings: readonly Finding[];
}

interface Examination {
  readonly config: string;
  readonly settings: NodeSettings;
  readonly at: Date;
}

const newKey = "hypha-certutil csr --common-name NAME --out-key NEW-KEY.pem --out-csr NEW.csr";
const mends = {
  key: "hypha-certutil csr --common-name NAME --out-key KEY.pem --out-csr REQUEST.csr",
  cert:
    "hypha-certutil sign --ca-cert CA-CERT.pem --ca-key CA-KEY.pem --common-name NAME --csr REQUEST.csr --out-cert CERT.pem",
  trust: "hypha-certutil bundle --out BUNDLE.pem INTERMEDIATE-CERT.pem ROOT-CERT.pem",
  crls: "hypha-certutil gen-crl --ca-cert CA-CERT.pem --ca-key CA-KEY.pem --out-crl CRLS.pem",
  identity: "hypha-ca token --identity, then join with --membership-identity-key",
};

const memberMends = { ...mends, key: joinAgain, cert: joinAgain };

const readFiles = Effect.fnUntraced(function* (settings: NodeSettings) {
  const { keyPem, certPem, trustPem, crlsPem, identityPem, membership } = settings;
  const findings: Finding[] = [];
  const read = Effect.fnUntraced(function* (path: string | undefined, part: keyof typeof mends, what: string) {
    if (path === undefined) return undefined;
    const isPair = part === "key" || part === "cert";
    if (isPair && identityPem !== undefined && !(yield* Effect.orElseSucceed(isThere(path), () => true))) {
      findings.push(fine(`${part}-file`, path, "it is made at the node's start, with the identity's key"));
      return undefined;
    }
    const outcome = yield* readNodeFile(path, {
      key: `${part}_pem`,
      what,
      mend: (membership ? memberMends : mends)[part],
    });
    if ("text" in outcome) return outcome;
    findings.push(outcome);
    return undefined;
  });
  const key = yield* read(keyPem, "key", "key");
  const cert = yield* read(certPem, "cert", "certificate");
  const trust = yield* read(trustPem, "trust", "trust bundle");
  const crls = yield* read(crlsPem, "crls", "revocation lists");
  const identity = yield* read(identityPem, "identity", "certificate of the identity");
  return { key, cert, trust, crls, identity, findings } satisfies NodeFiles;
});

const examineFiles = Effect.fnUntraced(
  function* ({ key, cert, trust, crls, identity, findings }: NodeFiles, { config, settings, at }: Examination) {
    const { policy, crlsPem, membership } = settings;
    const another = membership ? joinAgain : newKey;
    const keyed = key && examineKey(key, { allowed: policy.leafAlgorithms, another });
    const chain = cert && readCertificates(cert, "certificate-format");
    const bundle = trust && readCertificates(trust, "bundle-format");
    const own = chain?.certificates;
    const anchors = bundle?.certificates;
    const namesLists = crlsPem !== undefined || settings.requiresLists === true;
    const all = [
      ...findings,
      ...keyed?.findings ?? [],
      ...cert === undefined ? [] : [examineMode("certificate-permissions", cert)],
      ...chain?.findings ?? [],
      ...own === undefined ? [] : examineChain(cert!.path, own, { key: keyed?.key, at, membership }),
      ...trust === undefined ? [] : [examineMode("bundle-permissions", trust)],
      ...bundle?.findings ?? [],
      ...anchors === undefined ? [] : examineBundle(trust!.path, anchors, { at, membership }),
      ...crls === undefined ? [] : [
        examineMode("crl-permissions", crls),
        ...examineLists(crls, { bundle: [...anchors ?? [], ...own ?? []], at, graceMs: policy.crlGraceMs }),
      ],
      ...identity === undefined ? [] : examineIdentity(identity, at),
      ...own === undefined || trust === undefined
        ? []
        : yield* examineOwnTrust(own, { ...settings, config, cert: cert!, trust, crls, namesLists, at }),
    ];
    const loading = key === undefined || cert === undefined ? [] : yield* examineLoading({ key, cert, at }, all);
    return { findings: [...all, ...loading], chain: own };
  },
);

/** PeerIDs change with the key: configurations that name them must be changed too. */
function peerFindings(config: string, peer: string | null, gateways: readonly string[]): readonly Finding[] {
  const own = peer === null ? [] : [fine("peer-id", null, `peers know this node as ${peer}`)];
  const mend = "write the address without /p2p/…: the certificate tells who answers";
  return [
    ...own,
    ...gateways.filter((address) => /\/p2p\/[^/]+$/.test(address)).map((address) =>
      address.endsWith(`/p2p/${peer}`)
        ? wrong("peer-id", config, `gateway address ${address} is this node's own`, mend)
        : doubtful("peer-id", config, `gateway address ${address} is of no use once that gateway has a new key`, mend)
    ),
  ];
}
