"use client";

// A stream as it arrives: words are provisional until their step is committed, and rolled back if it fails.

import { type FormEvent, useEffect, useReducer, useRef } from "react";
import { fetchWithStream } from "inngest/experimental/durable-endpoints/client";
import { begun, reduce } from "./story";

export default function DraftPage() {
  const [story, tell] = useReducer(reduce, null);
  const stop = useRef<AbortController>(null);
  useEffect(() => () => stop.current?.abort(), []);

  async function write(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    stop.current?.abort();
    const { signal } = (stop.current = new AbortController());
    const draft = `${Date.now()}-${Math.random().toString(36).slice(2)}`;
    const query = new URLSearchParams({ draft, topic: String(new FormData(event.currentTarget).get("topic")) });
    tell({ type: "begin", draft });
    try {
      const response = await fetchWithStream(`/api/draft?${query}`, {
        fetchOpts: { signal },
        onMetadata: ({ runId }) => tell({ type: "run", runId }),
        onData: ({ data, hashedStepId }) => tell({ type: "data", step: hashedStepId, data }),
        onCommit: ({ hashedStepId }) => tell({ type: "settle", step: hashedStepId, as: "committed" }),
        onRollback: ({ hashedStepId }) => tell({ type: "settle", step: hashedStepId, as: "rolled-back" }),
      });
      if (!response.ok) throw new Error(await response.text());
      const { published } = await response.json();
      tell({ type: "end", status: published ? "published" : "rejected" });
    } catch (error) {
      if (!signal.aborted) tell({ type: "end", status: `failed: ${error}` });
    }
  }

  async function decide(approved: boolean) {
    tell({ type: "decided" });
    await fetch(`/api/decide?${new URLSearchParams({ draft: begun(story).draft, approved: String(approved) })}`, {
      method: "POST",
    });
  }

  return (
    <section className="card">
      <h1>Write a draft</h1>
      <p className="soft">It streams, breaks off once, goes on, and waits for you.</p>
      <form onSubmit={write}>
        <input name="topic" aria-label="Topic" defaultValue="lamps" required />
        <button type="submit">Write</button>
      </form>
      {story && (
        <>
          <p role="status" className={`pill ${story.tone}`}>{story.status}</p>
          <div id="draft" aria-live="polite">
            {story.parts.map((part) => (
              <p key={part.key} className={part.state}>
                <span>{part.text}</span> {part.state !== "committed" && <small>{part.state.replace("-", " ")}</small>}
              </p>
            ))}
          </div>
          {story.ask && (
            <div className="ask">
              <span>{story.ask}</span>
              <button onClick={() => decide(true)}>Approve</button>
              <button className="quiet" onClick={() => decide(false)}>Reject</button>
            </div>
          )}
          {story.runId && <p className="run">run <code>{story.runId}</code></p>}
        </>
      )}
    </section>
  );
}
