/**
 * A CA from its configuration: certificates, key and register.
 *
 * @module
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { fileSigner, IssueError } from "../../pki/issue/mod.ts";
import { parsePem } from "../../pki/pem.ts";
import type { CaAlarm } from "./alarm.ts";
import { type CaConfig, CaConfigError, type CaFiles, lifetimeDefaultMs } from "./ca_config.ts";
import { type AuthorityParts, type CertificateAuthority, makeAuthority } from "./certificate_authority.ts";
import { Register } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** Where a CA's register is. */
export const registerPath = (config: Pick<CaConfig, "stateDir">): string => join(config.stateDir, "ca.db");
/** Where a CA's admin socket is. */
export const socketPath = (config: Pick<CaConfig, "stateDir">): string => join(config.stateDir, "admin.sock");

/**
 * Opens a CA. The caller closes its register.
 *
 * @param file The register; by default the one of the configuration.
 */
export function openAuthority(
  config: CaConfig,
  onAlarm: (alarm: CaAlarm) => void,
  file = registerPath(config),
): Effect.Effect<CertificateAuthority, CaConfigError | RegisterFailure> {
  return Effect.suspend(() =>
    Effect.fromResult(Result.gen(function* () {
      const own = yield* readFiles(config);
      const retired: CaParts[] = [];
      for (const each of config.retired) retired.push(yield* readFiles(each));
      const next = config.next === undefined ? [] : (yield* readFiles(config.next)).chain;
      const newWithOld = config.newWithOldPem === undefined ? [] : yield* readChain(config.newWithOldPem);
      const register = yield* Register.open(file);
      const made = makeAuthority({
        ...config,
        ...own,
        register,
        retired,
        next,
        newWithOld,
        lifetimeMs: (role) => config.lifetimesMs[role ?? ""] ?? lifetimeDefaultMs,
        onAlarm,
      });
      if (Result.isFailure(made)) register.close();
      return yield* Result.mapError(made, ({ detail }) => new CaConfigError({ file: config.chainPem, detail }));
    }))
  );
}

type CaParts = Pick<AuthorityParts, "signer" | "chain">;

/** A CA's certificate with those above it, and its key. */
function readFiles({ chainPem, keyPem: file }: CaFiles): Result.Result<CaParts, CaConfigError> {
  return Result.gen(function* () {
    const chain = yield* readChain(chainPem);
    if ((statSync(file, { throwIfNoEntry: false })?.mode ?? 0) & 0o077) {
      return yield* Result.fail(new CaConfigError({ file, detail: `others can read it: chmod 600 ${file}` }));
    }
    const keyPem = yield* read(file);
    const unusable = (error: unknown) =>
      new CaConfigError({ file, detail: error instanceof IssueError ? error.detail : String(error) });
    return { chain, signer: yield* Result.try({ try: () => fileSigner(keyPem), catch: unusable }) };
  });
}

function readChain(file: string): Result.Result<readonly Uint8Array[], CaConfigError> {
  return Result.flatMap(read(file), (pem) =>
    Result.mapBoth(parsePem(pem), {
      onFailure: ({ message }) => new CaConfigError({ file, detail: message }),
      onSuccess: (blocks) =>
        blocks.filter(({ label }) => label === "CERTIFICATE").map(({ der }) => Uint8Array.from(der)),
    }));
}

function read(file: string): Result.Result<string, CaConfigError> {
  return Result.try({
    try: () => readFileSync(file, "utf8"),
    catch: (error) => new CaConfigError({ file, detail: (error as Error).message }),
  });
}
