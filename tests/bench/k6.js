// What the loadkit journey does, as k6 has it: ask, read the JSON, check it.
import http from "k6/http";
import { check } from "k6";

export default function () {
  const answer = http.get(__ENV.URL);
  check(answer, { "is seventeen": (a) => a.json().id === 17 });
}
