/** libp2p's identify on connections whose peer does not answer at first. */
import { generateKeyPair, publicKeyToProtobuf } from "@libp2p/crypto/keys";
import { identify } from "@libp2p/identify";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Identifies, repeatIdentify } from "../../../transport/libp2p/repeated_identify.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";
import { until } from "../../support/transports.ts";

const test = suite("repeatIdentify()");

const privateKey = await generateKeyPair("Ed25519");
const remotePeer = peerIdFromPrivateKey(privateKey);
const answer = { publicKey: publicKeyToProtobuf(privateKey.publicKey), protocols: ["/a"], listenAddrs: [] };
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The real identify with a connection that has opened, whose peer answers from the nth request on. */
function opened({ answers }: { readonly answers: number }) {
  const seen = { requests: 0, identified: 0 };
  const events = Object.assign(new EventTarget(), { safeDispatchEvent: () => seen.identified++ });
  const service = identify()({
    events,
    logger: silentLogger,
    nodeInfo: { userAgent: "a" },
    peerId: { equals: () => false },
    peerStore: { patch: () => {}, merge: () => {} },
  } as never) as unknown as Identifies & { _identify(): Promise<object> };
  service._identify = () => {
    seen.requests += 1;
    return seen.requests < answers ? Promise.reject(new Error("no answer")) : Promise.resolve(answer);
  };
  repeatIdentify(service, { firstMs: 5, maxMs: 20 });
  const remoteAddr = multiaddr("/ip4/192.0.2.1/tcp/1");
  const connection = Object.assign(new EventTarget(), { remotePeer, remoteAddr, status: "open" });
  events.dispatchEvent(new CustomEvent("connection:open", { detail: connection }));
  const close = () => {
    connection.status = "closed";
    connection.dispatchEvent(new Event("close"));
  };
  return { seen, service, connection, close };
}

test("bug: a peer whose first answer failed was never identified, while its connection stayed open", async () => {
  const { seen } = opened({ answers: 4 });
  await until("the answer", () => seen.identified === 1);
  await later(50);
  assert.equal(seen, { requests: 4, identified: 1 });
});

test("requests end with their connection, and are as far apart at most as set", async () => {
  const { seen, close } = opened({ answers: Number.POSITIVE_INFINITY });
  await later(205); // 5 and 10 ms after the first, then every 20
  assert.ok(seen.requests >= 3 && seen.requests <= 13, String(seen.requests));
  close();
  const { requests } = seen;
  await later(50);
  assert.is(seen.requests, requests);
});

test("a connection that closes has its error", async () => {
  const { service, connection, close } = opened({ answers: Number.POSITIVE_INFINITY });
  const failed = service.identify(connection as never).then(() => "identified", (error) => error.message);
  await later(1);
  close();
  assert.is(await failed, "no answer");
});

test.run();
