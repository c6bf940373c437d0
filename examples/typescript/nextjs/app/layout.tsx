import type { Metadata } from "next";
import Link from "next/link";
import type { ReactNode } from "react";
import "./style.css";

export const metadata: Metadata = {
  title: "Onward and Next.js",
  description: "Durable endpoints as Next.js route handlers",
};

export default function Layout({ children }: { children: ReactNode }) {
  return (
    <html lang="en">
      <body>
        <header>
          <strong>Onward and Next.js</strong>
          <nav>
            <Link href="/">Order</Link>
            <Link href="/draft">Draft</Link>
          </nav>
        </header>
        <main>{children}</main>
      </body>
    </html>
  );
}
