// What the page shows of a run. Every chunk that counts has its element; frames make, settle and remove them.

import { failureMessage } from "./onward-client.js";

/** How long words that are taken back can still be read. */
const FADE_MS = 800;

const STATES = {
  connecting: "Connecting…",
  streaming: "Streaming",
  retrying: "Retrying",
  waiting: "Waiting for approval",
  deciding: "Sending the decision…",
  reconnecting: "Reconnecting…",
  done: "Done",
  failed: "Failed",
};

const at = (id) => document.getElementById(id);

export class View {
  /** The elements of the chunks, in their order; null for those that are not shown. */
  #shown = [];
  /** How far the run is, whether or not it can be reached. */
  #state = "connecting";
  #lost = false;
  #startedAt = 0;
  /** Whether this page made the decision, and lost the button that had the focus. */
  #decided = false;

  constructor({ onAsk, onDecide }) {
    at("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      const question = at("question").value.trim();
      if (question) onAsk(question);
    });
    const decide = (approved) => {
      at("approve").disabled = at("reject").disabled = true;
      this.#decided = true;
      this.#become("deciding");
      onDecide(approved);
    };
    at("approve").addEventListener("click", () => decide(true));
    at("reject").addEventListener("click", () => decide(false));
  }

  /** Begins to show a run, from nothing. */
  begin(run) {
    this.#shown = [];
    this.#decided = false;
    this.#lost = false;
    this.#startedAt = performance.now();
    for (const id of ["outline", "answer", "log"]) at(id).replaceChildren();
    for (const id of ["rolled-back", "decision", "closing", "response", "other-tab"]) at(id).hidden = true;
    at("approve").disabled = at("reject").disabled = false;
    at("run").hidden = false;
    this.know(run);
    this.#tell(run.waitingUrl ? "Picked up the run" : "Asked");
    this.#become("connecting");
  }

  /** Shows what is known of the run itself. */
  know({ question, waitingUrl }) {
    at("asked").textContent = question ?? "…";
    at("other-tab").hidden = !waitingUrl;
    if (waitingUrl) at("other-tab").href = `/#${encodeURIComponent(waitingUrl)}`;
  }

  /** The connection is lost, and is being made again. */
  lost() {
    if (!this.#lost) this.#tell("Connection lost, reconnecting…", "warn");
    this.#lost = true;
    this.#become(this.#state);
  }

  /** Shows a frame. It resolves when the page has caught up: what is taken back can be read for a moment. */
  async apply(frame, before, after, signal) {
    if (this.#lost) this.#tell("Connected again", "good");
    this.#lost = false;
    this.#become(this.#state);
    switch (frame.type) {
      case "metadata":
        return this.#tell(`Run …${frame.runId.slice(-6)}`);
      case "stream":
        return this.#add(frame.data);
      case "commit":
        return this.#settle(before, after);
      case "rollback":
        return this.#takeBack(before, after, signal);
      case "response":
        this.#settle(before, after);
        return this.#end(after.outcome);
    }
  }

  /** The decision was accepted. That it came to the run, the stream will tell. */
  decided(approved) {
    this.#tell(approved ? "Approval sent" : "Rejection sent", approved ? "good" : "bad");
  }

  /** The decision was refused: it can be made again. */
  undecided(why) {
    at("approve").disabled = at("reject").disabled = false;
    this.#tell(`The decision was not sent: ${why}`, "bad");
    this.#become("waiting");
  }

  /** The run cannot be shown to its end. */
  fail(why) {
    this.#tell(why, "bad");
    this.#lost = false;
    this.#become("failed");
  }

  // ===== Chunks =====

  #add(data) {
    const element = typeof data === "string" ? this.#word(data) : this.#note(data);
    element?.classList.add("provisional");
    this.#shown.push(element);
  }

  #word(text) {
    this.#become("streaming");
    const word = make("span", text);
    word.className = "word";
    at("answer").append(word);
    return word;
  }

  #note(data) {
    switch (data?.kind) {
      case "outline": {
        this.#become("streaming");
        const item = make("li", data.text);
        at("outline").append(item);
        return item;
      }
      case "waiting":
        at("rolled-back").hidden = true;
        at("decision").hidden = false;
        this.#tell("Waiting for a person", "warn");
        this.#become("waiting");
        return null;
      case "closing":
        at("closing").textContent = data.text;
        at("decision").hidden = true;
        return null;
      default:
        return null;
    }
  }

  /** Chunks that became permanent. */
  #settle(before, after) {
    let words = 0;
    let items = 0;
    after.chunks.forEach(({ committed, data }, place) => {
      if (!committed || before.chunks[place].committed) return;
      this.#shown[place]?.classList.remove("provisional");
      words += typeof data === "string" ? 1 : 0;
      items += data?.kind === "outline" ? 1 : 0;
    });
    if (items > 0) this.#tell("Outline committed", "good");
    if (words > 0) this.#tell("Answer committed", "good", `${words} words`);
    this.#become(this.#state);
  }

  /** Chunks that no longer count. */
  async #takeBack(before, after, signal) {
    const left = new Set(after.chunks);
    const gone = this.#shown.filter((_, place) => !left.has(before.chunks[place]));
    this.#shown = this.#shown.filter((_, place) => left.has(before.chunks[place]));
    const words = gone.filter((element) => element?.classList.contains("word")).length;
    this.#become("retrying");
    this.#tell("Attempt failed, rolled back", "bad", words > 0 ? `${words} words taken back` : undefined);
    at("rolled-back").textContent = "attempt failed, rolled back";
    at("rolled-back").hidden = false;
    for (const element of gone) element?.classList.replace("provisional", "taken-back");
    if (gone.length > 0) await pause(FADE_MS, signal);
    for (const element of gone) element?.remove();
  }

  // ===== The run as a whole =====

  #end({ status, response }) {
    const { statusCode, headers, body } = response;
    const ok = status === "succeeded" && statusCode < 400;
    at("response").hidden = false;
    at("response").querySelector("summary").textContent = `Response: ${statusCode} ${headers["content-type"] ?? ""}`;
    at("response").querySelector("pre").textContent = body;
    at("decision").hidden = true;
    at("rolled-back").hidden = true;
    if (!ok) return this.fail(status === "failed" ? failureMessage(response) : `The server refused it (${statusCode})`);
    const { approved } = JSON.parse(body);
    at("closing").dataset.approved = String(approved);
    at("closing").hidden = false;
    if (this.#decided && document.activeElement === document.body) at("closing").focus();
    this.#tell(approved ? "Published" : "Ended without publishing", approved ? "good" : "bad");
    this.#become("done");
  }

  #become(state) {
    this.#state = state;
    const shown = this.#lost ? "reconnecting" : state;
    const { dataset } = at("status");
    if (dataset.state !== shown) at("status").textContent = STATES[shown];
    dataset.state = shown;
    const words = this.#shown.some((element) => element?.matches(".word.provisional"));
    at("answer").setAttribute("aria-busy", String(words || ["connecting", "streaming", "retrying"].includes(state)));
  }

  #tell(text, tone = "", more = undefined) {
    const seconds = `${((performance.now() - this.#startedAt) / 1000).toFixed(1)} s`;
    const line = make("li", text);
    line.dataset.tone = tone;
    line.append(make("small", more ? `${seconds} · ${more}` : seconds));
    at("log").append(line);
  }
}

function make(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

/** Resolves after a while, or at once when the signal aborts. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
