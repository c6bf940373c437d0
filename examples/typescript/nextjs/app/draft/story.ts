// What the page knows of a draft, and how each thing that it is told changes it.

export interface Part {
  key: number;
  step: string | null;
  text: string;
  state: "provisional" | "committed" | "rolled-back";
}

export interface Story {
  draft: string;
  runId: string | null;
  parts: Part[];
  ask: string | null;
  status: string;
  tone: "busy" | "good" | "bad";
}

export type Told =
  | { type: "begin"; draft: string }
  | { type: "run"; runId: string }
  | { type: "data"; step: string | null; data: unknown }
  | { type: "settle"; step: string | null; as: "committed" | "rolled-back" }
  | { type: "decided" }
  | { type: "end"; status: string };

export function reduce(before: Story | null, told: Told): Story {
  if (told.type === "begin") {
    return { draft: told.draft, runId: null, parts: [], ask: null, status: "writing", tone: "busy" };
  }
  const story = begun(before);
  switch (told.type) {
    case "run":
      return { ...story, runId: told.runId };
    case "data":
      return typeof told.data === "string" ? withText(story, told.step, told.data) : withQuestion(story, told.data);
    case "settle": {
      const parts = story.parts.map((part) => (isOpen(part, told.step) ? { ...part, state: told.as } : part));
      return { ...story, parts, ...(told.as === "rolled-back" && { status: "rolled back, trying again" }) };
    }
    case "decided":
      return { ...story, ask: null, status: "decided" };
    case "end":
      return { ...story, ask: null, status: told.status, tone: told.status === "published" ? "good" : "bad" };
  }
}

/** Only a story that has begun is told anything. */
export function begun(story: Story | null): Story {
  if (!story) throw new Error("no story has begun");
  return story;
}

function withText(story: Story, step: string | null, text: string): Story {
  const open = story.parts.findIndex((part) => isOpen(part, step));
  const parts = [...story.parts];
  const part = parts[open];
  if (part) parts[open] = { ...part, text: part.text + text };
  else parts.push({ key: parts.length, step, text, state: "provisional" });
  return { ...story, parts, status: "writing" };
}

function withQuestion(story: Story, data: unknown): Story {
  const { ask } = data as { ask: string };
  return { ...story, ask, status: "waiting for you" };
}

function isOpen(part: Part, step: string | null): boolean {
  return part.step === step && part.state === "provisional";
}
