/** A TLS socket that a test plays, for connections whose turns a test counts. */
import { EventEmitter } from "node:events";
import type { TLSSocket } from "node:tls";

/** What a connection did to it. A write is noted by its length. */
export class PlayedSocket extends EventEmitter {
  /** Names of methods, in order. */
  readonly calls: string[] = [];
  /** Whether a write is taken without waiting for `drain`. */
  hasRoom = true;
  writableEnded = false;
  destroyed = false;

  cork(): void {
    this.calls.push("cork");
  }

  uncork(): void {
    this.calls.push("uncork");
  }

  pause(): this {
    this.calls.push("pause");
    return this;
  }

  resume(): this {
    this.calls.push("resume");
    return this;
  }

  write({ byteLength }: Uint8Array): boolean {
    this.calls.push(`write ${byteLength}`);
    return this.hasRoom;
  }

  end(): this {
    this.calls.push("end");
    this.writableEnded = true;
    return this;
  }

  destroy(): this {
    this.calls.push("destroy");
    this.destroyed = true;
    return this;
  }

  /** As a connection takes it. */
  get socket(): TLSSocket {
    return this as unknown as TLSSocket;
  }
}
