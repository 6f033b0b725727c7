/**
 * `join`: a token becomes a certificate, trust, revocation lists, and a configuration that runs as it stands.
 *
 * What it did is on disk before the CA hears of it, so that the same command goes on where it was interrupted.
 *
 * @module
 */
import { lookup } from "node:dns/promises";
import { existsSync } from "node:fs";
import { isIP } from "node:net";
import { basename, dirname, join as joinPaths, resolve } from "node:path";
import process from "node:process";
import { Effect, type FileSystem, type Path } from "effect";
import { excludeCidrDefault, stateDirDefault } from "../../actors/config/defaults.ts";
import { loadConfig, parseConfig } from "../../actors/config/load.ts";
import { membershipDefault } from "../../actors/config/membership_schema.ts";
import { ConfigError } from "../../actors/config/problem.ts";
import { layerSources } from "../../actors/config/sources.ts";
import { askHttps } from "../../actors/enrolment/ask_https.ts";
import { certificatesOf } from "../../actors/enrolment/ca_trust.ts";
import { enrolmentMachine } from "../../actors/enrolment/enrolment.ts";
import { EnrolmentRefused, enrolmentRefused } from "../../actors/enrolment/enrolment_refused.ts";
import { enrolmentFiles, type EnrolmentPaths } from "../../actors/enrolment/enrolment_store.ts";
import type { NetworkDocument } from "../../actors/enrolment/est_client.ts";
import { fetchLists } from "../../actors/enrolment/fetch_lists.ts";
import { type HeldPair, spiffeOf } from "../../actors/enrolment/held_pair.ts";
import { tokenKey } from "../../actors/enrolment/identity_key.ts";
import { hostsOf, joinedAddresses } from "../../actors/enrolment/joined_config.ts";
import { type GivenToken, lookAtNetwork, type ObtainTerms, purposeOfToken } from "../../actors/enrolment/obtain.ts";
import { writeWhole } from "../../actors/files/write_whole.ts";
import type { Services } from "../../actors/runtime/ports.ts";
import { superviseRoot } from "../../actors/runtime/supervise.ts";
import type { Role } from "../../pki/certificate.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { ProgramFailed } from "./failure.ts";
import { checkGiven, type GivenFlags, holdsSecret, surroundingsOf } from "./given_flags.ts";
import { initText } from "./init_text.ts";
import { escapeUnsafe } from "./log_line.ts";
import { makePorts } from "./ports.ts";
import { readToken } from "./read_token.ts";
import { shellWord } from "../../actors/files/shell_word.ts";

/** The options of `join`. */
export interface JoinCommand {
  readonly role: Role;
  /** A file's path, `-`, or the token itself. */
  readonly token: string;
  /** Path of the configuration to write; the other files lie beside it. */
  readonly output: string;
  /** Keys of the configuration given as flags. */
  readonly flags: GivenFlags;
}

/** Host names of gateways are resolved within this, in milliseconds. */
const resolveMs = 3_000;

/** Joins. Prints what it wrote, and the command that starts the node. */
export function join(
  { role, token: argument, output, flags }: JoinCommand,
): Effect.Effect<void, ProgramFailed, Services | FileSystem.FileSystem | Path.Path> {
  return Effect.gen(function* () {
    const around = yield* Effect.mapError(surroundingsOf(flags, "run"), ({ message }) => failed(message, 2));
    if (existsSync(output)) return yield* failed(`${output} is there already: move it away, or name another with -o`);
    const token = yield* readToken(argument);
    const { values: given, problems } = layerSources(role, {}, { ...around, environment: {} });
    if (problems.length > 0) return yield* failed(new ConfigError({ problems }).message, 2);
    const paths = pathsOf(output, given);
    const membership = joinedMembership(token, paths, given);
    const draft = initText({ role, name: role, file: output, given: { ...given, membership } });
    const checked = Effect.fromResult(checkGiven(role, draft, { ...around, environment: {} }));
    yield* Effect.mapError(checked, ({ message }) => failed(message, 2));
    yield* refuseOtherPair(paths, token);
    const pair = yield* obtain(role, token, paths);
    const values = yield* Effect.mapError(
      describe(role, token, { paths, pair, given }),
      ({ message }) => failed(message),
    );
    const text = initText({
      role,
      name: nameOf(pair),
      file: output,
      given: values,
      domain: spiffeOf(pair.leaf)?.domain,
    });
    const alone = { environment: {}, flags: {} };
    yield* Effect.mapError(
      Effect.fromResult(parseConfig(role, { file: output, text }, alone)),
      ({ message }) => failed(message),
    );
    const mode = holdsSecret(role, flags) ? { mode: 0o600 } : {};
    yield* Effect.mapError(
      writeWhole([{ path: output, content: text, ...mode }], "keep"),
      ({ message }) => failed(message),
    );
    yield* enrolmentFiles(paths).forgetNext;
    const config = yield* Effect.mapError(
      loadConfig(role, output, alone),
      ({ message }) => failed(message),
    );
    const written = paths.identityPem === undefined ? [] : [paths.identityPem];
    print([
      `joined ${spiffeOf(pair.leaf)?.domain} as ${nameOf(pair)}, until ${pair.leaf.period.notAfter.toISOString()}`,
      `wrote ${[output, ...written, config.certPem, config.keyPem, config.trustPem].join(", ")}`,
      ...toFill(role, values).map((key) => `to be filled in: ${key}`),
      `start it with: hypha-${role} run -c ${shellWord(output)}`,
    ]);
  });
}

