/**
 * A libp2p stream whose multiplexer writes down what it is told.
 *
 * @module
 */
import type { Stream } from "@libp2p/interface";
import { AbstractStream, type SendResult } from "@libp2p/utils";
import { silentLogger } from "../../transport/libp2p/node.ts";

/** What it was told, in order; `onData` and its like play the other side. */
export class WrittenStream extends AbstractStream {
  readonly told: string[] = [];
  /** Sizes of what was sent. */
  readonly sent: number[] = [];

  constructor(direction: "inbound" | "outbound" = "inbound") {
    super({ id: "1", log: silentLogger.forComponent("test"), direction });
  }
  override sendData(data: { byteLength: number }): SendResult {
    this.sent.push(data.byteLength);
    return { sentBytes: data.byteLength, canSendMore: true };
  }
  override sendReset(): void {
    this.told.push("reset");
  }
  /** Raw connections end by this. */
  sendClose(): Promise<void> {
    this.told.push("close");
    return Promise.resolve();
  }
  override sendPause(): void {
    this.told.push("pause");
  }
  override sendResume(): void {
    this.told.push("resume");
  }
  override sendCloseWrite(): Promise<void> {
    return Promise.resolve();
  }
  override sendCloseRead(): Promise<void> {
    return Promise.resolve();
  }
  /** As libp2p's types have it. */
  get stream(): Stream {
    return this as unknown as Stream;
  }
}
