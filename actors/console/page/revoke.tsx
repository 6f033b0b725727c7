/**
 * Revoking a name, in the console of a CA.
 *
 * @module
 */
import { useState } from "preact/hooks";
import { Act } from "./act.tsx";
import { useShown } from "./store.ts";

/** RFC 5280 §5.3.1, those that an operator chooses among. */
const reasons = ["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"] as const;

/** Draws the button. */
export function Revoke({ name, serial }: { readonly name: string; readonly serial: string }) {
  const [reason, setReason] = useState<string>("unspecified");
  const { parts: { crl } } = useShown();
  const next = crl === null || crl === undefined
    ? "a new revocation list"
    : `revocation list ${BigInt(crl.number) + 1n}`;
  return (
    <Act
      path="/ca/revoke"
      body={{ serial, reason }}
      short="Revoke"
      title={`Revoke ${name}`}
      does={[
        <span key="1">
          The certificate of <strong>{name}</strong> with serial{" "}
          <code>{serial}</code>, and those that renew it, are revoked.
        </span>,
        `The CA publishes ${next}. Each node that gets it closes its connections to ${name}.`,
        "This cannot be undone: the node needs a new token to come back.",
      ]}
      fields={
        <label>
          Reason{" "}
          <select value={reason} onChange={({ currentTarget }) => setReason(currentTarget.value)}>
            {reasons.map((each) => <option key={each} value={each}>{each}</option>)}
          </select>
        </label>
      }
      done={({ number, revoked }) =>
        `Revoked ${Array.isArray(revoked) ? revoked.length : 0} certificate(s), in revocation list ${number}.`}
    />
  );
}
