/**
 * How often an address may fail.
 *
 * @module
 */
import { sourceOf } from "../../transport/core/admission.ts";

/** Failures of one address in {@linkcode failureWindowMs}. Guessing a token takes 2²⁵⁵ attempts. */
export const failuresMax = 10;
/** Milliseconds in which failures are counted. */
export const failureWindowMs = 60_000;
/** Addresses that are remembered. The address whose window began first is forgotten. */
export const failureAddressesMax = 16_384;

interface Window {
  readonly since: number;
  count: number;
}

/** Counts failures by address: an IPv4 address, or an IPv6 /64. */
export class FailureLimit {
  readonly #windows = new Map<string, Window>();

  /** Whether an address has failed too often. */
  isReached(address: string, now: number): boolean {
    const window = this.#windows.get(addressKey(address));
    return window !== undefined && isOpen(window, now) && window.count >= failuresMax;
  }

  /** Counts a failure. */
  count(address: string, now: number): void {
    const key = addressKey(address);
    const window = this.#windows.get(key);
    if (window !== undefined && isOpen(window, now)) {
      window.count += 1;
      return;
    }
    this.#windows.delete(key);
    if (this.#windows.size >= failureAddressesMax) {
      for (const oldest of this.#windows.keys()) {
        this.#windows.delete(oldest);
        break;
      }
    }
    this.#windows.set(key, { since: now, count: 1 });
  }
}

const isOpen = ({ since }: Window, now: number) => now >= since && now - since < failureWindowMs;

/** What an address counts as: an IPv4 address, or an IPv6 /64. */
export const addressKey = (address: string): string => sourceOf(`/${address.includes(":") ? "ip6" : "ip4"}/${address}`);
