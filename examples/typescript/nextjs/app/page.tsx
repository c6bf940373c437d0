"use client";

// An order by `fetch()`: whether the run goes on by itself in between makes no difference to the page.

import { type FormEvent, useState } from "react";

interface Receipt {
  order: string;
  parcel: string;
  cents: number;
  tries: number;
}

type State = "idle" | "ordering" | { error: string } | { receipt: Receipt; waited: boolean; ms: number };

export default function OrderPage() {
  const [state, setState] = useState<State>("idle");

  async function order(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const query = new URLSearchParams({ item: String(form.get("item")), failures: form.get("fails") ? "1" : "0" });
    setState("ordering");
    const began = performance.now();
    try {
      const response = await fetch(`/api/order?${query}`, { method: "POST" });
      if (!response.ok) throw new Error(await response.text());
      const ms = Math.round(performance.now() - began);
      setState({ receipt: await response.json(), waited: response.redirected, ms });
    } catch (error) {
      setState({ error: String(error) });
    }
  }

  return (
    <section className="card">
      <h1>Order something</h1>
      <p className="soft">The route handler reserves, charges and packs. Each step is kept as soon as it is done.</p>
      <form onSubmit={order}>
        <input name="item" aria-label="Item" defaultValue="lamp" required />
        <button type="submit" disabled={state === "ordering"}>
          Place order
        </button>
        <label className="check">
          <input name="fails" type="checkbox" defaultChecked /> Let the payment service fail once
        </label>
      </form>
      <Outcome state={state} />
    </section>
  );
}

function Outcome({ state }: { state: State }) {
  if (state === "idle") return null;
  if (state === "ordering") return <p role="status" className="pill busy">Ordering…</p>;
  if ("error" in state) return <p role="status" className="pill bad">{state.error}</p>;
  const { receipt, waited, ms } = state;
  return (
    <>
      <p role="status" className="pill good">Done in {ms} ms</p>
      <dl id="receipt">
        <dt>Order</dt>
        <dd>{receipt.order}</dd>
        <dt>Parcel</dt>
        <dd>{receipt.parcel}</dd>
        <dt>Charged</dt>
        <dd>
          {(receipt.cents / 100).toFixed(2)} €, {receipt.tries === 1 ? "at the first try" : `after ${receipt.tries} tries`}
        </dd>
        <dt>Answered by</dt>
        <dd>{waited ? "/api/wait, as the run went on by itself" : "/api/order, in one go"}</dd>
      </dl>
    </>
  );
}
