// What the loadkit journey does, as k6 has it: read the JSON of each message, its number and its time.
import { WebSocket } from "k6/experimental/websockets";
import { Counter, Trend } from "k6/metrics";

const latency = new Trend("message_latency");
const lost = new Counter("messages_lost");

export default function () {
  const ws = new WebSocket(__ENV.URL.replace("http", "ws") + "/");
  let following = 0;
  ws.addEventListener("message", (message) => {
    const now = Date.now();
    const event = JSON.parse(message.data);
    if (following && event.sequence !== following) {
      lost.add(event.sequence - following);
    }
    following = event.sequence + 1;
    latency.add(now - event.created * 1000);
  });
  setTimeout(() => ws.close(), Number(__ENV.SECONDS) * 1000);
}
