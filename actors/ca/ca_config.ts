/**
 * A CA's configuration file.
 *
 * ```toml
 * [ca]
 * domain = "acme.example"
 * url = "https://ca.acme.example:8443"
 * name = "ca-01"
 * listen_https = "0.0.0.0:8443"
 * chain_pem = "ca-cert.pem"    # the CA that signs, those above it, the root last
 * key_pem = "ca-key.pem"      # or the URI of a key in a PKCS#11 token: "pkcs11:token=…;object=…?module-path=…&pin-source=file:…"
 * state_dir = "state"
 * gateways = ["gateway-01=/dns4/gw.acme.example/tcp/4001"]   # the name tells a gateway that joins which one it is
 * approvers_json = "approvers.json"   # who approves what; hypha-ca approvers writes it
 * renew_after_expiry = "72h"
 * retired_issuers = []
 *
 * next_chain_pem = "ca-cert-2.pem"   # the CA that will issue next: published already
 * next_key_pem = "ca-key-2.pem"
 * new_with_old_pem = "root-new-with-old.pem"   # about the root's key, by the root before it
 *
 * [ca.roles.worker]
 * lifetime = "720h"
 * approval = true              # an operator says yes to each enrolment
 *
 * [audit]
 * dir = "state/audit"          # the default
 * keep = "365d"
 * key = "pkcs11:token=…;object=audit?…"   # signs the checkpoints; without it a key in dir
 *
 * [console]
 * listen = "127.0.0.1:9465"    # the operator's page, on this machine only
 *
 * [[ca.retired]]               # CAs that no longer issue: their lists go on
 * chain_pem = "ca-cert-1.pem"
 * key_pem = "ca-key-1.pem"
 * ```
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { dirname, join, resolve } from "node:path";
import { parse, TomlError } from "@std/toml";
import { Data, Effect, Result, Schema } from "effect";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { canonicalAddress, readAddress } from "../config/addresses.ts";
import { readConsolePlace } from "../config/console_schema.ts";
import type { ListenPlace } from "../config/telemetry_values.ts";
import { caProblem } from "./ca_problem.ts";

const hourMs = 60 * 60_000;
/** How long a node's certificate lives by default, in milliseconds. */
export const lifetimeDefaultMs = 30 * 24 * hourMs;
/** How long the certificate of an identity in hardware lives by default, in milliseconds. An operator renews it, with a token. */
export const identityLifetimeDefaultMs = 365 * 24 * hourMs;
/** Bounds of a certificate's life, in milliseconds. */
const lifetimeMinMs = hourMs;
const lifetimeMaxMs = 397 * 24 * hourMs;
/** How long after its end a certificate can be renewed at most, in milliseconds. */
const lateMaxMs = 30 * 24 * hourMs;

const units = { s: 1_000, m: 60_000, h: hourMs, d: 24 * hourMs } as const;
const text = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(1_024));
const duration = Schema.String.check(Schema.isPattern(/^\d{1,6}[smhd]$/));
const role = Schema.optionalKey(
  Schema.Struct({ lifetime: Schema.optionalKey(duration), approval: Schema.optionalKey(Schema.Boolean) }),
);
const ownRole = Schema.optionalKey(Schema.Struct({ lifetime: duration }));
/** CAs that are retired at once; a rotation takes days. */
const retiredMax = 4;
const schema = Schema.Struct({
  audit: Schema.optionalKey(
    Schema.Struct({
      dir: Schema.optionalKey(text),
      keep: Schema.optionalKey(duration),
      key: Schema.optionalKey(text.check(Schema.isPattern(/^pkcs11:/))),
    }),
  ),
  console: Schema.optionalKey(Schema.Struct({ listen: Schema.optionalKey(text) })),
  ca: Schema.Struct({
    domain: text,
    url: text,
    name: text.check(Schema.isPattern(/^[A-Za-z0-9_-][\w.-]{0,63}$/)),
    listen_https: text,
    chain_pem: text,
    key_pem: text,
    state_dir: text,
    gateways: Schema.optionalKey(Schema.Array(text).check(Schema.isMaxLength(100))),
    approvers_json: Schema.optionalKey(text),
    renew_after_expiry: Schema.optionalKey(duration),
    retired_issuers: Schema.optionalKey(
      Schema.Array(Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))).check(Schema.isMaxLength(16)),
    ),
    roles: Schema.optionalKey(
      Schema.Struct({ gateway: role, scheduler: role, worker: role, data: role, ca: ownRole, identity: ownRole }),
    ),
    next_chain_pem: Schema.optionalKey(text),
    next_key_pem: Schema.optionalKey(text),
    new_with_old_pem: Schema.optionalKey(text),
    retired: Schema.optionalKey(
      Schema.Array(Schema.Struct({ chain_pem: text, key_pem: text })).check(Schema.isMaxLength(retiredMax)),
    ),
  }),
});

