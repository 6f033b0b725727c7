/**
 * What the configuration of a scheduler's program begins with.
 *
 * @module
 */
import type { TestFiles } from "./pki.ts";

/** Its files, its state directory, and the address of its gateway. */
export interface SchedulerPlace extends TestFiles {
  readonly stateDir: string;
  readonly gateway: string;
}

/** TOML, without a job. */
export function schedulerToml({ certPath, keyPath, trustPath, crlsPath, stateDir, gateway }: SchedulerPlace): string {
  return `
cert_pem = "${certPath}"
key_pem = "${keyPath}"
trust_pem = "${trustPath}"
crls_pem = "${crlsPath}"
state_dir = "${stateDir}"
gateway_addresses = ["${gateway}"]
listen_addresses = ["/ip4/127.0.0.1/tcp/0"]
exclude_cidr = []
`;
}
