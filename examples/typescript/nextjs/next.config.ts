import type { NextConfig } from "next";

const config: NextConfig = {
  // The package loads parts of itself by name, which a bundler cannot follow.
  serverExternalPackages: ["inngest"],
  turbopack: { root: import.meta.dirname },
};

export default config;