/** Files of a CA: its certificate with those above it, and its key. */
export interface CaFiles {
  readonly chainPem: string;
  /** A file, or the URI of a key in a token. */
  readonly keyPem: string;
}

/** A configuration with absolute paths. */
export interface CaConfig {
  readonly domain: string;
  readonly url: string;
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly chainPem: string;
  readonly keyPem: string;
  readonly stateDir: string;
  /** Where and for how long records are kept. */
  readonly audit: { readonly dir: string; readonly keepMs: number; readonly key: string | undefined };
  /** Where the console is served, on loopback; nowhere where undefined. */
  readonly console: ListenPlace | undefined;
  /** Addresses of gateways. */
  readonly gateways: readonly string[];
  /** Addresses of those that have names. */
  readonly gatewayNames: Readonly<Record<string, string>>;
  /** The policy of the register, for people and for verification; there where persons approve. */
  readonly approversJson: string;
  readonly renewAfterExpiryMs: number;
  readonly retiredIssuers: readonly string[];
  readonly lifetimesMs: Readonly<Record<string, number>>;
  /** Roles whose enrolments an operator approves. */
  readonly approvedRoles: readonly string[];
  /** The CA that will issue next. */
  readonly next: CaFiles | undefined;
  readonly retired: readonly CaFiles[];
  readonly newWithOldPem: string | undefined;
}

/** The configuration cannot be used. */
export class CaConfigError extends Data.TaggedError("CaConfigError")<{
  readonly file: string;
  readonly detail: string;
  /** A new start with the same configuration may succeed. */
  readonly mayPass?: boolean;
}> {
  override get message(): string {
    return `Cannot use configuration ${this.file}: ${this.detail}`;
  }
}

/** Reads a configuration file. */
export function loadCaConfig(file: string): Effect.Effect<CaConfig, CaConfigError> {
  return Effect.flatMap(
    Effect.try({
      try: () => readFileSync(file, "utf8"),
      catch: (error) => new CaConfigError({ file, detail: unreadable(error as NodeJS.ErrnoException) }),
    }),
    (toml) => Effect.fromResult(parseCaConfig(file, toml)),
  );
}

