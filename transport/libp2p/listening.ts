/**
 * What a transport listens on, and why it cannot listen where it cannot: one clear sentence an address, in place of
 * libp2p's own, which carries a stack.
 *
 * @module
 */
import type { Listener, Transport } from "@libp2p/interface";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { explainListenFailure } from "../core/listen_failure.ts";
import { type AddressText, TransportError } from "../port.ts";

/** An address that could not be listened on. */
export interface ListenFailure {
  readonly address: AddressText;
  /** The system's code, such as `EADDRINUSE`; empty where it gave none. */
  readonly code: string;
  /** Why, and what helps. */
  readonly why: string;
}

/** The component of a node that says which of its addresses are announced. */
export interface ConfirmsAddresses {
  readonly addressManager: { confirmObservedAddr(address: Multiaddr, how: { readonly type: "transport" }): void };
}

/** Keeps what became of each address. */
export class Listening {
  readonly #bound: AddressText[] = [];
  readonly #failures: ListenFailure[] = [];
  readonly #tried = new Set<AddressText>();

  /** What is listened on, with the ports that the system gave where the configuration left them open. */
  get bound(): readonly AddressText[] {
    return this.#bound;
  }

  get failures(): readonly ListenFailure[] {
    return this.#failures;
  }

  /** Watches the listeners of a TCP transport. */
  watching<Components>(
    make: (components: Components) => Transport,
  ): (components: Components & ConfirmsAddresses) => Transport {
    return (components) => {
      const transport = make(components);
      const createListener = transport.createListener.bind(transport);
      return Object.assign(transport, {
        createListener: (options: Parameters<typeof createListener>[0]) =>
          this.#watch(confirming(createListener(options), components)),
      });
    };
  }

  #watch(listener: Listener): Listener {
    const listen = listener.listen.bind(listener);
    return Object.assign(listener, {
      listen: async (place: Multiaddr) => {
        const address = place.toString();
        this.#tried.add(address);
        try {
          await listen(place);
        } catch (error) {
          this.#failed(address, error);
          throw error;
        }
        this.#bound.push(address.replace(/\/tcp\/0$/, `/tcp/${portOf(listener)}`));
      },
    });
  }

  #failed(address: AddressText, error: unknown): void {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    const detail = error instanceof Error ? error.message : String(error);
    const port = Number(/\/tcp\/(\d+)/.exec(address)?.[1] ?? 0);
    const why = explainListenFailure({ code, detail, port, anyAddress: "/ip4/0.0.0.0" });
    this.#failures.push({ address, code, why });
  }

  /**
   * The error to end the start with, where one of the addresses that were asked for cannot be listened on.
   *
   * libp2p goes on without IPv6 where IPv4 works, since many machines have none. That is right only for a machine without
   * it: a port that is taken stays an error.
   *
   * @param asked The configured addresses.
   * @param libp2p Whether libp2p started nevertheless.
   */
  error(asked: readonly AddressText[], libp2p: "started" | "failed"): TransportError | undefined {
    const started = libp2p === "started";
    const failures = started
      ? this.#failures.filter(({ code }) => ["EADDRINUSE", "EACCES", "EPERM"].includes(code))
      : this.#failures;
    const untried = started
      ? []
      : asked.filter((address) => !this.#tried.has(multiaddr(address).toString()) && !isCircuit(address))
        .map((address) => ({ address, why: "only TCP is spoken here, as in /ip4/0.0.0.0/tcp/4001" }));
    const all = [...failures, ...untried];
    if (all.length === 0) return undefined;
    const detail = all.map(({ address, why }) => `Cannot listen on ${address}: ${why}`).join("; ");
    return new TransportError({ code: "not-listening", detail });
  }
}

/**
 * libp2p keeps public addresses of a listener to itself until AutoNAT confirms them, which these nodes do not speak. Their own
 * filter decides what is announced.
 */
function confirming(listener: Listener, { addressManager }: ConfirmsAddresses): Listener {
  listener.addEventListener("listening", () => {
    for (const address of listener.getAddrs()) addressManager.confirmObservedAddr(address, { type: "transport" });
  });
  return listener;
}

const isCircuit = (address: AddressText) => address.includes("/p2p-circuit");

function portOf(listener: Listener): number {
  const address = (listener as Partial<{ server: { address(): { port: number } | null } }>).server?.address();
  if (typeof address?.port !== "number") {
    throw new Error("Cannot find the port of a TCP listener in libp2p: it was moved");
  }
  return address.port;
}
