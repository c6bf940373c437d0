// An article that is published when an editor says so, or never.

import { step } from "inngest";
import { inngest } from "./client.js";

export const publish = inngest.endpoint(async (req: Request) => {
  const { searchParams } = new URL(req.url);
  const article = searchParams.get("article") ?? "1";
  const decision = await step.waitForEvent("decision", {
    event: "article/decided",
    if: `async.data.article == ${JSON.stringify(article)}`,
    timeout: searchParams.get("timeout") ?? "24h",
  });
  if (!decision?.data.approved) return Response.json({ article, published: false });
  const at = await step.run("publish", () => new Date().toISOString());
  return Response.json({ article, published: true, at });
});

/** An editor's button. */
export async function approve(req: Request): Promise<Response> {
  const { searchParams } = new URL(req.url);
  const data = { article: searchParams.get("article") ?? "1", approved: searchParams.get("approved") !== "false" };
  const { ids } = await inngest.send({ name: "article/decided", data });
  return Response.json({ ids });
}