/** Reads a configuration's text; paths are relative to its file. */
export function parseCaConfig(file: string, toml: string): Result.Result<CaConfig, CaConfigError> {
  const fail = (detail: string) => Result.fail(new CaConfigError({ file, detail }));
  return Result.gen(function* () {
    const values = yield* Result.try({
      try: () => parse(toml),
      catch: (error) => new CaConfigError({ file, detail: notToml(error) }),
    });
    const decoded = Schema.decodeUnknownResult(schema, { onExcessProperty: "error" })(values);
    if (Result.isFailure(decoded)) return yield* fail(caProblem(decoded.failure, toml));
    const { ca, audit = {}, console: shown } = decoded.success;
    const keepMs = milliseconds(audit.keep ?? "365d");
    if (keepMs < units.d) return yield* fail("audit.keep is less than 1d");
    const console = shown?.listen === undefined ? undefined : readConsolePlace(shown.listen);
    if (typeof console === "string") return yield* fail(`[console] listen = "${shown?.listen}" ${console}`);
    const place = listenPlace(ca.listen_https);
    if (place === undefined) return yield* fail(`listen_https = "${ca.listen_https}" is not ADDRESS:PORT`);
    const lifetimesMs: Record<string, number> = {};
    for (const [role, terms] of Object.entries(ca.roles ?? {})) {
      if (terms?.lifetime === undefined) continue;
      const ms = milliseconds(terms.lifetime);
      if (ms < lifetimeMinMs || ms > lifetimeMaxMs) return yield* fail(`lifetime of ${role} is not 1h … 397d`);
      lifetimesMs[role] = ms;
    }
    const renewAfterExpiryMs = milliseconds(ca.renew_after_expiry ?? "72h");
    if (renewAfterExpiryMs > lateMaxMs) return yield* fail("renew_after_expiry is longer than 30d");
    const absolute = (path: string) => resolve(dirname(file), path);
    const key = (name: string) => isPkcs11Uri(name) ? name : absolute(name);
    const { domain, url, name, retired_issuers: retiredIssuers = [], retired = [] } = ca;
    if ((ca.next_chain_pem === undefined) !== (ca.next_key_pem === undefined)) {
      return yield* fail("next_chain_pem and next_key_pem go together");
    }
    const roles = Object.entries(ca.roles ?? {});
    const read = (ca.gateways ?? []).map((each) => readGateway(each) ?? each);
    const wrong = read.find((each) => typeof each === "string");
    if (wrong !== undefined) {
      return yield* fail(`gateways: ${JSON.stringify(wrong)} is not NAME=ADDRESS, nor an address`);
    }
    const gateways = read.filter((each) => typeof each !== "string");
    const named = gateways.filter((each) => each.name !== undefined).map((each) => [each.name ?? "", each.address]);
    if (new Set(named.map(([each]) => each)).size < named.length) {
      return yield* fail("gateways: two of them have the same name");
    }
    return {
      gateways: gateways.map(({ address }) => address),
      gatewayNames: Object.fromEntries(named) as Readonly<Record<string, string>>,
      ...{ domain, url, name, retiredIssuers, renewAfterExpiryMs, lifetimesMs, ...place },
      chainPem: absolute(ca.chain_pem),
      keyPem: key(ca.key_pem),
      stateDir: absolute(ca.state_dir),
      approversJson: absolute(ca.approvers_json ?? "approvers.json"),
      console,
      audit: { dir: absolute(audit.dir ?? join(ca.state_dir, "audit")), keepMs, key: audit.key },
      approvedRoles: roles.flatMap(([role, terms]) => "approval" in terms && terms.approval ? [role] : []),
      next: ca.next_chain_pem === undefined
        ? undefined
        : { chainPem: absolute(ca.next_chain_pem), keyPem: key(ca.next_key_pem ?? "") },
      retired: retired.map((each) => ({ chainPem: absolute(each.chain_pem), keyPem: key(each.key_pem) })),
      newWithOldPem: ca.new_with_old_pem === undefined ? undefined : absolute(ca.new_with_old_pem),
    };
  });
}

/** A gateway of the configuration: `NAME=ADDRESS`, or the address alone. */
export function readGateway(
  text: string,
): { readonly name: string | undefined; readonly address: string } | undefined {
  const [, name, address] = /^(?:([A-Za-z0-9_-][\w.-]{0,63})=)?(\/.+)$/.exec(text) ?? [];
  if (address === undefined) return undefined;
  return { name, address: typeof readAddress(address, "gateway") === "string" ? address : canonicalAddress(address) };
}

function unreadable({ code, message }: NodeJS.ErrnoException): string {
  return code === "ENOENT" ? "there is no such file; hypha-ca init makes one" : message;
}

function notToml(error: unknown): string {
  if (!(error instanceof TomlError)) return String(error);
  const [, what = ""] = error.message.split("\n", 1)[0]!.split(": ", 2);
  return `line ${error.line}, column ${error.column} is not TOML: ${what}`;
}

/** An address and a port, such as `0.0.0.0:8443` and `[::]:8443`. */
function listenPlace(place: string): { readonly host: string; readonly port: number } | undefined {
  const [, host = "", digits = ""] = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(place) ?? [];
  const port = Number(digits);
  return isIP(host) === 0 || digits === "" || port > 65_535 ? undefined : { host, port };
}

function milliseconds(duration: string): number {
  return Number(duration.slice(0, -1)) * units[duration.at(-1) as keyof typeof units];
}
