/**
 * The other direction: the victim dials a listener that presents a certificate without its key, or a malformed one.
 *
 * @module
 */
import { createServer } from "node:net";
import type { Shown } from "./attack.ts";
import type { Victim } from "./children.ts";
import { type HostileIdentity, hostileServer } from "./hostile_tls.ts";
import { malformed, version1 } from "./odd_certificates.ts";
import { negotiate } from "./raw_dial.ts";
import { type GateAttackRow, held, recovered, recoveryMs } from "./siege.ts";

/** The certificates to impersonate, and the key of the attacker. */
export interface Ends {
  readonly member: Shown;
  readonly thief: Shown;
}

/** The certificate that the listener presents. */
interface Impersonation {
  readonly id: string;
  readonly expected: readonly string[];
  show(ends: Ends): HostileIdentity;
}

const unreadable = ["tls-failed", "malformed-certificate", "unknown-issuer", "self-signed"];

export const impersonations: readonly Impersonation[] = [
  {
    id: "stolen-certificate-listening",
    expected: ["tls-failed"],
    show: ({ member, thief }) => ({ chain: member.chain, keyPem: thief.keyPem }),
  },
  {
    id: "stolen-malformed-certificate-listening",
    expected: unreadable,
    show: ({ member, thief }) => ({ chain: [malformed(member)], keyPem: thief.keyPem }),
  },
  {
    id: "version-1-certificate-listening",
    expected: unreadable,
    show: ({ thief }) => ({ chain: [version1(thief, thief)], keyPem: thief.keyPem }),
  },
  {
    id: "stolen-version-1-certificate-listening",
    expected: unreadable,
    show: ({ member, thief }) => ({ chain: [version1(member, thief)], keyPem: thief.keyPem }),
  },
];

/** Makes the victim dial such a listener `count` times. */
export async function impersonate(
  { id, expected, show }: Impersonation,
  ends: Ends,
  { victim, count }: { readonly victim: Victim; readonly count: number },
): Promise<GateAttackRow> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    // A dialler may send its ClientHello together with the protocol's name.
    negotiate(socket).then((ahead) => hostileServer(socket, show(ends), { ahead }))
      .catch(() => {}).finally(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const before = await victim.footprint();
  const address = `/ip4/127.0.0.1/tcp/${(server.address() as { port: number }).port}`;
  const seen: Record<string, number> = {};
  for (let dialled = 0; dialled < count; dialled++) {
    const outcome = await victim.dial(address);
    seen[outcome] = (seen[outcome] ?? 0) + 1;
  }
  server.close();
  const after = await recovered(victim, before, recoveryMs);
  return {
    id,
    attempts: count,
    expected: expected.join(" | "),
    seen: Object.entries(seen).map(([code, number]) => `${code} ${number}`).join("; "),
    held: Object.keys(seen).every((code) => expected.includes(code)) && after.actors <= before.actors &&
      after.unhandled === before.unhandled,
    honest: null,
    before: held(before),
    after: held(after),
  };
}
