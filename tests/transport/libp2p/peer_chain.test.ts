/** What is taken of a peer's certificates before anything of them is parsed: in order, each once, sixteen at most. */
import { Buffer } from "node:buffer";
import { type AddressInfo, connect, createServer } from "node:net";
import { connect as connectTls, createSecureContext, createServer as createTlsServer, TLSSocket } from "node:tls";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hostileClient } from "../../../scripts/attack/gate/hostile_tls.ts";
import { chainCertificatesMax, type ChainSource, peerChain } from "../../../transport/libp2p/peer_chain.ts";
import { issueIntermediate } from "../../../pki/issue/mod.ts";
import { forge, type Forged } from "../../support/forge.ts";
import { makeTestPki } from "../../support/pki.ts";
import { of, startTransport } from "../../support/transports.ts";

const test = suite("peerChain()");

/** A certificate as a runtime links it to the next one. */
interface Linked {
  readonly raw?: Buffer;
  issuerCertificate?: Linked;
}

const linked = (octet: number): Required<Pick<Linked, "raw">> & Linked => ({ raw: Buffer.from([octet]) });

/** Certificates of one octet each, linked in their order; `loopsTo` is what the last one says is its issuer. */
function chainOf(octets: readonly number[], loopsTo?: number): Linked | undefined {
  const chain = octets.map(linked);
  for (const [at, certificate] of chain.entries()) {
    const next = chain[at + 1] ?? (loopsTo === undefined ? undefined : chain[loopsTo]);
    if (next !== undefined) certificate.issuerCertificate = next;
  }
  return chain[0];
}

/** The certificates as a list, as far as anyone may ask. */
function listed(leaf: Linked | undefined): Buffer[] {
  const list: Buffer[] = [];
  for (let next = leaf; next?.raw !== undefined && list.length < 300; next = next.issuerCertificate) {
    list.push(next.raw);
  }
  return list;
}

/** All sources; what a peer without a chain is in each. */
const sockets: [source: ChainSource, socket: (leaf: Linked | undefined) => object][] = [
  ["x509", (leaf) => ({ getPeerX509Certificate: () => leaf })],
  ["detailed", (leaf) => ({
    getPeerX509Certificate: () => leaf === undefined ? undefined : { raw: leaf.raw, issuerCertificate: undefined },
    getPeerCertificate: (detailed: boolean) => detailed ? leaf ?? {} : {},
  })],
  ["list", (leaf) => ({
    getPeerX509Certificate: () => leaf === undefined ? undefined : { raw: leaf.raw, issuerCertificate: undefined },
    getPeerCertificate: () => leaf === undefined ? {} : assert.unreachable("the list is enough"),
    _handle: { getPeerCertificateChain: () => leaf === undefined ? null : { certificates: listed(leaf) } },
  })],
];

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);
const rows: [name: string, leaf: Linked | undefined, expected: readonly number[]][] = [
  ["nothing of a peer that sent nothing", undefined, []],
  ["a leaf alone", chainOf([1]), [1]],
  ["a chain, leaf first", chainOf([1, 2, 3]), [1, 2, 3]],
  ["a root that is its own issuer once", chainOf([1, 2, 3], 2), [1, 2, 3]],
  ["two that are each other's issuers once each", chainOf([1, 2, 3], 1), [1, 2, 3]],
  ["nothing behind a certificate that was there", chainOf([1, 2, 1, 3]), [1, 2]],
  ["as many as are allowed", chainOf(upTo(chainCertificatesMax)), upTo(chainCertificatesMax)],
  ["no more than are allowed", chainOf(upTo(chainCertificatesMax + 1)), upTo(chainCertificatesMax)],
  ["no more than are allowed of very many", chainOf(upTo(200)), upTo(chainCertificatesMax)],
];
for (const [source, socket] of sockets) {
  for (const [name, leaf, expected] of rows) {
    test(`${source}: takes ${name}`, () => {
      const taken = peerChain(socket(leaf) as TLSSocket, source);
      assert.equal(taken.map((der) => [...der]), expected.map((octet) => [octet]));
    });
  }
}

const others: [what: string, handle: unknown][] = [
  ["no handle", undefined],
  ["no such method", {}],
  ["nothing", { getPeerCertificateChain: () => null }],
  ["no list", { getPeerCertificateChain: () => ({ certificates: { 0: Buffer.from([9]), length: 1 } }) }],
  ["a list without certificates", { getPeerCertificateChain: () => ({ certificates: [] }) }],
  ["a list of something else", { getPeerCertificateChain: () => ({ certificates: [Buffer.from([9]), "9"] }) }],
];
for (const [what, _handle] of others) {
  test(`list: a runtime with ${what} is asked for the detailed certificates`, () => {
    const leaf = chainOf([1, 2]);
    const socket = { getPeerX509Certificate: () => leaf, getPeerCertificate: () => leaf, _handle };
    assert.equal(peerChain(socket as unknown as TLSSocket, "list").map((der) => [...der]), [[1], [2]]);
  });
}

test("every source throws where the runtime cannot read the leaf", () => {
  const handle = { getPeerCertificateChain: () => ({ certificates: [Buffer.from([9])] }) };
  const getPeerX509Certificate = () => {
    throw new Error("no X.509");
  };
  const socket = { getPeerX509Certificate, getPeerCertificate: () => ({}), _handle: handle } as unknown as TLSSocket;
  for (const source of ["x509", "detailed", "list"] as const) {
    assert.throws(() => peerChain(socket, source), /no X.509/);
  }
});

