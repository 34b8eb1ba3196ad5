// Configuration of the report for `allure generate`. Paths are relative to the folder of reports.
import { readFileSync } from "node:fs";

const categories = JSON.parse(readFileSync(new URL("./categories.json", import.meta.url), "utf8"));

export default {
  name: process.env.ALLURE_REPORT_NAME || "Service-level acceptance",
  historyPath: "allure-history.jsonl",
  historyLimit: 50,
  categories: categories.map((category) => ({ ...category, expand: true })),
  plugins: {
    awesome: {
      options: {
        singleFile: true,
        reportLanguage: "en",
        theme: "light",
        groupBy: ["epic", "feature", "story"],
        stepTreeExpansion: "expanded",
        defaultSortBy: "order,asc",
      },
    },
  },
};
