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
import { type CaConfig, CaConfigError, lifetimeDefaultMs } from "./ca_config.ts";
import { type CertificateAuthority, makeAuthority } from "./certificate_authority.ts";
import { Register } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** Where a CA's register is. */
export const registerPath = (config: Pick<CaConfig, "stateDir">): string => join(config.stateDir, "ca.db");
/** Where a CA's admin socket is. */
export const socketPath = (config: Pick<CaConfig, "stateDir">): string => join(config.stateDir, "admin.sock");

/** Opens a CA. The caller closes its register. */
export function openAuthority(
  config: CaConfig,
  onAlarm: (alarm: CaAlarm) => void,
): Effect.Effect<CertificateAuthority, CaConfigError | RegisterFailure> {
  return Effect.suspend(() =>
    Effect.fromResult(Result.gen(function* () {
      const chain = yield* Result.mapError(
        parsePem(yield* read(config.chainPem)),
        ({ message }) => new CaConfigError({ file: config.chainPem, detail: message }),
      );
      if ((statSync(config.keyPem, { throwIfNoEntry: false })?.mode ?? 0) & 0o077) {
        const detail = `others can read it: chmod 600 ${config.keyPem}`;
        return yield* Result.fail(new CaConfigError({ file: config.keyPem, detail }));
      }
      const keyPem = yield* read(config.keyPem);
      const unusable = (error: unknown) =>
        new CaConfigError({ file: config.keyPem, detail: error instanceof IssueError ? error.detail : String(error) });
      const signer = yield* Result.try({ try: () => fileSigner(keyPem), catch: unusable });
      const register = yield* Register.open(registerPath(config));
      const made = makeAuthority({
        ...config,
        register,
        signer,
        chain: chain.filter(({ label }) => label === "CERTIFICATE").map(({ der }) => Uint8Array.from(der)),
        lifetimeMs: (role) => config.lifetimesMs[role ?? ""] ?? lifetimeDefaultMs,
        onAlarm,
      });
      if (Result.isFailure(made)) register.close();
      return yield* Result.mapError(made, ({ detail }) => new CaConfigError({ file: config.chainPem, detail }));
    }))
  );
}

function read(file: string): Result.Result<string, CaConfigError> {
  return Result.try({
    try: () => readFileSync(file, "utf8"),
    catch: (error) => new CaConfigError({ file, detail: (error as Error).message }),
  });
}
