/**
 * Commands of `hypha-certutil` that make certificates: the specification's, the existing tool's, requests.
 *
 * @module
 */
import { Effect } from "effect";
import { Argument, Command, Flag } from "effect/cli";
import { defaultDays } from "../../actors/certutil/lifetime.ts";
import {
  caPairFlags,
  certifiedKeyFlags,
  chainFlag,
  existingFlag,
  fileFlag,
  issuedFlag,
  issuerFlags,
  lifetimeFlags,
  optionalFlag,
  pairFlags,
  passinFlag,
  pathLengthFlag,
  roleFlags,
  sanFlag,
  splitNames,
  subjectFlags,
} from "./flags.ts";
import { say } from "./say.ts";

const load = {
  authorities: Effect.promise(() => import("../../actors/certutil/authorities.ts")),
  nodes: Effect.promise(() => import("../../actors/certutil/nodes.ts")),
  signRequest: Effect.promise(() => import("../../actors/certutil/sign_request.ts")),
  keygen: Effect.promise(() => import("../../actors/certutil/keygen.ts")),
  existingTool: Effect.promise(() => import("../../actors/certutil/existing_tool.ts")),
};

const genCa = Command.make(
  "gen-ca",
  { ...caPairFlags, ...subjectFlags, ...lifetimeFlags(defaultDays.root) },
  (options) => say(Effect.flatMap(load.authorities, ({ makeRoot }) => makeRoot(options))),
).pipe(Command.withDescription("Make a root CA. Keep its key offline."));

const genIntermediateCa = Command.make(
  "gen-intermediate-ca",
  {
    ...issuerFlags,
    ...caPairFlags,
    ...subjectFlags,
    ...lifetimeFlags(defaultDays.intermediate),
    pathLength: pathLengthFlag,
  },
  (options) => say(Effect.flatMap(load.authorities, ({ makeIntermediate }) => makeIntermediate(options))),
).pipe(Command.withDescription("Make an intermediate CA, which signs in daily business."));

const genCert = Command.make(
  "gen-cert",
  {
    ...issuerFlags,
    ...pairFlags,
    ...subjectFlags,
    san: sanFlag,
    ...roleFlags,
    chain: chainFlag,
    ...lifetimeFlags(defaultDays.node),
  },
  (options) => say(Effect.flatMap(load.nodes, ({ makeNode }) => makeNode(options))),
).pipe(Command.withDescription("Make a node's key and certificate."));

const csr = Command.make(
  "csr",
  {
    ...subjectFlags,
    san: sanFlag,
    ...roleFlags,
    outCsr: fileFlag("out-csr", "Where the request goes."),
    ...certifiedKeyFlags,
    passin: passinFlag,
    existing: existingFlag,
  },
  (options) => say(Effect.flatMap(load.nodes, ({ makeCsr }) => makeCsr(options))),
).pipe(Command.withDescription("Make a node's key and a request for its certificate."));

const keygen = Command.make(
  "keygen",
  {
    uri: Argument.String("key").pipe(
      Argument.withDescription("URI of the key to make: pkcs11:token=LABEL;object=KEY?module-path=MODULE (RFC 7512)."),
    ),
    algorithm: Flag.Literals("algorithm", ["ed25519", "ecdsa-p256", "ecdsa-p384"]).pipe(
      Flag.withDescription("Type of the key (default ed25519)."),
      Flag.withDefault("ed25519" as const),
    ),
    outPublic: fileFlag("out-public", "Where the public key goes, PEM."),
    passin: passinFlag,
    existing: existingFlag,
  },
  (options) => say(Effect.flatMap(load.keygen, ({ makeKey }) => makeKey(options))),
).pipe(
  Command.withDescription(
    "Make a key in a PKCS#11 token. It cannot leave the token; one that is there is never replaced.",
  ),
);

const sign = Command.make(
  "sign",
  {
    ...issuerFlags,
    csr: fileFlag("csr", "The request, PEM or DER: only the key is taken from it."),
    outCert: fileFlag("out-cert", "Where the certificate goes (0644)."),
    commonName: optionalFlag(
      "common-name",
      "NAME",
      "Common name of the subject (default, with --force: subject and names of the certificate at --out-cert, which is " +
        "renewed).",
    ),
    organization: subjectFlags.organization,
    country: subjectFlags.country,
    san: sanFlag,
    ...roleFlags,
    chain: chainFlag,
    existing: existingFlag,
    record: optionalFlag(
      "record",
      "FILE",
      "Record of the CA's revocations, which a renewal looks into (default: the --ca-cert file + .revoked.tsv).",
    ),
    ...lifetimeFlags(defaultDays.node),
  },
  (options) => say(Effect.flatMap(load.signRequest, ({ signRequest }) => signRequest(options))),
).pipe(Command.withDescription(
  "Sign a request. Subject, role and names are those of these flags: nothing but the key is taken from the request.",
));

const toolFlags = {
  dir: Flag.String("dir").pipe(
    Flag.withAlias("d"),
    Flag.withMetavar("DIR"),
    Flag.withDescription("Folder for the files; it must be there (default: this one)."),
    Flag.withDefault("."),
  ),
  existing: existingFlag,
};
const organizationFlag = Flag.String("organization").pipe(
  Flag.withAlias("o"),
  Flag.withMetavar("ORG"),
  Flag.withDescription("Organisation (required)"),
);
const nameFlag = optionalFlag("name", "NAME", "Common name (default: ORG CA).").pipe(Flag.withAlias("n"));

const root = Command.make(
  "root",
  {
    organization: organizationFlag,
    country: Flag.String("country").pipe(
      Flag.withMetavar("CC"),
      Flag.withDescription("Country, two letters (default US)."),
      Flag.withDefault("US"),
    ),
    name: nameFlag,
    ...toolFlags,
  },
  (options) => say(Effect.flatMap(load.existingTool, ({ toolRoot }) => toolRoot(options))),
).pipe(Command.withDescription("Make a root CA in DIR, with the file names of the existing network's tool."));

const org = Command.make(
  "org",
  {
    caCert: fileFlag("root-cert", "The root's certificate."),
    caKey: fileFlag("root-key", "The root's key."),
    passin: passinFlag,
    issued: issuedFlag,
    organization: organizationFlag,
    name: nameFlag,
    ...toolFlags,
  },
  (options) => say(Effect.flatMap(load.existingTool, ({ toolOrg }) => toolOrg(options))),
).pipe(Command.withDescription("Make an organisation's CA in DIR."));

const node = Command.make(
  "node",
  {
    ...issuerFlags,
    name: Flag.String("name").pipe(
      Flag.withAlias("n"),
      Flag.withMetavar("NAME"),
      Flag.withDescription("Its name (required)"),
    ),
    san: Flag.String("san").pipe(
      Flag.withAlias("s"),
      Flag.withMetavar("SAN,…"),
      Flag.withDescription("Alternative names (default 0.0.0.0); NAME is added to them."),
      Flag.atLeast(0),
      Flag.map(splitNames),
    ),
    ...toolFlags,
  },
  (options) => say(Effect.flatMap(load.existingTool, ({ toolNode }) => toolNode(options))),
).pipe(Command.withDescription("Make a node's certificate, key and trust bundle in DIR."));

/** All of them. */
export const issueCommands = [genCa, genIntermediateCa, genCert, csr, keygen, sign, root, org, node] as const;
