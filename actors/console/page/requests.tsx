/**
 * Enrolments that wait for an operator of the CA.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import { Act } from "./act.tsx";
import { ask } from "./connection.ts";
import { away, clock } from "./format.ts";
import { useNow } from "./store.ts";
import { Table } from "./table.tsx";

interface Request {
  readonly id: string;
  readonly identity: string;
  /** SHA-256 of the public key, hexadecimal. */
  readonly key: string;
  readonly address: string;
  readonly asked: string;
  readonly expires: string;
}

const lookMs = 5_000;

/** Draws them; nothing where none waits. */
export function Requests() {
  const [requests, setRequests] = useState<readonly Request[]>([]);
  const now = useNow();
  useEffect(() => {
    const look = async () => {
      const { status, body } = await ask("/ca/requests");
      if (status === 200) setRequests((body as { readonly requests: readonly Request[] }).requests);
    };
    void look();
    const timer = setInterval(() => void look(), lookMs);
    return () => clearInterval(timer);
  }, []);
  if (requests.length === 0) return null;
  return (
    <Table
      caption="Enrolments that wait"
      rows={requests}
      keyOf={({ id }) => id}
      columns={[
        { head: "Request", cell: ({ id }) => <code>{id}</code> },
        { head: "Identity", cell: ({ identity }) => identity },
        { head: "Key (SHA-256)", cell: ({ key }) => <code title={key}>{key.slice(0, 16)}</code> },
        { head: "Address", cell: ({ address }) => <code>{address}</code> },
        { head: "Asked", cell: ({ asked }) => <time dateTime={asked} title={clock(asked)}>{away(asked, now)}</time> },
        { head: "Expires", cell: ({ expires }) => away(expires, now) },
        {
          head: "Act",
          cell: ({ id, identity, key }) => (
            <span class="buttons">
              <Decide id={id} identity={identity} keyHash={key} decision="approved" />
              <Decide id={id} identity={identity} keyHash={key} decision="denied" />
            </span>
          ),
        },
      ]}
      empty=""
    />
  );
}

interface DecideProps extends Pick<Request, "id" | "identity"> {
  readonly keyHash: string;
  readonly decision: "approved" | "denied";
}

function Decide({ id, identity, keyHash, decision }: DecideProps) {
  const verb = decision === "approved" ? "Approve" : "Deny";
  return (
    <Act
      path="/ca/decide"
      body={{ id, decision }}
      short={verb}
      title={`${verb} ${identity}`}
      does={decision === "approved"
        ? [
          <span key="1">
            The CA issues a certificate for <strong>{identity}</strong> when the node asks again.
          </span>,
          <span key="2">
            It is for the key with SHA-256 <code>{keyHash}</code>: compare it with what the node shows.
          </span>,
          "The node can then join the network.",
        ]
        : [
          <span key="3">
            The request of <strong>{identity}</strong> is denied. Its token stays used.
          </span>,
        ]}
      done={() => decision === "approved" ? "Approved." : "Denied."}
    />
  );
}
