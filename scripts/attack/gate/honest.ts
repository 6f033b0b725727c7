/**
 * An honest peer, and how long its handshakes take.
 *
 * @module
 */
import type { End } from "../../bench/gate/endpoint.ts";

/** Handshakes that a figure is made of at most, and at least where the attack is short. */
const handshakesMax = 300;
const handshakesMin = 5;
/** From the beginning of one handshake to that of the next: well within the limit of one address, in milliseconds. */
const paceMs = 25;

/** The 99th of a hundred, by nearest rank. */
export function p99(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(values.length * 0.99) - 1)] ?? 0;
}

/** Milliseconds of handshakes one after the other, while `during` has not ended. */
export async function handshakesWhile(honest: End, address: string, during: Promise<unknown>): Promise<number[]> {
  let going = true;
  const over = () => void (going = false);
  during.then(over, over);
  const latencies: number[] = [];
  while ((going || latencies.length < handshakesMin) && latencies.length < handshakesMax) {
    latencies.push(await handshake(honest, address));
  }
  return latencies;
}

/** Milliseconds of so many handshakes, one after the other. */
export async function handshakes(honest: End, address: string, count: number): Promise<number[]> {
  const latencies: number[] = [];
  while (latencies.length < count) latencies.push(await handshake(honest, address));
  return latencies;
}

async function handshake(honest: End, address: string): Promise<number> {
  const begun = performance.now();
  const wire = await honest.connect(address);
  const ms = performance.now() - begun;
  wire.close();
  await new Promise((resolve) => setTimeout(resolve, Math.max(1, paceMs - ms)));
  return ms;
}
