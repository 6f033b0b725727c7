/**
 * What waits at a CA: enrolments for its operator, requests for the approvals of several persons.
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

/** A request that waits for approvals, or that was denied within a day. */
interface ApprovalRequest extends Pick<Request, "id" | "asked" | "expires"> {
  readonly operation: string;
  readonly state: string;
  readonly approvers: readonly string[];
  readonly threshold: number;
  readonly denied_by?: string;
}

/** The first page of them. */
interface Waiting {
  readonly requests: readonly Request[];
  readonly approvals: readonly ApprovalRequest[];
}

const lookMs = 5_000;

/** Draws them; nothing where none waits. */
export function Requests() {
  const [{ requests, approvals }, setWaiting] = useState<Waiting>({ requests: [], approvals: [] });
  useEffect(() => {
    const look = async () => {
      const { status, body } = await ask("/ca/requests");
      if (status === 200) setWaiting(body as unknown as Waiting);
    };
    void look();
    const timer = setInterval(() => void look(), lookMs);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      {requests.length > 0 && <Enrolments requests={requests} />}
      {approvals.length > 0 && <Approvals approvals={approvals} />}
    </>
  );
}

function Approvals({ approvals }: Pick<Waiting, "approvals">) {
  const now = useNow();
  return (
    <>
      <Table
        caption="Requests that wait for approvals"
        rows={approvals}
        keyOf={({ id }) => id}
        columns={[
          { head: "Request", cell: ({ id }) => <code>{id}</code> },
          { head: "Operation", cell: ({ operation }) => operation },
          {
            head: "State",
            cell: ({ state, denied_by: by }) => by === undefined ? state : `${state} by ${by}`,
          },
          { head: "Approved by", cell: ({ approvers }) => approvers.join(", ") || "–" },
          { head: "Approvals", cell: ({ approvers, threshold }) => `${approvers.length} of ${threshold}` },
          { head: "Asked", cell: ({ asked }) => <time dateTime={asked} title={clock(asked)}>{away(asked, now)}</time> },
          { head: "Expires", cell: ({ expires }) => away(expires, now) },
        ]}
        empty=""
      />
      <p class="hint">
        Approvers read and sign a request on the command line: <code>hypha-ca approve ID --key FILE</code>
      </p>
    </>
  );
}

function Enrolments({ requests }: Pick<Waiting, "requests">) {
  const now = useNow();
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
