/**
 * A libp2p node with noise and the services of a gateway, and nothing else: what a gateway's memory is compared with. Prints its
 * address.
 *
 * @module
 */
import { noise } from "@chainsafe/libp2p-noise";
import { circuitRelayServer, circuitRelayTransport } from "@libp2p/circuit-relay-v2";
import { dcutr } from "@libp2p/dcutr";
import { gossipsub } from "@libp2p/gossipsub";
import { identify, identifyPush } from "@libp2p/identify";
import { kadDHT } from "@libp2p/kad-dht";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";

const node = await createLibp2p({
  addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
  transports: [tcp(), circuitRelayTransport()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    identifyPush: identifyPush(),
    ping: ping(),
    dht: kadDHT({ protocol: "/ipfs/kad/1.0.0", clientMode: false }),
    pubsub: gossipsub(),
    dcutr: dcutr(),
    relay: circuitRelayServer(),
  },
});
console.log(node.getMultiaddrs()[0]?.toString());