const failed = (notice: string, exitCode: 1 | 2 = 1) => new ProgramFailed({ exitCode, notice });
const nameOf = ({ leaf: { subject } }: HeldPair) => subject.commonName ?? subject.text;
const print = (lines: readonly string[]) => process.stdout.write(`${lines.map(escapeUnsafe).join("\n")}\n`);

/**
 * The files beside a configuration. Their paths are those of a configuration in the current folder, and absolute elsewhere: paths
 * of a configuration are relative to the folder in which the program is started.
 */
function pathsOf(output: string, given: Readonly<Record<string, unknown>>): JoinPaths {
  const named = (key: string, otherwise: string) => {
    const path = given[key];
    return typeof path === "string" ? path : otherwise;
  };
  const folder = resolve(dirname(output));
  const beside = (name: string) => folder === resolve(".") ? name : joinPaths(folder, name);
  const own = (kind: string) => beside(`${basename(output, ".toml")}-${kind}.pem`);
  const stateDir = named("state_dir", stateDirDefault(output, process.env));
  const { identity_key: identityKey, identity_cert_pem: identityCert = own("identity") } = membershipOf(given);
  // A pair for the signature of a key in hardware lives for a day: it may be on a file system in memory.
  const pair = (kind: string) => identityKey === undefined ? own(kind) : joinPaths(stateDir, "tls", `${kind}.pem`);
  return {
    certPem: named("cert_pem", pair("cert")),
    keyPem: named("key_pem", pair("key")),
    trustPem: named("trust_pem", own("trust")),
    ...(identityKey === undefined ? {} : { identityKey, identityPem: identityCert }),
    workDir: beside("work"),
    stateDir,
  };
}

const membershipOf = (given: Readonly<Record<string, unknown>>) =>
  (given["membership"] ?? {}) as { readonly identity_key?: string; readonly identity_cert_pem?: string };

/** The table `membership` of the configuration: flags come before the rest. */
const joinedMembership = (
  { url }: GivenToken,
  { identityPem }: JoinPaths,
  given: Readonly<Record<string, unknown>>,
) => ({
  ca: [url],
  crls: "required",
  ...(identityPem === undefined ? {} : { identity_cert_pem: identityPem }),
  ...membershipOf(given),
});

interface JoinPaths extends EnrolmentPaths {
  /** URI of the identity's key in hardware. */
  readonly identityKey?: string | undefined;
  readonly stateDir: string;
  readonly workDir: string;
}

/** A certificate that another token brought is not replaced unasked. */
function refuseOtherPair(paths: EnrolmentPaths, token: GivenToken): Effect.Effect<void, ProgramFailed, Services> {
  return Effect.gen(function* () {
    const files = yield* Effect.mapError(enrolmentFiles(paths).read, ({ message }) => failed(message));
    const hasPair = files.certPem !== undefined || files.keyPem !== undefined || files.identityPem !== undefined;
    if (!hasPair || files.next?.purpose === purposeOfToken(token)) return;
    const all = [paths.certPem, paths.keyPem, ...(paths.identityPem === undefined ? [] : [paths.identityPem])];
    const them = all.length === 2 ? "both" : "all of them";
    return yield* failed(
      `${all.join(" or ")} is there already: move ${them} away, or name another configuration with -o`,
    );
  });
}

