/**
 * New certificates for running nodes: with a restart, or for all nodes in a wave.
 *
 * @module
 */
import type { Authority, Credential } from "./authority.ts";
import type { Bites } from "./bites.ts";
import type { SimulatedNode } from "./node.ts";
import type { ScenarioEvent } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** A node that was told to stop is started again after this, at least, in milliseconds. */
export const drainMs = 12_000;
/** New certificates reach one node after another, so long apart at least, in milliseconds. */
const waveMinMs = 150;
/** The longest time between key and certificate, in milliseconds. */
export const copyMaxMs = 2_500;

/** What new certificates are distributed with. */
export interface NewCertificatesInit {
  readonly sim: Simulation;
  readonly bites: Bites;
  /** Certificates that were issued before the run began, by name. */
  readonly credentials: ReadonlyMap<string, Credential>;
  /** Nodes that were revoked get no certificate. */
  readonly gone: ReadonlySet<string>;
  readonly start: (node: SimulatedNode) => void;
}

/** Distributes new certificates. */
export class NewCertificates {
  readonly #init: NewCertificatesInit;
  /** Until when a new pair is on its way to a node's disk. */
  readonly #copying = new Map<string, number>();

  constructor(init: NewCertificatesInit) {
    this.#init = init;
  }

  /** A new certificate with a new key, and a restart, as an operator rotates. */
  rotate(node: SimulatedNode, forMs: number): void {
    const { sim, credentials, gone, bites, start } = this.#init;
    const next = credentials.get(`${node.name}/rotated`);
    if (next === undefined || gone.has(node.name)) return;
    node.drain();
    sim.after(Math.max(drainMs, forMs), () =>
      this.#inTurn(node, () => {
        node.crash(true);
        node.replaceCredential(next);
        bites.note("rotation");
        start(node);
      }));
  }

  /** An operator puts pairs in place one after the other: of two at once, the key of one and the certificate of the other would stay. */
  #inTurn(node: SimulatedNode, put: () => void): void {
    const { sim } = this.#init;
    const busyMs = (this.#copying.get(node.name) ?? 0) - sim.time.now;
    if (busyMs > 0) return void sim.after(busyMs, () => this.#inTurn(node, put));
    this.#copying.set(node.name, sim.time.now + copyMaxMs);
    put();
  }

  /** Every node in turn gets a new certificate, with the same key or with another, and takes it up while it runs. */
  renewAll(
    kind: "renewal" | "rekey",
    first: SimulatedNode,
    { forMs, amount }: Pick<ScenarioEvent, "forMs" | "amount">,
  ): void {
    const { sim } = this.#init;
    const nodes = [...sim.nodes.values()];
    const start = nodes.indexOf(first);
    for (let nth = 0; nth < nodes.length; nth++) {
      const node = nodes[(start + nth) % nodes.length] as SimulatedNode;
      sim.after(nth * Math.max(waveMinMs, forMs / nodes.length), () => this.#renew(kind, node, amount * copyMaxMs));
    }
  }

  #renew(kind: "renewal" | "rekey", node: SimulatedNode, betweenMs: number): void {
    const { sim, credentials, gone, start } = this.#init;
    this.#inTurn(node, () => {
      const next = credentials.get(`${node.name}/${kind}`);
      if (next === undefined || gone.has(node.name)) return;
      node.replaceCredential(next, betweenMs);
      // A node that starts between the two files finds a pair that does not fit; its operator starts it again.
      sim.after(copyMaxMs, () => start(node));
    });
  }
}

/** What certificates a scenario needs. */
export interface CredentialNeeds {
  readonly kinds: ReadonlySet<string>;
  readonly rotating: readonly { readonly name: string; readonly role: string }[];
  /** All nodes, with their keys. */
  readonly nodes: readonly { readonly name: string; readonly role: string; readonly keyPem: string }[];
}

/** Issues the certificates that kinds of trouble need, by name. */
export async function troubleCredentials(
  authority: Authority,
  { kinds, rotating, nodes }: CredentialNeeds,
  period: { readonly notBefore: Date; readonly notAfter: Date },
): Promise<ReadonlyMap<string, Credential>> {
  const made = new Map<string, Credential>();
  const add = async (name: string, wanted: boolean, request: Parameters<Authority["node"]>[1]) => {
    if (wanted) made.set(name, await authority.node(name, request));
  };
  await add("stranger", kinds.has("stranger"), { ...period, role: "worker", issuer: "stranger" });
  await add("self-signed", kinds.has("self-signed"), { ...period, role: "worker", issuer: "itself" });
  const past = { notBefore: new Date(period.notBefore.getTime() - 2_000_000), notAfter: period.notBefore };
  await add("expired", kinds.has("expired"), { ...past, role: "worker" });
  await add("old-tls", kinds.has("old-tls") || kinds.has("malformed"), { ...period, role: "worker" });
  await add("stolen-certificate", kinds.has("stolen-certificate"), { ...period, role: "gateway" });
  const insiders = ["intruder", "nonsense", "flooding-member"];
  await add("insider", insiders.some((kind) => kinds.has(kind)), { ...period, role: "scheduler" });
  for (const { name, role, keyPem } of nodes) {
    if (kinds.has("renewal")) {
      made.set(`${name}/renewal`, await authority.node(name, { ...period, role, edition: 3, keyPem }));
    }
    if (kinds.has("rekey")) made.set(`${name}/rekey`, await authority.node(name, { ...period, role, edition: 4 }));
  }
  for (const { name, role } of rotating) {
    made.set(`${name}/rotated`, await authority.node(name, { ...period, role, edition: 2 }));
  }
  return made;
}
