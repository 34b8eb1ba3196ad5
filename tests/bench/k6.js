// What the loadkit journey does, as k6 has it: ask, read the JSON, check it; then pause.
import http from "k6/http";
import { check, sleep } from "k6";

const low = Number(__ENV.LOW);
const high = Number(__ENV.HIGH);

export default function () {
  const answer = http.get(`${__ENV.URL}/`);
  check(answer, { "is seventeen": (a) => a.json().id === 17 });
  if (high) {
    sleep(low + (high - low) * Math.random());
  }
}