test("the limit is 16", () => assert.is(chainCertificatesMax, 16));

const own = forge("listener");
const pem = ({ key }: Forged) => String(key.export({ format: "pem", type: "pkcs8" }));
const secureContext = createSecureContext({ cert: own.pem, key: pem(own), minVersion: "TLSv1.3" });

/** Sends a chain over real TLS and takes it at the listener. */
async function sent(leaf: Forged, ...above: readonly Forged[]): Promise<Uint8Array[]> {
  return await takenFrom((socket) => peerChain(socket), leaf, ...above);
}

async function takenFrom<T>(take: (socket: TLSSocket) => T, leaf: Forged, ...above: readonly Forged[]): Promise<T> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const taken = new Promise<T>((resolve, reject) =>
    server.once("connection", (raw) => {
      const socket = new TLSSocket(raw, {
        secureContext,
        isServer: true,
        requestCert: true,
        rejectUnauthorized: false,
      });
      socket.on("error", reject);
      socket.once("secure", () => {
        resolve(take(socket));
        socket.destroy();
      });
    })
  );
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  client.on("error", () => {});
  client.once("connect", () => {
    const chain = [leaf, ...above].map(({ der }) => der);
    hostileClient(client, { chain, keyPem: pem(leaf) }).catch(() => {});
  });
  try {
    return await taken;
  } finally {
    client.destroy();
    server.close();
  }
}

const root = forge("root", { ca: true });
const upper = forge("upper", { ca: true, issuer: root });
const lower = forge("lower", { ca: true, issuer: upper });
const leaf = forge("leaf", { issuer: lower });
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("over TLS: two intermediates and the root arrive, leaf first", async () => {
  const taken = await sent(leaf, lower, upper, root);
  assert.equal(taken.map(hex), [leaf, lower, upper, root].map(({ der }) => hex(der)));
});

if ("Deno" in globalThis) {
  test("over TLS: Deno has the list, which is what its detailed certificates are", async () => {
    const { list, detailed } = await takenFrom(
      (socket) => {
        const detailed = peerChain(socket, "detailed");
        socket.getPeerCertificate = () => assert.unreachable("the list is enough") as never;
        return { list: peerChain(socket, "list"), detailed };
      },
      leaf,
      lower,
      upper,
    );
    assert.equal(detailed.map(hex), [leaf, lower, upper].map(({ der }) => hex(der)));
    assert.equal(list.map(hex), detailed.map(hex));
  });
}

test("dialling over TLS: two intermediates arrive, leaf first", async () => {
  const cert = [leaf, lower, upper].map((each) => each.pem).join("");
  const server = createTlsServer(
    { cert, key: pem(leaf), minVersion: "TLSv1.3" },
    (socket) => socket.on("error", () => {}),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false, minVersion: "TLSv1.3" });
  await new Promise<void>((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
  assert.equal(peerChain(socket).map(hex), [leaf, lower, upper].map(({ der }) => hex(der)));
  socket.destroy();
  server.close();
});

test("nodes whose certificates have two intermediates above them connect", async () => {
  const pki = await makeTestPki();
  const day = 86_400_000;
  const period = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
  const first = await issueIntermediate({ issuer: pki.root, commonName: "First CA", pathLength: 1, ...period });
  const below = await issueIntermediate({ issuer: first, commonName: "Second CA", ...period });
  const start = async (name: string) => {
    const made = await pki.node(name, { issuer: below });
    const chain = [made.der, below.der, first.der];
    return startTransport({
      pki,
      name,
      node: { ...made, chain, chainPem: made.certPem + below.certPem + first.certPem },
    });
  };
  const [a, b] = await Promise.all([start("a"), start("b")]);
  const answer = await b.ask({ type: "dial", id: "1", target: { address: a.addresses[0] as string } });
  assert.equal(answer, { type: "dial.done", id: "1", peer: a.peer });
  await Promise.all([a.fact(of("peer.established")), b.fact(of("peer.established"))]);
  await Promise.all([a.stop(), b.stop()]);
});

test("over TLS: of forty CAs above one another no more than the limit is taken", async () => {
  const cas = [root];
  while (cas.length < 40) cas.push(forge(`ca ${cas.length}`, { ca: true, issuer: cas.at(-1)! }));
  const last = forge("last", { issuer: cas.at(-1)! });
  const taken = await sent(last, ...cas.toReversed());
  const expected = [last, ...cas.toReversed()].slice(0, chainCertificatesMax);
  assert.equal(taken.map(hex), expected.map(({ der }) => hex(der)));
});

test("over TLS: they are taken in the order in which they were sent, also what leads nowhere", async () => {
  const stray = forge("stray", { ca: true });
  const taken = await sent(leaf, upper, stray, lower);
  assert.equal(taken.map(hex), [leaf, upper, stray, lower].map(({ der }) => hex(der)));
});

test("over TLS: a certificate that is sent again and again is taken once", async () => {
  const taken = await sent(leaf, lower, ...Array.from({ length: 30 }, () => lower));
  assert.equal(taken.map(hex), [leaf, lower].map(({ der }) => hex(der)));
});

test.run();
