/**
 * Both ends of a TLS 1.3 handshake, written by hand, because no library can present any certificate and sign with another key
 * (RFC 8446; X25519, AES-128-GCM, Ed25519 only).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import type { Socket } from "node:net";

/** The certificate of the hostile end, and the key that it signs with. */
export interface HostileIdentity {
  /** Leaf first, DER; none for an empty Certificate message. */
  readonly chain: readonly Uint8Array[];
  /** PKCS#8 PEM of the key that signs CertificateVerify. */
  readonly keyPem: string;
}

/** How far the hostile end came. */
interface HostileOutcome {
  /** Whether all of its messages were sent, the last one being Finished. */
  readonly sent: boolean;
  /** An alert that came back, encrypted or not. */
  readonly alert: number | undefined;
  /** Bytes of application data that came back after the handshake. */
  readonly applicationBytes: number;
}

const u8 = (n: number) => Buffer.from([n]);
const u16 = (n: number) => Buffer.from([n >> 8, n & 255]);
const u24 = (n: number) => Buffer.from([n >> 16, (n >> 8) & 255, n & 255]);
const vec8 = (b: Uint8Array) => Buffer.concat([u8(b.length), b]);
const vec16 = (b: Uint8Array) => Buffer.concat([u16(b.length), b]);
const vec24 = (b: Uint8Array) => Buffer.concat([u24(b.length), b]);
const message = (type: number, body: Uint8Array) => Buffer.concat([u8(type), vec24(body)]);
const extension = (type: number, body: Uint8Array) => Buffer.concat([u16(type), vec16(body)]);
const hash = (...pieces: Uint8Array[]) => createHash("sha256").update(Buffer.concat(pieces)).digest();
const hmac = (key: Uint8Array, data: Uint8Array) => createHmac("sha256", key).update(data).digest();

function expand(secret: Uint8Array, label: string, context: Uint8Array, length: number): Buffer {
  const info = Buffer.concat([u16(length), vec8(Buffer.from(`tls13 ${label}`)), vec8(context), u8(1)]);
  return hmac(secret, info).subarray(0, length);
}
const derive = (secret: Uint8Array, label: string, transcript: Uint8Array) =>
  expand(secret, label, hash(transcript), 32);

/** Octets of content of a record. */
const recordMax = 16_384;

