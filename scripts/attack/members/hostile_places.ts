/**
 * Hostile members at the addresses of configured gateways: the worker under attack dials them when it starts.
 *
 * @module
 */
import { circuitRelayServer } from "@libp2p/circuit-relay-v2";
import { foreignProtocols } from "./foreign_messages.ts";
import { RawMember } from "./raw_member.ts";
import { issueMember, type MembersPki } from "./world.ts";

/** Their addresses. */
export interface HostileAddresses {
  /** A member with the role worker. */
  readonly impostor: string;
  /** A member with the role gateway, which gives reservations. */
  readonly relay: string;
}

/** Names that lines about them have. */
export const hostileNames = { impostor: "impostor-gateway.1", relay: "made-up-relayed-peers.1" } as const;

/** The hostile members, running. */
export interface HostilePlaces {
  readonly addresses: HostileAddresses;
  readonly relay: RawMember;
  /** How often the impostor was asked for a reservation. */
  readonly asked: { impostor: number };
  stop(): Promise<void>;
}

/** Starts them. */
export async function startHostilePlaces(world: MembersPki): Promise<HostilePlaces> {
  const start = async (name: string, role: "worker" | "gateway", from: string, services: object) => {
    const { identity } = await issueMember(world, name, { role });
    return RawMember.start({ identity, trustPem: world.root.certPem, from, listens: true, services });
  };
  const services = { relay: circuitRelayServer({ reservations: { applyDefaultLimit: false } }) };
  const asked = { impostor: 0 };
  const impostor = await start(hostileNames.impostor, "worker", "127.0.20.201", {});
  await impostor.serve(foreignProtocols.hop, () => asked.impostor += 1);
  const relay = await start(hostileNames.relay, "gateway", "127.0.20.202", services);
  return {
    addresses: { impostor: impostor.addresses[0] ?? "", relay: relay.addresses[0] ?? "" },
    relay,
    asked,
    stop: async () => {
      await Promise.all([impostor.stop(), relay.stop()]);
    },
  };
}
