// The page that shows what the React hook gives, with buttons for what it can do.

import { useDurableEndpoint } from "@onward/client/react";
import { Activity, StrictMode, createElement as h, useState } from "react";
import { createRoot } from "react-dom/client";

function Run() {
  const run = useDurableEndpoint("/run", {
    storage: sessionStorage,
    fetchOpts: { method: "POST" },
    resume: { delayMs: 1, delayMaxMs: 10 },
  });
  const chunks = run.chunks.map(({ data, committed }) => `${String(data)}${committed ? "!" : "?"}`).join(" ");
  const shown = [run.status, run.runId, chunks, run.body, run.response?.status, run.error?.message];
  return h(
    "section",
    null,
    h("output", { id: "run" }, shown.map((part) => String(part ?? "-")).join(" | ")),
    h("button", { id: "start", onClick: () => run.start({ body: "input" }) }),
    h("button", { id: "stop", onClick: run.stop }),
  );
}

function App() {
  const [mounted, setMounted] = useState(true);
  const [shown, setShown] = useState(true);
  const toggle = h("button", { id: "toggle", onClick: () => setMounted(!mounted) });
  const hide = h("button", { id: "hide", onClick: () => setShown(!shown) });
  const run = h(Activity, { mode: shown ? "visible" : "hidden", children: h(Run) });
  return h("main", null, toggle, hide, mounted ? run : null);
}

const root = document.getElementById("root");
if (root) createRoot(root).render(h(StrictMode, null, h(App)));
