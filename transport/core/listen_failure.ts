/**
 * Why the system does not let a process listen, in one sentence with what to do.
 *
 * @module
 */

/** Ports below this need a right of their own on Linux (`net.ipv4.ip_unprivileged_port_start`). */
const privilegedPortsEnd = 1_024;

/** What the system reported. */
export interface SystemListenFailure {
  /** The system's code, such as `EADDRINUSE`; empty where it gave none. */
  readonly code: string;
  readonly detail: string;
  readonly port: number;
  /** How the configuration writes all addresses of the machine. */
  readonly anyAddress: string;
}

/** Explains a failure. */
export function explainListenFailure({ code, detail, port, anyAddress }: SystemListenFailure): string {
  switch (code) {
    case "EADDRINUSE":
      return "another process uses the port (ss -ltnp shows which)";
    case "EADDRNOTAVAIL":
    case "EINVAL": // Deno's word for it
      return `this machine does not have this address (ip -brief address shows which it has); to listen on all of them write ${anyAddress}`;
    case "EAFNOSUPPORT":
      return "this machine does not speak this version of IP";
    case "EACCES":
    case "EPERM":
      return port > 0 && port < privilegedPortsEnd
        ? `ports below ${privilegedPortsEnd} need a right that this process lacks: take a higher port, or give it CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities= and CapabilityBoundingSet=CAP_NET_BIND_SERVICE, PrivateUsers=no)`
        : `the system does not allow this process to listen there (${code})`;
    default:
      return detail.split("\n", 1)[0]?.slice(0, 200) ?? code;
  }
}
