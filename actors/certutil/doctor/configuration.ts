/**
 * What the doctor needs of a node's configuration, whichever role's it is and even where it is broken.
 *
 * @module
 */
import { parse } from "@std/toml";
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Role } from "../../../pki/certificate.ts";
import { defaultPolicy, type Policy } from "../../../pki/trust.ts";
import type { RoleConfig } from "../../config/config.ts";
import { errorOfRules } from "../../config/broken_rules.ts";
import { parseConfig } from "../../config/load.ts";
import { isOfOtherRole, nounOf } from "../../config/other_role.ts";
import type { ConfigProblem } from "../../config/problem.ts";
import { policyOf, trustPathsOf } from "../../node/inputs.ts";
import { checkPlaces } from "../../node/places.ts";
import type { DomainPaths } from "../../trust/load_trust.ts";
import { CertutilError } from "../certutil_error.ts";
import { kindNames, kindOf } from "../../files/file_kind.ts";
import { readInputBytes } from "../input_file.ts";
import { type Finding, fine, wrong } from "./finding.ts";

/** Paths and policy of a node. */
export interface NodeSettings {
  readonly role: Role | null;
  readonly certPem: string | undefined;
  readonly keyPem: string | undefined;
  readonly trustPem: string | undefined;
  readonly crlsPem: string | undefined;
  /** The certificate of the identity in hardware, where there is one. */
  readonly identityPem?: string | undefined;
  /** Whether the node gets its certificate from a `hypha-ca`, and renews it there. */
  readonly membership: boolean;
  readonly gatewayAddresses: readonly string[];
  /** Where lists are kept; undefined where the configuration cannot be read. */
  readonly stateDir?: string | undefined;
  /** Whether lists are required without `crls_pem`. */
  readonly requiresLists?: boolean;
  /** Other organisations that the node trusts. */
  readonly trustDomains: readonly DomainPaths[];
  /** The node's own trust domain, where the configuration names it. */
  readonly ownName?: string | undefined;
  readonly policy: Policy;
  readonly findings: readonly Finding[];
}

const roles: readonly Role[] = ["gateway", "scheduler", "worker", "data"];

/** A configuration as it was read. */
export interface ReadConfig {
  readonly text: string;
  /** Undefined where it fits no role. */
  readonly config: RoleConfig | undefined;
  /** The role that it fits, or fits best. */
  readonly role: Role;
  /** What keeps it from fitting that role. */
  readonly problems: readonly ConfigProblem[];
}

/** What the doctor needs of the configuration, even where it fits no role. */
export function readSettings(
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
): Effect.Effect<NodeSettings, CertutilError, FileSystem> {
  return Effect.flatMap(readConfig(file, environment), (read) => {
    const { config } = read;
    if (config === undefined) return Effect.succeed(fromText(file, read));
    return Effect.map(examinePlaces(file, config, environment), (places) => {
      const settings = fromConfig(file, config);
      return { ...settings, findings: [...settings.findings, ...places] };
    });
  });
}

/** Directories, programs and files that the role's start refuses. */
const examinePlaces = Effect.fnUntraced(
  function* (file: string, config: RoleConfig, environment: Readonly<Record<string, string | undefined>>) {
    const { role } = config;
    const broken = yield* checkPlaces(config, { searchPath: role === "worker" ? environment["PATH"] ?? "" : "" });
    const { problems } = yield* errorOfRules({ role, file, around: { environment, flags: {} } }, broken);
    return problems.map((problem) => problemFinding("places", file, problem));
  },
);

/** A problem of the configuration, with its line; `whose` precedes the key. */
function problemFinding(
  check: string,
  file: string,
  { origin, key, wrong: what, expected, mend }: ConfigProblem,
  whose = "",
): Finding {
  const line = origin.type === "file" && origin.line > 0 ? `line ${origin.line}: ` : "";
  const said = key === "" ? what : `${whose}${key}: ${what}`;
  return wrong(check, file, `${line}${said}; expected ${expected}`, mend);
}

/** Reads the configuration as that of the role that it fits, or fits best. */
export function readConfig(
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
): Effect.Effect<ReadConfig, CertutilError, FileSystem> {
  return Effect.flatMap(
    readInputBytes(file, { what: "configuration", flag: "-c" }),
    (bytes): Effect.Effect<ReadConfig, CertutilError> => {
      const kind = kindOf(bytes);
      if (kind !== "unknown" && kind !== "empty") {
        const detail = `it holds ${kindNames[kind]}, not a configuration`;
        const remedy = "Name the node's configuration (TOML) with -c.";
        return Effect.fail(new CertutilError({ what: "read configuration", file, detail, remedy }));
      }
      const text = new TextDecoder().decode(bytes);
      let best: { readonly role: Role; readonly problems: readonly ConfigProblem[] } | undefined;
      for (const role of roles) {
        const parsed = parseConfig(role, { file, text }, { environment, flags: {} });
        if (Result.isSuccess(parsed)) return Effect.succeed({ text, config: parsed.success, role, problems: [] });
        const { problems } = parsed.failure;
        if (problems.some(isOfOtherRole)) continue; // of the role that it fits best, no such problem is told
        if (best === undefined || problems.length < best.problems.length) best = { role, problems };
      }
      return Effect.succeed({ text, config: undefined, ...best! });
    },
  );
}

function fromConfig(file: string, config: RoleConfig): NodeSettings {
  const { role, certPem, keyPem, gatewayAddresses, stateDir, membership } = config;
  const { trustPem, crlsPem, ownName, domains: trustDomains = [] } = trustPathsOf(config);
  const findings = [fine("configuration", file, `a ${nounOf(role)}'s`)];
  const policy = policyOf(config);
  const requiresLists = membership?.crls === "required";
  const files = {
    certPem,
    keyPem,
    trustPem,
    crlsPem,
    identityPem: membership?.identityCertPem,
    membership: membership !== undefined,
    stateDir,
    requiresLists,
  };
  return { role, ...files, gatewayAddresses, trustDomains, ownName, policy, findings };
}

/** A configuration that fits no role still names the files. */
function fromText(file: string, { text, role, problems }: ReadConfig): NodeSettings {
  const values = Result.getOrElse(
    Result.try({ try: (): Record<string, unknown> => parse(text), catch: () => undefined }),
    () => ({} as Record<string, unknown>),
  );
  const path = (key: string) => typeof values[key] === "string" ? values[key] as string : undefined;
  const findings = problems.map((problem) =>
    problemFinding("configuration", file, problem, `as a ${nounOf(role)}'s: `)
  );
  return {
    role: null,
    certPem: path("cert_pem"),
    keyPem: path("key_pem"),
    trustPem: path("trust_pem"),
    crlsPem: path("crls_pem"),
    membership: values["membership"] !== undefined,
    gatewayAddresses: [],
    trustDomains: [],
    policy: defaultPolicy,
    findings,
  };
}
