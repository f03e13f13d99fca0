import { defineConfig } from "vitest/config";

export default defineConfig({
  test: { include: ["tests/worker/**/*.test.ts"], restoreMocks: true },
});
