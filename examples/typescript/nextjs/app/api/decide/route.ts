// The buttons below a draft: an ordinary route that sends an event.

import { inngest } from "@/lib/inngest";

export async function POST(req: Request): Promise<Response> {
  const { searchParams } = new URL(req.url);
  const data = { draft: searchParams.get("draft"), approved: searchParams.get("approved") === "true" };
  return Response.json(await inngest.send({ name: "draft/decided", data }));
}