class Keys {
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #sequence = 0n;
  constructor(secret: Uint8Array) {
    this.#key = expand(secret, "key", Buffer.alloc(0), 16);
    this.#iv = expand(secret, "iv", Buffer.alloc(0), 12);
  }
  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv);
    const low = nonce.readBigUInt64BE(4) ^ this.#sequence++;
    nonce.writeBigUInt64BE(low, 4);
    return nonce;
  }
  seal(type: number, content: Uint8Array): Buffer {
    const inner = Buffer.concat([content, u8(type)]);
    const header = Buffer.concat([u8(23), u16(0x0303), u16(inner.length + 16)]);
    const cipher = createCipheriv("aes-128-gcm", this.#key, this.#nonce()).setAAD(header);
    return Buffer.concat([header, cipher.update(inner), cipher.final(), cipher.getAuthTag()]);
  }
  /** As many records as it takes (RFC 8446 §5.1: at most 2^14 octets each). */
  sealAll(type: number, content: Uint8Array): Buffer {
    const records: Buffer[] = [];
    for (let at = 0; at < content.length; at += recordMax) {
      records.push(this.seal(type, content.subarray(at, at + recordMax)));
    }
    return Buffer.concat(records);
  }
  open(header: Uint8Array, body: Buffer): { type: number; content: Buffer } {
    const cipher = createDecipheriv("aes-128-gcm", this.#key, this.#nonce()).setAAD(header);
    cipher.setAuthTag(body.subarray(-16));
    let inner = Buffer.concat([cipher.update(body.subarray(0, -16)), cipher.final()]);
    while (inner.at(-1) === 0) inner = inner.subarray(0, -1);
    return { type: inner.at(-1) as number, content: inner.subarray(0, -1) };
  }
}

/** The records that arrive on a socket, one at a time; undefined at its end. */
class Records {
  #buffer: Buffer;
  #ended = false;
  #wake: () => void = () => {};
  constructor(socket: Socket, ahead: Uint8Array) {
    this.#buffer = Buffer.from(ahead);
    socket.on("data", (bytes) => {
      this.#buffer = Buffer.concat([this.#buffer, bytes as Buffer]);
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    socket.on("end", end).on("close", end).on("error", end);
  }
  async next(): Promise<{ type: number; header: Buffer; body: Buffer } | undefined> {
    for (;;) {
      const length = this.#buffer.length >= 5 ? this.#buffer.readUInt16BE(3) : Infinity;
      if (this.#buffer.length >= 5 + length) {
        const header = this.#buffer.subarray(0, 5);
        const body = this.#buffer.subarray(5, 5 + length);
        this.#buffer = this.#buffer.subarray(5 + length);
        if (header[0] !== 20) return { type: header[0] as number, header, body }; // 20: ChangeCipherSpec, for show
      } else if (this.#ended) return undefined;
      else await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}

/** X25519 shares as raw bytes. */
function share(): { raw: Buffer; secretWith(peer: Uint8Array): Buffer } {
  const { publicKey, privateKey } = generateKeyPairSync("x25519");
  const raw = publicKey.export({ type: "spki", format: "der" }).subarray(-32);
  const spki = (peer: Uint8Array) => Buffer.concat([Buffer.from("302a300506032b656e032100", "hex"), peer]);
  const keyOf = (peer: Uint8Array): KeyObject => createPublicKey({ key: spki(peer), format: "der", type: "spki" });
  return { raw, secretWith: (peer) => diffieHellman({ privateKey, publicKey: keyOf(peer) }) };
}

/** Finds an extension's body in a block of extensions. */
function find(extensions: Buffer, wanted: number): Buffer | undefined {
  for (let at = 0; at + 4 <= extensions.length;) {
    const length = extensions.readUInt16BE(at + 2);
    if (extensions.readUInt16BE(at) === wanted) return extensions.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
  return undefined;
}

function schedule(shared: Uint8Array, hello: Uint8Array) {
  const zeros = Buffer.alloc(32);
  const early = hmac(zeros, zeros);
  const handshake = hmac(derive(early, "derived", Buffer.alloc(0)), shared);
  const main = hmac(derive(handshake, "derived", Buffer.alloc(0)), zeros);
  return {
    client: derive(handshake, "c hs traffic", hello),
    server: derive(handshake, "s hs traffic", hello),
    application: (transcript: Uint8Array) => ({
      client: new Keys(derive(main, "c ap traffic", transcript)),
      server: new Keys(derive(main, "s ap traffic", transcript)),
    }),
  };
}

/** Certificate, CertificateVerify and Finished of one side. */
function proof(
  identity: HostileIdentity,
  side: "client" | "server",
  transcript: Uint8Array,
  secret: Uint8Array,
  corrupt = false,
): Buffer {
  const entries = identity.chain.map((der) => Buffer.concat([vec24(der), u16(0)]));
  const certificate = message(11, Buffer.concat([vec8(Buffer.alloc(0)), vec24(Buffer.concat(entries))]));
  let sent: Buffer = certificate;
  if (identity.chain.length > 0) {
    const context = Buffer.from(`${" ".repeat(64)}TLS 1.3, ${side} CertificateVerify\0`, "latin1");
    const signed = Buffer.concat([context, hash(transcript, sent)]);
    const signature = sign(null, signed, createPrivateKey(identity.keyPem));
    if (corrupt) signature[10]! ^= 1;
    sent = Buffer.concat([sent, message(15, Buffer.concat([u16(0x0807), vec16(signature)]))]);
  }
  const finished = hmac(expand(secret, "finished", Buffer.alloc(0), 32), hash(transcript, sent));
  return Buffer.concat([sent, message(20, finished)]);
}

/** Reads encrypted handshake messages up to and including `last`; undefined when an alert or the end came first. */
async function readFlight(records: Records, keys: Keys, last: number): Promise<Buffer | number | undefined> {
  let flight = Buffer.alloc(0);
  for (;;) {
    const record = await records.next();
    if (record === undefined) return undefined;
    if (record.type === 21) return record.body[1];
    const { type, content } = keys.open(record.header, record.body);
    if (type === 21) return content[1];
    flight = Buffer.concat([flight, content]);
    for (let at = 0; at + 4 <= flight.length;) {
      const end = at + 4 + flight.readUIntBE(at + 1, 3);
      if (end > flight.length) break;
      if (flight[at] === last) return flight.subarray(0, end);
      at = end;
    }
  }
}

/** The reply after our Finished: an alert, application data, or the end. */
async function aftermath(records: Records, keys: Keys, onData = () => {}): Promise<HostileOutcome> {
  let applicationBytes = 0;
  for (;;) {
    const record = await records.next();
    if (record === undefined) return { sent: true, alert: undefined, applicationBytes };
    if (record.type === 21) return { sent: true, alert: record.body[1], applicationBytes };
    try {
      const { type, content } = keys.open(record.header, record.body);
      if (type === 21) return { sent: true, alert: content[1], applicationBytes };
      if (type !== 23) continue;
      applicationBytes += content.length;
      onData();
    } catch {
      return { sent: true, alert: undefined, applicationBytes }; // still under handshake keys: no application data
    }
  }
}

const failed = (alert: number | undefined): HostileOutcome => ({ sent: false, alert, applicationBytes: 0 });

/** A ClientHello with the algorithms of this end: the message, without its record. */
function clientHello(share: Uint8Array, offer: Uint8Array): Buffer {
  const extensions = Buffer.concat([
    extension(43, vec8(u16(0x0304))),
    extension(10, vec16(u16(0x001d))),
    extension(13, vec16(u16(0x0807))),
    extension(51, vec16(Buffer.concat([u16(0x001d), vec16(share)]))),
    offer,
  ]);
  const suites = vec16(u16(0x1301));
  return message(
    1,
    Buffer.concat([u16(0x0303), randomBytes(32), vec8(randomBytes(32)), suites, vec8(u8(0)), vec16(extensions)]),
  );
}

const helloRecord = (hello: Uint8Array) => Buffer.concat([u8(22), u16(0x0301), vec16(hello)]);

/** The record of a ClientHello that a listener would answer. */
export const soundHello = (): Buffer => helloRecord(clientHello(share().raw, Buffer.alloc(0)));

/** A KeyUpdate that asks for one back (RFC 8446 §4.6.3). */
const keyUpdate = message(24, u8(1));

/** Runs TLS as a client on a socket, presents the given certificate, then sends `then` as application data. */
export async function hostileClient(
  socket: Socket,
  identity: HostileIdentity,
  options: {
    readonly ahead?: Uint8Array;
    readonly then?: Uint8Array;
    /** Spoils the signature of CertificateVerify. */
    readonly corrupt?: boolean;
    /** Further extensions of the ClientHello, last. */
    readonly offer?: Uint8Array;
    /** Sent directly after the ClientHello, as separate records. */
    readonly early?: Uint8Array;
    /** Stops after the certificate of the listener. */
    readonly silent?: boolean;
    /** Whenever application data came: another ClientHello, as for a renegotiation, or a KeyUpdate. */
    readonly last?: "hello" | "key-update";
  } = {},
): Promise<HostileOutcome> {
  const own = share();
  const hello = clientHello(own.raw, options.offer ?? Buffer.alloc(0));
  const records = new Records(socket, options.ahead ?? new Uint8Array());
  socket.write(Buffer.concat([helloRecord(hello), options.early ?? Buffer.alloc(0)]));
  const answer = await records.next();
  if (answer === undefined || answer.type !== 22) return failed(answer?.body[1]);
  const serverHello = answer.body;
  const sessionId = serverHello[38] as number;
  const peer = find(serverHello.subarray(39 + sessionId + 5), 51);
  if (peer === undefined) return failed(undefined);
  const hellos = Buffer.concat([hello, serverHello]);
  const secrets = schedule(own.secretWith(peer.subarray(4, 36)), hellos);
  const flight = await readFlight(records, new Keys(secrets.server), 20);
  if (!(flight instanceof Uint8Array)) return failed(flight);
  if (options.silent === true) {
    while (await records.next() !== undefined); // until the other side has had enough
    return failed(undefined);
  }
  const transcript = Buffer.concat([hellos, flight]);
  const keys = new Keys(secrets.client);
  const shown = proof(identity, "client", transcript, secrets.client, options.corrupt);
  socket.write(keys.sealAll(22, shown));
  const application = secrets.application(transcript);
  if (options.then !== undefined) socket.write(application.client.seal(23, options.then));
  const { last } = options;
  const onData = last === undefined ? () => {} : () => {
    socket.write(application.client.seal(22, last === "hello" ? hello : keyUpdate));
  };
  return aftermath(records, application.server, onData);
}

/** Runs TLS as a server on a socket. */
export async function hostileServer(
  socket: Socket,
  identity: HostileIdentity,
  options: { readonly ahead?: Uint8Array } = {},
): Promise<HostileOutcome> {
  const records = new Records(socket, options.ahead ?? new Uint8Array());
  const first = await records.next();
  if (first === undefined || first.type !== 22) return failed(first?.body[1]);
  const hello = first.body;
  const sessionId = hello.subarray(39, 39 + (hello[38] as number));
  const suites = 39 + sessionId.length;
  const compression = suites + 2 + hello.readUInt16BE(suites);
  const shares = find(hello.subarray(compression + 1 + (hello[compression] as number) + 2), 51);
  const peer = shares === undefined ? undefined : find(shares.subarray(2), 0x001d);
  if (peer === undefined) return failed(undefined);
  const own = share();
  const extensions = Buffer.concat([
    extension(43, u16(0x0304)),
    extension(51, Buffer.concat([u16(0x001d), vec16(own.raw)])),
  ]);
  const serverHello = message(
    2,
    Buffer.concat([u16(0x0303), randomBytes(32), vec8(sessionId), u16(0x1301), u8(0), vec16(extensions)]),
  );
  const hellos = Buffer.concat([hello, serverHello]);
  const secrets = schedule(own.secretWith(peer), hellos);
  socket.write(Buffer.concat([u8(22), u16(0x0303), vec16(serverHello)]));
  const keys = new Keys(secrets.server);
  const request = message(13, Buffer.concat([vec8(Buffer.alloc(0)), vec16(extension(13, vec16(u16(0x0807))))]));
  const begin = Buffer.concat([message(8, u16(0)), request]);
  const flight = Buffer.concat([begin, proof(identity, "server", Buffer.concat([hellos, begin]), secrets.server)]);
  socket.write(keys.seal(22, flight));
  const back = await readFlight(records, new Keys(secrets.client), 20);
  if (!(back instanceof Uint8Array)) return failed(back);
  const application = secrets.application(Buffer.concat([hellos, flight]));
  return aftermath(records, application.client);
}