/** Runs the machine of enrolment until the certificate is in place. */
function obtain(role: Role, token: GivenToken, paths: JoinPaths): Effect.Effect<HeldPair, ProgramFailed> {
  return Effect.callback((resume) => {
    const ports = makePorts(({ level, event, message }) => {
      if (level !== "debug" && event !== "enrolment.failed") process.stderr.write(`${escapeUnsafe(message)}\n`);
    });
    const end = (outcome: Effect.Effect<HeldPair, ProgramFailed>) => {
      actor.stop();
      void ports.dispose();
      resume(outcome);
    };
    // The key stays in the state directory until the configuration is written.
    const store = { ...enrolmentFiles(paths), forgetNext: Effect.void };
    const hardware = paths.identityKey === undefined ? undefined : tokenKey(paths.identityKey);
    const membership = { ca: [token.url], renew: false, key: membershipDefault.key, newKeyEveryMs: undefined };
    const actor = superviseRoot(enrolmentMachine, {
      id: "join",
      input: { ports, ask: askHttps, store, role, policy: defaultPolicy, membership, token, hardware },
      onError: (error) => end(Effect.die(error)),
      onSnapshot: (snapshot) => {
        const { pair, error } = snapshot.context;
        if (snapshot.matches("resting") && pair !== undefined) return end(Effect.succeed(pair));
        if (snapshot.matches("failed")) end(Effect.fail(failed(error?.message ?? "Cannot get certificate")));
      },
    });
    return Effect.sync(() => {
      actor.stop();
      void ports.dispose();
    });
  });
}

/** What the configuration says, with the keys as TOML spells them: flags come before what the CA says. */
function describe(
  role: Role,
  token: GivenToken,
  { paths, pair, given }: {
    readonly paths: JoinPaths;
    readonly pair: HeldPair;
    readonly given: Readonly<Record<string, unknown>>;
  },
): Effect.Effect<Readonly<Record<string, unknown>>, EnrolmentRefused, Services> {
  return Effect.gen(function* () {
    const store = enrolmentFiles(paths);
    const files = yield* store.read;
    const terms: ObtainTerms = { ask: askHttps, store, role, policy: defaultPolicy, at: new Date() };
    const asked = { ...terms, urls: [token.url], key: "same", revocation: undefined } as const;
    const network = yield* lookAtNetwork(pair, files, asked);
    const cas = certificatesOf(files.trustPem ?? "");
    const missing = yield* fetchLists(cas, {
      chain: pair.chain,
      ask: askHttps,
      url: token.url,
      stateDir: paths.stateDir,
    });
    if (missing.length > 0) {
      const names = missing.map(({ subject }) => subject.text).join(", ");
      return yield* enrolmentRefused("lists-missing", `the CA has no revocation list of ${names}`);
    }
    const { gateway_addresses, ...addresses } = joinedAddresses(yield* knownNetwork(role, network, nameOf(pair)));
    const values = {
      ...addresses,
      ...(role === "gateway" ? {} : { gateway_addresses }),
      cert_pem: paths.certPem,
      key_pem: paths.keyPem,
      trust_pem: paths.trustPem,
      ...(role === "worker" ? { work_dir: paths.workDir } : {}),
      ...given,
      membership: joinedMembership(token, paths, given),
    };
    if (
      role === "gateway" || (values as { readonly gateway_addresses?: readonly string[] }).gateway_addresses?.length
    ) {
      return values;
    }
    return yield* new EnrolmentRefused({
      code: "no-gateway",
      detail: `the CA names no gateway. Run this again with --gateway ADDRESS, such as /dns4/gw.acme.example/tcp/4001`,
    });
  });
}

/** Resolves the gateways' names: the ranges that they lie in are not excluded. */
function knownNetwork(role: Role, { gateways, gatewayNames }: NetworkDocument, name: string) {
  const own = Object.hasOwn(gatewayNames, name) ? gatewayNames[name] : undefined;
  const names = gateways.flatMap(hostsOf).filter((host) => isIP(host) === 0);
  const resolved = Effect.promise(async () => {
    const late = new Promise<readonly string[]>((done) => setTimeout(done, resolveMs, []).unref());
    const found = Promise.all(
      names.map((name) => lookup(name, { all: true }).then((all) => all.map(({ address }) => address), () => [])),
    );
    return (await Promise.race([found, late])).flat();
  });
  return Effect.map(resolved, (resolved) => ({ role, gateways, own, resolved, excluded: excludeCidrDefault }));
}

/** What only the operator knows. */
function toFill(role: Role, values: Readonly<Record<string, unknown>>): readonly string[] {
  return [
    ...(role === "gateway" && values["external_addresses"] === undefined ? ["external_addresses"] : []),
    ...(role === "data" && values["dataset_path"] === undefined ? ["dataset_path"] : []),
  ];
}
